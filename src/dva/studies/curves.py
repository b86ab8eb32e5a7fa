"""Learning curves of several runs: averaged over seeds, by environment steps and by time."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dva.runs import Run, UsageError, default_config, train
from dva.studies.report import Report, StudyConfig, new_figure

__all__ = ["CurvesConfig", "collect", "draw_curves", "end_of_curves", "open_runs", "train_runs"]

POINTS = 200
AXES = {"env_steps": "environment steps", "wall_time": "wall time (minutes)"}


@dataclasses.dataclass
class CurvesConfig(StudyConfig):
    """What a study can be told that compares learning curves."""

    runs: tuple[Path, ...] = ()
    """Finished runs of both algorithms; none: train them."""
    tasks: tuple[str, ...] | None = None
    """Tasks to train, if no runs are given; none: the study's."""
    seeds: int | None = None
    """Seeds to train, from `seed` on; none: 1, with --full 5."""
    run_dir: Path | None = None
    """Where trained runs go, none: runs/NAME; those that are there are not trained again."""

    @property
    def seeds_to_train(self) -> range:
        """The seeds themselves."""
        return range(self.seed, self.seed + (self.seeds or (5 if self.full else 1)))


def open_runs(
    runs: Sequence[Run | str | Path], fits: Callable[[Run], bool], what: str
) -> list[Run]:
    """Opens runs and makes sure that they belong to the study.

    Args:
        fits: tells whether a run does.
        what: says which do, for the error.

    Raises:
        UsageError: there is no such run, or it does not belong here.
    """
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    for run in opened:
        if not fits(run):
            raise UsageError(f"Run {run.path} does not fit: this study compares {what}.")
    return opened


def train_runs(
    report: Report,
    folder: Path,
    algos: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    **changes: Any,
) -> list[Run]:
    """Trains every algorithm on every task with every seed; finished runs are not made again.

    Args:
        report: takes a line before each training.
        folder: holds the runs, each named TASK-ALGO-SEED.
        changes: fields of `TrainConfig` or of the algorithms' configuration.
    """
    made = []
    for task in tasks:
        for algo in algos:
            for seed in seeds:
                path = folder / f"{task}-{algo}-{seed}"
                if path.exists() and Run.open(path).metrics():
                    made.append(Run.open(path))
                    continue
                report(f"Training {path}")
                config = default_config(
                    task, algo, seed=seed, run_dir=path, video_interval=0, **changes
                )
                made.append(train(config).run)
    return made


def collect(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Averages the returns of training over seeds.

    Returns:
        For each task and algorithm: "seeds", and for each of `AXES` the places (POINTS,) and the
        returns' "mean", "lowest" and "highest" (POINTS,).
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.config.task, run.config.algo), []).append(run)
    curves: dict[str, dict[str, Any]] = {}
    for (task, algo), members in sorted(groups.items()):
        curve: dict[str, Any] = {"seeds": [run.config.seed for run in members]}
        for axis in AXES:
            curve[axis] = _average(members, axis)
        curves.setdefault(task, {})[algo] = curve
    return curves


def _average(runs: Sequence[Run], axis: str) -> dict[str, list[float]]:
    """Brings the curves of all seeds onto the same places, up to where the shortest one ends."""
    series = []
    for run in runs:
        rows = [row for row in run.metrics() if row["return"] is not None]
        if not rows:
            raise UsageError(f"No episode of run {run.path} has ended: train it longer.")
        scale = 1 / 60 if axis == "wall_time" else 1
        series.append(([scale * row[axis] for row in rows], [row["return"] for row in rows]))
    first, last = max(s[0][0] for s in series), min(s[0][-1] for s in series)
    places = np.linspace(first, last, POINTS)
    returns = np.stack([np.interp(places, *s) for s in series])
    return {
        "places": places.round(2).tolist(),
        "mean": returns.mean(0).round(1).tolist(),
        "lowest": returns.min(0).round(1).tolist(),
        "highest": returns.max(0).round(1).tolist(),
    }


def draw_curves(curves: dict[str, dict[str, Any]], labels: dict[str, str]) -> Any:
    """Draws one column per task, returns over steps above and over time below."""
    from matplotlib.ticker import EngFormatter

    figure, axes = new_figure(len(curves), len(AXES))
    for column, (task, algorithms) in enumerate(curves.items()):
        for row, (axis, label) in enumerate(AXES.items()):
            panel = axes[row, column]
            for algo, curve in algorithms.items():
                line = curve[axis]
                panel.plot(line["places"], line["mean"], label=labels.get(algo, algo))
                panel.fill_between(line["places"], line["lowest"], line["highest"], alpha=0.2)
            panel.set_title(task)
            panel.set_xlabel(label)
            panel.set_ylabel("return of the training episodes")
            panel.legend(fontsize=8)
            if axis == "env_steps":
                panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def end_of_curves(curves: dict[str, dict[str, Any]], labels: dict[str, str]) -> list[str]:
    """Says in lines where each curve ends."""
    return [
        f"{task:9} {labels.get(algo, algo):28} {len(curve['seeds'])} seed(s): return "
        f"{curve['env_steps']['mean'][-1]:,.0f} after {curve['env_steps']['places'][-1]:,.0f} "
        f"steps, {curve['wall_time']['places'][-1]:.1f} min"
        for task, algorithms in curves.items()
        for algo, curve in algorithms.items()
    ]
