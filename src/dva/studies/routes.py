"""The routes to a policy gradient from pixels that Table 1 and Figure 10 compare."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dva.envs.environment import Observation
from dva.learning import DVA, Learner
from dva.learning.first_order.rollout import Rollout
from dva.runs.config import default_config
from dva.runs.threads import lanes
from dva.studies.setup import new_learner

__all__ = ["LABELS", "ROUTES", "draw_bars", "new_route"]

LEAN_BUDGET = 4.0
"""Memory for the activations of the lean route, MB."""
LABELS = {
    "dva": "D.Va",
    "dva-lean": f"D.Va, {LEAN_BUDGET:g} MB of activations",
    "one-graph": "D.Va in one graph",
    "visual-shac": "visual SHAC",
}
ROUTES = tuple(LABELS)


def new_route(
    route: str, task: str, seed: int, device: str, **changes: Any
) -> Callable[[], tuple[float, float]]:
    """Prepares one route on the differentiable camera.

    "dva" makes the action gradient and then the regression, as `DVA` trains; "dva-lean" does so in
    pieces of a few images, by `--memory-budget`; "one-graph" keeps the
    graph of policy and physics over the whole rollout and cuts observations; "visual-shac" does not
    cut them.

    Returns:
        A function that makes one rollout and one gradient of the policy, without an update, and
        returns the seconds of both: backward is all that comes after the rollout, for D.Va with the
        second forward pass of its images.
    """
    algo = "dva" if route in ("dva", "dva-lean") else "shac"
    changes = {"observe": "pixels", "camera": "differentiable", **changes}
    if route == "dva-lean":
        changes["memory_budget"] = LEAN_BUDGET
    # D.Va shares a CPU's cores by environments, the others inside torch's operations.
    config = default_config(task, algo, "paper", device=device, **changes)
    with lanes(config) as threads:
        learner = new_learner(task, algo, seed, device, threads, **changes)
    step = _blocks(learner) if isinstance(learner, DVA) else _one_graph(learner, route)

    def timed() -> tuple[float, float]:
        with lanes(config):
            began = _now(learner)
            rollout = step[0]()
            middle = _now(learner)
            step[1](rollout)
            end = _now(learner)
        learner.actor_optimizer.zero_grad()
        return middle - began, end - middle

    return timed


Steps = tuple[Callable[[], Rollout], Callable[[Rollout], None]]


def _blocks(learner: DVA) -> Steps:
    def backward(rollout: Rollout) -> None:
        gradient, _ = learner.action_gradient(
            rollout, learner.target_value, learner.config.discount
        )
        learner.policy_gradient(rollout, gradient)

    return learner.rollout, backward


def _one_graph(learner: Learner, route: str) -> Steps:
    cut = route == "one-graph"

    def sample(observation: Observation) -> tuple[Tensor, Tensor]:
        inputs = learner.policy_input(observation, learner.horizon_normalizer)
        mean, log_std = learner.actor(inputs.detach() if cut else inputs)
        noise = learner.draw_noise()
        return mean + log_std.exp() * noise, noise

    def backward(rollout: Rollout) -> None:
        learner.actor_loss(rollout).sum().backward()

    return lambda: learner.collect(sample), backward


def _now(learner: Learner) -> float:
    if learner.device.type == "cuda":
        torch.cuda.synchronize(learner.device)
    return time.perf_counter()


def draw_bars(panel: Any, rows: list[dict[str, Any]], field: str) -> None:
    """Draws a field of the rows: the routes side by side for each task."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    width = 0.8 / len(ROUTES)
    for index, route in enumerate(ROUTES):
        heights = [row[field] for row in rows if row["route"] == route]
        offset = width * (index - (len(ROUTES) - 1) / 2)
        places = [place + offset for place in range(len(tasks))]
        panel.bar(places, heights, width=0.9 * width, label=LABELS[route])
    panel.set_xticks(range(len(tasks)), tasks)
    panel.legend(fontsize=7)
