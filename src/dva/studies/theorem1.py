"""Theorem 1: the decoupled gradient is that of behaviour cloning to improved open-loop actions.

For one rollout, three gradients of the policy: D.Va's as it trains with it; that of the cloning
loss L_BC = 1/(2 beta) sum |a(o_t) - (a_t - beta dL/da_t)|^2 for several beta (the loss L is
minimised, so that its gradient is subtracted); and that of one graph in which observations are cut.

Source: D.Va, equations (4) to (9) and Theorem 1.
"""

import dataclasses
from typing import Any

import torch

from dva.learning import DVA
from dva.policies import normalize
from dva.studies.building import ComparisonConfig, algorithms_to_compare
from dva.studies.gradients import (
    Start,
    cosine,
    decoupled_gradient,
    flat,
    open_loop_gradient,
)
from dva.studies.report import Report, add_row, new_figure, silent

__all__ = ["Config", "draw", "measure", "summary"]

BETAS = (1e-3, 1e-2, 0.1, 1.0, 10.0)


@dataclasses.dataclass
class Config(ComparisonConfig):
    """Compare D.Va's gradient with behaviour cloning and with one graph (Theorem 1)."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Compares gradients; returns one row each."""
    rows: list[dict[str, Any]] = []
    for algorithm, seed, name in algorithms_to_compare(config, "dva", num_envs=8):
        assert isinstance(algorithm, DVA)
        add_row(rows, {**name, **_compare(algorithm, seed)}, report)
    return {"rows": rows}


def _compare(algorithm: DVA, seed: int) -> dict[str, Any]:
    start = Start(algorithm, seed)
    rollout, gradients = open_loop_gradient(algorithm, start)
    open_loop = torch.stack(gradients)
    algorithm.policy_gradient(rollout, open_loop)
    parameters = list(algorithm.actor.parameters())
    ours = flat([p.grad for p in parameters if p.grad is not None])
    cloning = {f"{beta:g}": _cloning_gradient(algorithm, start, open_loop, beta) for beta in BETAS}
    one_graph = flat(decoupled_gradient(algorithm, start))
    return {
        "norm": ours.norm().item(),
        "one_graph_error": ((ours - one_graph).norm() / ours.norm()).item(),
        "one_graph_cosine": cosine(ours, one_graph),
        "cloning_error": {b: ((ours - g).norm() / ours.norm()).item() for b, g in cloning.items()},
        "cloning_cosine": {b: cosine(ours, g) for b, g in cloning.items()},
    }


def _cloning_gradient(
    algorithm: DVA, start: Start, open_loop: torch.Tensor, beta: float
) -> torch.Tensor:
    """Differentiates the cloning loss, from observations and actions of the same rollout."""
    rollout, _ = open_loop_gradient(algorithm, start)
    improved = torch.stack(rollout.actions).detach() - beta * open_loop
    samples = rollout.noise.shape[0] * rollout.noise.shape[1]
    vectors = normalize(rollout.vectors, algorithm.horizon_normalizers)
    inputs = {
        **{name: buffer.observations(0, samples) for name, buffer in rollout.frames.items()},
        **{name: value.flatten(0, 1) for name, value in vectors.items()},
    }
    mean, log_std = algorithm.actor(inputs)
    action = mean + log_std.exp() * rollout.noise.flatten(0, 1)
    # float64 from here: a - (a - beta g) loses digits for a small beta
    loss = (action.double() - improved.double().flatten(0, 1)).square().sum() / (2.0 * beta)
    return flat(list(torch.autograd.grad(loss, list(algorithm.actor.parameters()))))


def draw(result: dict[str, Any]) -> Any:
    """Draws the relative differences."""
    figure, axes = new_figure(1)
    labels = [
        f"{row['task']}\n{row['observe']}\niteration {row['iteration']}" for row in result["rows"]
    ]
    ticks = range(len(labels))
    for beta in (f"{b:g}" for b in BETAS):
        axes[0, 0].semilogy(
            ticks, [row["cloning_error"][beta] for row in result["rows"]], "o",
            label=f"cloning, beta = {beta}",
        )  # fmt: skip
    axes[0, 0].semilogy(
        ticks, [row["one_graph_error"] for row in result["rows"]], "kx", label="one graph"
    )
    axes[0, 0].set_xticks(list(ticks), labels, fontsize=6)
    axes[0, 0].set_ylabel("relative difference to D.Va's gradient")
    axes[0, 0].legend(fontsize=7)
    figure.set_size_inches(9, 4.5)
    return figure


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    graph = max(row["one_graph_error"] for row in result["rows"])
    clone = max(row["cloning_error"][f"{b:g}"] for row in result["rows"] for b in BETAS if b >= 0.1)
    return [
        f"largest relative difference to one graph: {graph:.1e}",
        f"largest relative difference to cloning, beta of 0.1 and more: {clone:.1e}",
    ]
