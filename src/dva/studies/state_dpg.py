"""Figure 13: the decoupled gradient against SHAC's full gradient, both from states.

Source: D.Va, Appendix D.
"""

import dataclasses
from pathlib import Path
from typing import Any

from dva.studies.curves import collect, draw_curves, end_of_curves, open_runs, train_runs
from dva.studies.report import StudyConfig

__all__ = ["Config", "draw", "measure", "summary"]

LABELS = {"shac": "SHAC", "dva": "decoupled gradient"}


@dataclasses.dataclass
class Config(StudyConfig):
    """Compare SHAC and the decoupled gradient from states (Figure 13)."""

    runs: tuple[Path, ...] = ()
    """Finished runs of both, from states; none: train them."""
    tasks: tuple[str, ...] = ("cartpole", "hopper")
    """Tasks to train, if no runs are given."""
    seeds: int | None = None
    """Seeds to train, from `seed` on; none: 1, with --full 5."""
    stop_at: int | None = None
    """Iterations to train; none: 200, with --full the planned ones."""
    run_dir: Path = Path("runs/state-dpg")
    """Where trained runs go; those that are there are not trained again."""


def measure(config: Config) -> dict[str, Any]:
    """Averages the curves of the runs given, or trains them first."""
    if config.runs:
        runs = open_runs(
            config.runs, lambda run: run.config.learner.observe == "state", "runs from states"
        )
    else:
        runs = train_runs(
            config.run_dir, tuple(LABELS), config.tasks,
            range(config.seed, config.seed + (config.seeds or (5 if config.full else 1))),
            observe="state", device=config.device,
            stop_at=config.stop_at or (None if config.full else 200),
        )  # fmt: skip
    return {"curves": collect(runs)}


def draw(result: dict[str, Any]) -> Any:
    """Draws the returns over steps and over time."""
    return draw_curves(result["curves"], LABELS)


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    return end_of_curves(result["curves"], LABELS)
