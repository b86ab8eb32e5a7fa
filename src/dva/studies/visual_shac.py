"""Figure 7: SHAC through the differentiable camera against D.Va with the same camera.

Source: D.Va, Figure 7.
"""

import dataclasses
from pathlib import Path
from typing import Any

from dva.runs import default_config
from dva.studies.building import first_order_config
from dva.studies.curves import (
    CurvesConfig,
    collect,
    draw_curves,
    end_of_curves,
    open_runs,
    train_runs,
)
from dva.studies.report import Report, silent

__all__ = ["Config", "draw", "measure", "summary"]

LABELS = {"dva": "D.Va", "shac": "visual SHAC"}
ENV_STEPS = 153_600
"""Planned environment steps of a small study: 300 iterations on Cartpole."""


@dataclasses.dataclass
class Config(CurvesConfig):
    """Compare visual SHAC and D.Va on the same camera (Figure 7)."""

    env_steps: int | None = None
    """Planned environment steps; None: 153,600, with --full those of the published configurations
    of this camera, 800 iterations of Cartpole and 2,000 of the others for both methods."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Averages the curves of the runs given, or trains them first: on Cartpole, with `full` on the
    paper's four tasks."""
    if config.runs:
        runs = open_runs(
            config.runs,
            lambda run: (
                "pixels" in run.config.env.observe and run.config.env.camera == "differentiable"
            ),
            "runs from pixels of the differentiable camera",
            config.trust_code,
        )
    else:
        tasks = config.tasks or (
            ("cartpole", "hopper", "ant", "humanoid") if config.full else ("cartpole",)
        )
        changes: dict[str, Any] = {}
        env_steps = config.env_steps or (None if config.full else ENV_STEPS)
        if env_steps is not None:
            changes["env_steps"] = env_steps
        runs = train_runs(
            report, config.run_dir or Path("runs/visual-shac"), tuple(LABELS), tasks,
            config.seeds_to_train, first_order_config if config.full else default_config,
            observe="pixels", camera="differentiable", device=config.device, **changes,
        )  # fmt: skip
    return {"curves": collect(runs)}


def draw(result: dict[str, Any]) -> Any:
    """Draws the returns over steps and over time."""
    return draw_curves(result["curves"], LABELS)


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    return end_of_curves(result["curves"], LABELS)
