"""The full gradient is the decoupled one plus the control regularisation.

Each is computed on its own: the full gradient through one graph, the decoupled one through the
graph without observations, and the regularisation from the open-loop gradient g, as
sum_t g_t . da_t/do_t . do_t/ds_t . ds_t/dtheta. From states, and from pixels through the
differentiable camera. The error of full - decoupled is measured in lengths of the regularisation.

Source: D.Va, equations (4), (5) and (14).
"""

import dataclasses
from typing import Any

from dva.learning.first_order.actor_critic import FirstOrderAlgorithm
from dva.studies.building import ComparisonConfig, algorithms_to_compare
from dva.studies.gradients import (
    Start,
    control_regularization,
    decoupled_gradient,
    flat,
    full_gradient,
)
from dva.studies.report import Report, add_row, new_figure, silent

__all__ = ["Config", "draw", "measure", "summary"]


@dataclasses.dataclass
class Config(ComparisonConfig):
    """Compute the full gradient and its two parts independently (equations 4, 5, 14)."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Computes the three gradients; returns one row for each comparison."""
    rows: list[dict[str, Any]] = []
    for algorithm, seed, name in algorithms_to_compare(config, "shac", num_envs=4):
        add_row(rows, {**name, **_compare(algorithm, seed)}, report)
    return {"rows": rows}


def _compare(algorithm: FirstOrderAlgorithm, seed: int) -> dict[str, Any]:
    """Measures the error in lengths of the regularisation: a wrong one must show, however small a
    part of the full gradient it is."""
    start = Start(algorithm, seed)
    full = flat(full_gradient(algorithm, start))
    decoupled = flat(decoupled_gradient(algorithm, start))
    rest = flat(control_regularization(algorithm, start))
    size = rest.norm().clamp(min=1e-300)
    return {
        "full_norm": full.norm().item(),
        "decoupled_norm": decoupled.norm().item(),
        "regularization_norm": rest.norm().item(),
        "error": ((full - decoupled - rest).norm() / size).item(),
    }


def draw(result: dict[str, Any]) -> Any:
    """Draws the norms of the three gradients, and how well the parts add up."""
    figure, axes = new_figure(2)
    rows = result["rows"]
    labels = [f"{row['task']}\n{row['observe']}\niteration {row['iteration']}" for row in rows]
    ticks = list(range(len(rows)))
    for name, label in (
        ("full_norm", "full gradient"),
        ("decoupled_norm", "decoupled gradient"),
        ("regularization_norm", "control regularisation"),
    ):
        axes[0, 0].semilogy(ticks, [row[name] for row in rows], "o", label=label)
    axes[0, 0].set_ylabel("norm")
    axes[0, 0].legend(fontsize=7)
    axes[0, 1].semilogy(ticks, [row["error"] for row in rows], "kx")
    axes[0, 1].set_ylabel("|full - decoupled - regularisation| / |regularisation|")
    for one in axes.flat:
        one.set_xticks(ticks, labels, fontsize=5)
    figure.set_size_inches(12, 4.5)
    return figure


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    lines = []
    for observe in dict.fromkeys(row["observe"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["observe"] == observe]
        worst = max(row["error"] for row in rows)
        shares = [row["regularization_norm"] / row["full_norm"] for row in rows]
        lines.append(
            f"{observe:6} largest error {worst:.1e} of the regularisation, which is "
            f"{min(shares):.1e} to {max(shares):.1e} of the full gradient"
        )
    return lines
