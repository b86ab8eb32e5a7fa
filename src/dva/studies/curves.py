"""Learning curves of several runs: averaged over seeds, by environment steps and by time."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter

from dva.runs import Run, TrainConfig, UsageError, default_config, train
from dva.runs.resume import require_continuable
from dva.studies.report import Report, StudyConfig, new_figure

__all__ = ["CurvesConfig", "collect", "draw_curves", "end_of_curves", "open_runs", "train_runs"]

POINTS = 200
AXES = {"env_steps": "environment steps", "wall_time": "wall time (minutes)"}


@dataclasses.dataclass
class CurvesConfig(StudyConfig):
    """Flags of a study that compares learning curves."""

    runs: tuple[Path, ...] = ()
    """Runs of both algorithms; None: train them."""
    tasks: tuple[str, ...] | None = None
    """Tasks to train, if no runs are given; None: the study's."""
    seeds: int | None = None
    """Number of seeds to train, from `seed` on; None: 1, with --full 5."""
    run_dir: Path | None = None
    """Folder of the trained runs; None: runs/NAME. Those that are finished stay as they are, the
    others are continued."""

    @property
    def seeds_to_train(self) -> range:
        """The seeds themselves."""
        return range(self.seed, self.seed + (self.seeds or (5 if self.full else 1)))


def open_runs(
    runs: Sequence[Run | str | Path], fits: Callable[[Run], bool], what: str
) -> list[Run]:
    """Opens runs and makes sure that they belong to the study.

    Args:
        runs: runs or their folders.
        fits: tells whether a run belongs to the study.
        what: names those that do, for the error.

    Raises:
        UsageError: there is no such run, or it does not belong to the study.
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
    """Trains every algorithm on every task with every seed.

    A run that has reached its last step is kept as it is, and an unfinished one is continued.

    Args:
        report: takes a line before each training.
        folder: holds the runs, each named TASK-ALGO-SEED.
        algos, tasks, seeds: what to train.
        changes: fields of `EnvConfig`, `RunConfig` or the algorithms' own configuration.

    Raises:
        KeyboardInterrupt: a signal stopped a training; its checkpoint is saved.
        UsageError: a run in the folder has another configuration, or cannot be read.
    """
    return [
        _train_run(
            report,
            default_config(
                task, algo, seed=seed, run_dir=folder / f"{task}-{algo}-{seed}", video_interval=0,
                **changes,
            ),
        )
        for task in tasks
        for algo in algos
        for seed in seeds
    ]  # fmt: skip


def _train_run(report: Report, config: TrainConfig) -> Run:
    """Brings one run to its last step and returns it."""
    path = config.run.run_dir
    assert path is not None
    started = None
    if (path / "config.yaml").exists():
        started = Run.open(path)
        # The folder may have been reached by another path then.
        moved = dataclasses.replace(config.run, run_dir=started.config.run.run_dir)
        config = dataclasses.replace(config, run=moved)
        require_continuable(started.config, config)
        rows = started.metrics()
        if rows and rows[-1]["env_steps"] >= config.run.last_step:
            return started
    report(f"{'Training' if started is None else 'Continuing'} {path}")
    outcome = train(config, resume=started)
    if outcome.warning:
        report(f"Warning: {outcome.warning}")
    if outcome.reason == "interrupted":
        report(f"Stopped; a checkpoint of {path} is saved. The same command goes on from there.")
        raise KeyboardInterrupt
    return outcome.run


def collect(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Averages the returns of training over seeds.

    Returns:
        For each task and algorithm: "seeds", and for each of `AXES` the "positions" (POINTS,),
        the returns' "mean", "lowest" and "highest" (POINTS,), and "seed_count" (POINTS,), how many
        seeds got that far and are in these.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.config.env.task, run.config.algo), []).append(run)
    curves: dict[str, dict[str, Any]] = {}
    for (task, algo), members in sorted(groups.items()):
        curve: dict[str, Any] = {"seeds": [run.config.run.seed for run in members]}
        for axis in AXES:
            curve[axis] = _average(members, axis)
        curves.setdefault(task, {})[algo] = curve
    return curves


def _average(runs: Sequence[Run], axis: str) -> dict[str, list[float]]:
    """Brings the curves of all seeds onto the same positions, and averages those that go so far."""
    series = []
    for run in runs:
        rows = [row for row in run.metrics() if row["return"] is not None]
        if not rows:
            raise UsageError(f"No episode of run {run.path} has ended: train it longer.")
        scale = 1 / 60 if axis == "wall_time" else 1
        series.append(([scale * row[axis] for row in rows], [row["return"] for row in rows]))
    # From where every seed has a return to where the longest curve ends: one is always there.
    first, last = max(s[0][0] for s in series), max(s[0][-1] for s in series)
    positions = np.linspace(first, last, POINTS)
    positions[-1] = last
    returns = np.stack([np.interp(positions, *s, right=np.nan) for s in series])
    return {
        "positions": positions.round(2).tolist(),
        "mean": np.nanmean(returns, 0).round(1).tolist(),
        "lowest": np.nanmin(returns, 0).round(1).tolist(),
        "highest": np.nanmax(returns, 0).round(1).tolist(),
        "seed_count": np.isfinite(returns).sum(0).tolist(),
    }


def draw_curves(curves: dict[str, dict[str, Any]], labels: dict[str, str]) -> Any:
    """Draws one column per task, returns over steps above and over time below."""
    figure, axes = new_figure(len(curves), len(AXES))
    for column, (task, algorithms) in enumerate(curves.items()):
        for row, (axis, label) in enumerate(AXES.items()):
            panel = axes[row, column]
            for algo, curve in algorithms.items():
                line = curve[axis]
                positions = line["positions"]
                panel.plot(positions, line["mean"], label=labels.get(algo, algo))
                panel.fill_between(positions, line["lowest"], line["highest"], alpha=0.2)
            panel.set_title(task)
            panel.set_xlabel(label)
            panel.set_ylabel("return of the training episodes")
            panel.legend(fontsize=8)
            if axis == "env_steps":
                panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def end_of_curves(curves: dict[str, dict[str, Any]], labels: dict[str, str]) -> list[str]:
    """Says in lines where each curve ends, and how many seeds got that far."""
    lines = []
    for task, algorithms in curves.items():
        for algo, curve in algorithms.items():
            steps, minutes = curve["env_steps"], curve["wall_time"]
            lines.append(
                f"{task:9} {labels.get(algo, algo):28} {steps['seed_count'][-1]} of "
                f"{len(curve['seeds'])} seed(s): return {steps['mean'][-1]:,.0f} after "
                f"{steps['positions'][-1]:,.0f} steps, {minutes['positions'][-1]:.1f} min"
            )
    return lines
