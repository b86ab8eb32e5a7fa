"""Figure 13: the decoupled gradient against SHAC's full gradient, both from states.

Source: D.Va, Appendix D.
"""

import dataclasses
from pathlib import Path
from typing import Any

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

LABELS = {"shac": "SHAC", "dva": "decoupled gradient"}
STOP_AT = 409_600
"""Environment steps of a small study: 200 iterations."""


@dataclasses.dataclass
class Config(CurvesConfig):
    """Compare SHAC and the decoupled gradient from states (Figure 13)."""

    stop_at: int | None = None
    """Environment steps to train; None: 409,600, with --full the planned ones."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Averages the curves of the runs given, or trains them first, on Cartpole and Hopper."""
    if config.runs:
        runs = open_runs(
            config.runs, lambda run: run.config.env.observe == ("state",), "runs from states",
            config.trust_code,
        )  # fmt: skip
    else:
        runs = train_runs(
            report, config.run_dir or Path("runs/state-dpg"), tuple(LABELS),
            config.tasks or ("cartpole", "hopper"), config.seeds_to_train,
            observe="state", device=config.device,
            stop_at=config.stop_at or (None if config.full else STOP_AT),
        )  # fmt: skip
    return {"curves": collect(runs)}


def draw(result: dict[str, Any]) -> Any:
    """Draws the returns over steps and over time."""
    return draw_curves(result["curves"], LABELS)


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    return end_of_curves(result["curves"], LABELS)
