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
from dva.studies.gradients import (
    Start,
    cosine,
    decoupled_gradient,
    flat,
    open_loop_gradient,
    same_rollout,
)
from dva.studies.report import Report, describe, new_figure, silent
from dva.studies.setup import ComparisonConfig, learners_to_compare

__all__ = ["Config", "draw", "measure", "summary"]

BETAS = (1e-3, 1e-2, 0.1, 1.0, 10.0)


@dataclasses.dataclass
class Config(ComparisonConfig):
    """Compare D.Va's gradient with behaviour cloning and with one graph (Theorem 1)."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Compares gradients; returns one row each."""
    rows = []
    for learner, seed, name in learners_to_compare(config, "dva", num_envs=8):
        assert isinstance(learner, DVA)
        rows.append({**name, **_compare(learner, seed)})
        report(describe(rows[-1]))
    return {"rows": rows}


def _compare(learner: DVA, seed: int) -> dict[str, Any]:
    start = Start(learner, seed)
    rollout, gradients = open_loop_gradient(learner, start)
    learner.horizon_normalizer = learner.normalizer.frozen()
    open_loop = torch.stack(gradients)
    learner.policy_gradient(rollout, open_loop)
    parameters = list(learner.actor.parameters())
    ours = flat([p.grad for p in parameters if p.grad is not None])
    cloning = {f"{beta:g}": _cloning_gradient(learner, start, open_loop, beta) for beta in BETAS}
    one_graph = flat(decoupled_gradient(learner, start))
    return {
        "norm": ours.norm().item(),
        "one_graph_error": ((ours - one_graph).norm() / ours.norm()).item(),
        "one_graph_cosine": cosine(ours, one_graph),
        "cloning_error": {b: ((ours - g).norm() / ours.norm()).item() for b, g in cloning.items()},
        "cloning_cosine": {b: cosine(ours, g) for b, g in cloning.items()},
    }


def _cloning_gradient(
    learner: DVA, start: Start, open_loop: torch.Tensor, beta: float
) -> torch.Tensor:
    """Differentiates the cloning loss, from observations and actions of the same rollout."""
    with same_rollout(learner, start):
        rollout, _ = open_loop_gradient(learner, start)
    improved = torch.stack(rollout.actions).detach() - beta * open_loop
    if rollout.frames is not None:
        inputs = rollout.frames.observations(0, rollout.noise.shape[0] * rollout.noise.shape[1])
    else:
        inputs = learner.horizon_normalizer(rollout.states).flatten(0, 1)
    mean, log_std = learner.actor(inputs)
    action = mean + log_std.exp() * rollout.noise.flatten(0, 1)
    # float64 from here: a - (a - beta g) loses digits for a small beta
    loss = (action.double() - improved.double().flatten(0, 1)).square().sum() / (2.0 * beta)
    return flat(list(torch.autograd.grad(loss, list(learner.actor.parameters()))))


def draw(result: dict[str, Any]) -> Any:
    """Draws the relative differences."""
    figure, axes = new_figure(1)
    labels = [
        f"{row['task']}\n{row['observe']}\niteration {row['iteration']}" for row in result["rows"]
    ]
    places = range(len(labels))
    for beta in (f"{b:g}" for b in BETAS):
        axes[0, 0].semilogy(
            places, [row["cloning_error"][beta] for row in result["rows"]], "o",
            label=f"cloning, beta = {beta}",
        )  # fmt: skip
    axes[0, 0].semilogy(
        places, [row["one_graph_error"] for row in result["rows"]], "kx", label="one graph"
    )
    axes[0, 0].set_xticks(list(places), labels, fontsize=6)
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
