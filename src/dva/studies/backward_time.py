"""Table 1: seconds of the backward pass of one iteration, by several routes in one run.

D.Va, with much and with little memory, visual SHAC, and D.Va in one graph as the paper computes it,
on the same camera, networks and physics. D.Va's backward pass includes the second forward pass of
its images.

Source: D.Va, Table 1.
"""

import dataclasses
import statistics
from contextlib import ExitStack
from typing import Any

import torch

from dva.studies.report import Report, StudyConfig, add_row, new_figure, silent
from dva.studies.routes import LABELS, ROUTES, draw_bars, open_route

__all__ = ["Config", "draw", "measure", "summary"]

PAPER = {
    "cartpole": {"dva": 0.11, "visual-shac": 0.36},
    "hopper": {"dva": 0.19, "visual-shac": 0.51},
    "ant": {"dva": 0.21, "visual-shac": 0.58},
    "humanoid": {"dva": 0.68, "visual-shac": 1.38},
}
"""Seconds on an RTX 4080, for the eye: other work, another machine."""


@dataclasses.dataclass
class Config(StudyConfig):
    """Time the backward pass by several routes (Table 1)."""

    tasks: tuple[str, ...] = ("cartpole", "hopper", "ant", "humanoid")
    """Tasks to time."""
    repeats: int = 5
    """Timed iterations, after one that is not."""
    num_envs: int | None = None
    """Environments; None: 8, with --full 32."""
    horizon: int | None = None
    """Steps of a rollout; None: 16, with --full 32."""
    image_size: int | None = None
    """Side of the images; None: 48, with --full 84."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Times every route on every task, in turn, so that a slow minute meets all of them."""
    size = {
        "num_envs": config.num_envs or (32 if config.full else 8),
        "horizon": config.horizon or (32 if config.full else 16),
        "image_size": config.image_size or (84 if config.full else 48),
    }
    threads = torch.get_num_threads()
    rows: list[dict[str, Any]] = []
    for task in config.tasks:
        times: dict[str, list[tuple[float, float]]] = {route: [] for route in ROUTES}
        with ExitStack() as stack:
            routes = {
                name: stack.enter_context(
                    open_route(name, task, config.seed, config.device, threads, **size)
                )
                for name in ROUTES
            }
            for repeat in range(config.repeats + 1):
                for name, route in routes.items():
                    seconds = route.run()
                    if repeat > 0:
                        times[name].append(seconds)
        for name in ROUTES:
            row = {
                "task": task,
                "route": name,
                "rollout_s": statistics.median(t[0] for t in times[name]),
                "backward_s": statistics.median(t[1] for t in times[name]),
            }
            add_row(rows, row, report)
    return {"size": size, "rows": rows}


def draw(result: dict[str, Any]) -> Any:
    """Draws the seconds of every route for each task."""
    figure, axes = new_figure(1)
    draw_bars(axes[0, 0], result["rows"], "backward_s")
    axes[0, 0].set_ylabel("backward pass of one iteration (s)")
    return figure


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    lines = []
    for task in dict.fromkeys(row["task"] for row in result["rows"]):
        found = {row["route"]: row for row in result["rows"] if row["task"] == task}
        ours = found["dva"]["backward_s"]
        ratios = ", ".join(
            f"{LABELS[route]} {found[route]['backward_s']:.3f} s "
            f"({found[route]['backward_s'] / ours:.1f} x)"
            for route in ROUTES
            if route != "dva"
        )
        lines.append(f"{task:9} D.Va {ours:.3f} s; {ratios}")
    return lines
