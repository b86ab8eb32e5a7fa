"""The routes to a policy gradient from pixels that Table 1 and Figure 10 compare."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dva.compute.device import resolve_device
from dva.learning import DVA
from dva.learning.first_order.actor_critic import FirstOrderAlgorithm
from dva.learning.rollout import Rollout
from dva.runs import TrainConfig
from dva.runs.build import threads_of
from dva.spec import Observation
from dva.studies.building import build_first_order, first_order_config

__all__ = ["LABELS", "ROUTES", "Route", "draw_bars", "open_route"]

LEAN_BUDGET = 4.0
"""Memory for the activations of the lean route, MB."""
LABELS = {
    "dva": "D.Va",
    "dva-lean": f"D.Va, {LEAN_BUDGET:g} MB of activations",
    "one-graph": "D.Va in one graph",
    "visual-shac": "visual SHAC",
}
ROUTES = tuple(LABELS)


class Route:
    """One way from a rollout to a gradient of the policy, without an update."""

    def __init__(self, name: str, config: TrainConfig, algorithm: FirstOrderAlgorithm) -> None:
        self.name, self.config, self.algorithm = name, config, algorithm

    def rollout(self) -> Rollout:
        """Collects a rollout, with the graph that the route needs."""
        if isinstance(self.algorithm, DVA):
            return self.algorithm.rollout()
        return self.algorithm.collect(self._sample)

    def backward(self, rollout: Rollout) -> None:
        """Sets the gradients of the actor; for D.Va with a second forward pass of its images."""
        algorithm = self.algorithm
        if isinstance(algorithm, DVA):
            gradient, _ = algorithm.action_gradient(
                rollout, algorithm.env, algorithm.target_value, algorithm.config.discount
            )
            algorithm.policy_gradient(rollout, gradient)
        else:
            algorithm.actor_loss(rollout).sum().backward()

    def run(self) -> tuple[float, float]:
        """Makes a rollout and a gradient; returns the seconds of both."""
        # D.Va shares a CPU's cores by environments, the others inside torch's operations.
        with threads_of(self.config):
            began = self._now()
            rollout = self.rollout()
            middle = self._now()
            self.backward(rollout)
            end = self._now()
        self.algorithm.actor_optimizer.zero_grad()
        return middle - began, end - middle

    def _sample(self, observation: Observation) -> tuple[Tensor, Tensor]:
        inputs = self.algorithm.policy_input(observation)
        if self.name == "one-graph":
            inputs = {name: value.detach() for name, value in inputs.items()}
        mean, log_std = self.algorithm.actor(inputs)
        noise = self.algorithm.draw_noise()
        return mean + log_std.exp() * noise, noise

    def _now(self) -> float:
        if self.algorithm.device.type == "cuda":
            torch.cuda.synchronize(self.algorithm.device)
        return time.perf_counter()


@contextmanager
def open_route(
    name: str, task: str, seed: int, device: str, threads: int, **changes: Any
) -> Iterator[Route]:
    """Prepares a route on the differentiable camera. Several may be open at a time.

    Args:
        name: "dva" makes the action gradient and then the regression, as `DVA` trains; "dva-lean"
            does so in pieces of a few images, by `memory_budget`; "one-graph" keeps the graph of
            policy and physics over the whole rollout and cuts observations; "visual-shac" does not
            cut them.
        task: name of the task.
        seed: of starts, networks and noise.
        device: "auto", "cpu" or "cuda".
        threads: of a CPU; torch's own number says nothing of the machine while a route is open.
        changes: fields of `EnvConfig`, `RunConfig` or the algorithm's own configuration.
    """
    changes = {"camera": "differentiable", "seed": seed, "device": device, **changes}
    if resolve_device(device).type == "cpu":
        changes["threads"] = threads
    if name == "dva-lean":
        changes["memory_budget"] = LEAN_BUDGET
    algo = "dva" if name in ("dva", "dva-lean") else "shac"
    config = first_order_config(task, algo, "pixels", **changes)
    with build_first_order(config) as algorithm:
        yield Route(name, config, algorithm)


def draw_bars(panel: Any, rows: list[dict[str, Any]], field: str) -> None:
    """Draws a field of the rows: the routes side by side for each task."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    width = 0.8 / len(ROUTES)
    for index, route in enumerate(ROUTES):
        heights = [row[field] for row in rows if row["route"] == route]
        offset = width * (index - (len(ROUTES) - 1) / 2)
        positions = [tick + offset for tick in range(len(tasks))]
        panel.bar(positions, heights, width=0.9 * width, label=LABELS[route])
    panel.set_xticks(range(len(tasks)), tasks)
    panel.legend(fontsize=7)
