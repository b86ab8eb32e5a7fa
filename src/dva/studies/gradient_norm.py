"""Figure 9: gradient norms over training, SHAC through the differentiable camera against D.Va.

Both train from pixels of the same camera, with the same networks.

Source: D.Va, Figure 9.
"""

import dataclasses
import statistics
from typing import Any

from dva.studies.building import build_first_order, first_order_config
from dva.studies.report import Report, StudyConfig, add_row, new_figure, silent

__all__ = ["Config", "draw", "measure", "summary"]

LABELS = {"dva": "D.Va", "shac": "SHAC, differentiable camera"}


@dataclasses.dataclass
class Config(StudyConfig):
    """Compare gradient norms of visual SHAC and D.Va over training (Figure 9)."""

    tasks: tuple[str, ...] = ("cartpole", "hopper", "ant", "humanoid")
    """Tasks to train on."""
    iterations: int | None = None
    """Training iterations; None: 40, with --full the planned ones."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Trains both on each task; returns norms and returns of every iteration."""
    rows: list[dict[str, Any]] = []
    for task in config.tasks:
        for algo in LABELS:
            small: dict[str, Any] = {} if config.full else {"num_envs": 8, "image_size": 48}
            described = first_order_config(
                task, algo, "pixels", camera="differentiable", seed=config.seed,
                device=config.device, precision="float32", **small,
            )  # fmt: skip
            with build_first_order(described) as algorithm:
                num_envs, horizon = described.env.num_envs, described.algorithm.horizon
                planned = described.run.env_steps // (num_envs * horizon)
                count = config.iterations or (planned if config.full else 40)
                metrics = [algorithm.iterate() for _ in range(count)]
            row = {
                "task": task,
                "algo": algo,
                "num_envs": num_envs,
                "horizon": horizon,
                "norm": [row["actor_grad_norm"] for row in metrics],
                "return": [row["return"] for row in metrics],
                "nonfinite": sum(row["nonfinite_count"] or 0 for row in metrics),
            }
            add_row(rows, row, report)
    return {"rows": rows}


def draw(result: dict[str, Any]) -> Any:
    """Draws one panel per task."""
    tasks = list(dict.fromkeys(row["task"] for row in result["rows"]))
    figure, axes = new_figure(len(tasks))
    for panel, task in zip(axes[0], tasks, strict=True):
        for row in result["rows"]:
            if row["task"] == task:
                norms = [float("nan") if norm is None else norm for norm in row["norm"]]
                panel.semilogy(range(1, len(norms) + 1), norms, label=LABELS[row["algo"]])
        panel.set_title(task)
        panel.set_xlabel("iteration")
        panel.set_ylabel("norm of the actor's gradient")
        panel.legend(fontsize=7)
    return figure


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    lines = []
    for row in result["rows"]:
        norms = [norm for norm in row["norm"] if norm is not None]
        lines.append(
            f"{row['task']:9} {LABELS[row['algo']]:28} median norm {statistics.median(norms):.2e}, "
            f"largest {max(norms):.2e}, non-finite {row['nonfinite']:.0f}"
        )
    return lines
