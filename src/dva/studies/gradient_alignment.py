"""Figure 3: the decoupled gradient (DPG) against the full one (APG) along a SHAC run.

SHAC trains on states. Every few iterations both gradients are computed at the present parameters,
from the same start with the same noise: the cosine of the angle between them, and their norms.

Source: D.Va, Figure 3.
"""

import dataclasses
from typing import Any

from dva.studies.building import build_first_order, first_order_config
from dva.studies.gradients import Start, cosine, decoupled_gradient, flat, full_gradient
from dva.studies.report import Report, StudyConfig, add_row, new_figure, silent

__all__ = ["Config", "draw", "measure", "summary"]


@dataclasses.dataclass
class Config(StudyConfig):
    """Compare full and decoupled gradient along a SHAC run on states (Figure 3)."""

    task: str = "hopper"
    """Task to train on."""
    iterations: int | None = None
    """Training iterations; None: 300, with --full 2,000."""
    comparisons: int = 60
    """Comparisons along the run."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Trains and compares; returns one row for each comparison."""
    iterations = config.iterations or (2_000 if config.full else 300)
    described = first_order_config(
        config.task, "shac", "state", iterations, seed=config.seed, device=config.device
    )
    every = max(1, iterations // config.comparisons)
    rows: list[dict[str, Any]] = []
    with build_first_order(described) as algorithm:
        for _ in range(iterations):
            metrics = algorithm.iterate()
            if algorithm.iteration % every != 0:
                continue
            start = Start(algorithm, config.seed + algorithm.iteration)
            full = flat(full_gradient(algorithm, start))
            decoupled = flat(decoupled_gradient(algorithm, start))
            row = {
                "iteration": algorithm.iteration,
                "return": metrics["return"],
                "cosine": cosine(full, decoupled),
                "full_norm": full.norm().item(),
                "decoupled_norm": decoupled.norm().item(),
            }
            add_row(rows, row, report)
    return {"task": config.task, "rows": rows}


def draw(result: dict[str, Any]) -> Any:
    """Draws cosine and norms over the return, as the paper does."""
    figure, axes = new_figure(2)
    rows = [row for row in result["rows"] if row["return"] is not None]
    returns = [row["return"] for row in rows]
    axes[0, 0].plot(returns, [row["cosine"] for row in rows], "o", ms=3)
    axes[0, 0].axhline(0.0, color="black", lw=0.8)
    axes[0, 0].set_ylim(-1.05, 1.05)
    axes[0, 0].set_ylabel("cosine of full and decoupled gradient")
    for name, label in (("decoupled_norm", "decoupled (DPG)"), ("full_norm", "full (APG)")):
        axes[0, 1].semilogy(returns, [row[name] for row in rows], "o", ms=3, label=label)
    axes[0, 1].set_ylabel("norm of the gradient")
    axes[0, 1].legend(fontsize=7)
    for one in axes.flat:
        one.set_xlabel(f"return ({result['task']}, states)")
    return figure


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    rows = result["rows"]
    positive = sum(row["cosine"] > 0 for row in rows) / len(rows)
    smaller = sum(row["full_norm"] < row["decoupled_norm"] for row in rows) / len(rows)
    middle = sorted(row["cosine"] for row in rows)[len(rows) // 2]
    return [
        f"cosine above 0 in {positive:.0%} of {len(rows)} comparisons, median {middle:.2f}",
        f"full gradient shorter than the decoupled one in {smaller:.0%}",
    ]
