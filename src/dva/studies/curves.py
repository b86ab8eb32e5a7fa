"""Learning curves of several runs: averaged over seeds, by environment steps and by time."""

import dataclasses
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter

from dva.runs import Run, TrainConfig, UsageError, default_config, train
from dva.runs.config import config_to_dict
from dva.runs.resume import require_continuable
from dva.studies.report import Report, StudyConfig, new_figure

__all__ = [
    "CurvesConfig",
    "StudyInterrupted",
    "align",
    "average",
    "collect",
    "draw_curves",
    "end_mean",
    "end_of_curves",
    "open_runs",
    "require_alike",
    "train_run",
    "train_runs",
]

POINTS = 200
AXES = {"env_steps": "environment steps", "wall_time": "wall time (minutes)"}


@dataclasses.dataclass
class CurvesConfig(StudyConfig):
    """Flags of a study that compares learning curves."""

    runs: tuple[Path, ...] = ()
    """Finished runs of both algorithms; None: train them."""
    trust_code: bool = False
    """Import code of those runs' own that their configurations name as MODULE:NAME."""
    tasks: tuple[str, ...] | None = None
    """Tasks to train, if no runs are given; None: the study's."""
    seeds: int | None = None
    """Number of seeds to train, from `seed` on; None: 1, with --full 5."""
    run_dir: Path | None = None
    """Folder of the trained runs; None: runs/NAME. Those that are finished stay as they are, the
    others are continued. All must have the configuration that the study asks for."""

    @property
    def seeds_to_train(self) -> range:
        """The seeds themselves."""
        return range(self.seed, self.seed + (self.seeds or (5 if self.full else 1)))


class StudyInterrupted(KeyboardInterrupt):
    """A signal stopped a training of the study, and with it the study.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def open_runs(
    runs: Sequence[Run | str | Path],
    fits: Callable[[Run], bool],
    what: str,
    trust_code: bool = False,
) -> list[Run]:
    """Opens runs and makes sure that they belong to the study and are finished.

    Args:
        runs: runs or their folders.
        fits: tells whether a run belongs to the study.
        what: names those that do, for the error.
        trust_code: let modules be imported that their configurations name as MODULE:NAME.

    Raises:
        UsageError: there is no such run, it does not belong to the study, or it was cut short.
    """
    opened = [run if isinstance(run, Run) else Run.open(run, trust_code) for run in runs]
    for run in opened:
        if not fits(run):
            raise UsageError(f"Run {run.path} does not fit: this study compares {what}.")
        _require_finished(run)
    return opened


def train_runs(
    report: Report,
    folder: Path,
    algos: Sequence[str],
    tasks: Sequence[str],
    seeds: Sequence[int],
    configure: Callable[..., TrainConfig] = default_config,
    **changes: Any,
) -> list[Run]:
    """Trains every algorithm on every task with every seed; see `train_run`.

    Args:
        report: takes a line before each training.
        folder: holds the runs, each named TASK-ALGO-SEED.
        algos, tasks, seeds: what to train.
        configure: makes the configuration of a task and an algorithm with such changes.
        changes: fields of `EnvConfig`, `RunConfig` or the algorithms' own configuration.
    """
    return [
        train_run(
            report,
            configure(
                task, algo, seed=seed, run_dir=folder / f"{task}-{algo}-{seed}", video_interval=0,
                **changes,
            ),
        )
        for task in tasks
        for algo in algos
        for seed in seeds
    ]  # fmt: skip


def train_run(report: Report, config: TrainConfig) -> Run:
    """Brings one run to its last step and returns it.

    A finished run of the same configuration is kept as it is, and an unfinished one is continued.

    Args:
        report: takes a line before a training.
        config: with `run_dir`, the run's folder.

    Raises:
        StudyInterrupted: a signal stopped the training; its checkpoint is saved.
        UsageError: the run in the folder has another configuration or cannot be read, or the
            training gave up before its last step.
    """
    path = config.run.run_dir
    assert path is not None
    started = None
    if (path / "config.yaml").exists():
        started = Run.open(path)
        # The folder may have been reached by another path then.
        moved = dataclasses.replace(config.run, run_dir=started.config.run.run_dir)
        config = dataclasses.replace(config, run=moved)
        _require_same_plan(started, config)
        require_continuable(started.config, config)
        if _steps(started) >= config.run.last_step:
            return started
    report(f"{'Training' if started is None else 'Continuing'} {path}")
    outcome = train(config, resume=started)
    if outcome.warning:
        report(f"Warning: {outcome.warning}")
    if outcome.signal is not None or outcome.reason == "interrupted":
        report(f"Stopped; a checkpoint of {path} is saved. The same command goes on from there.")
        raise StudyInterrupted(outcome.signal or signal.SIGINT)
    _require_finished(outcome.run)
    return outcome.run


def _steps(run: Run) -> int:
    """Reads how many environment steps a run has finished."""
    rows = run.metrics()
    return rows[-1]["env_steps"] if rows else 0


def _require_finished(run: Run) -> None:
    done, last = _steps(run), run.config.run.last_step
    if done < last:
        raise UsageError(
            f"Run {run.path} was cut short: it has {done:,} of {last:,} environment steps, and a "
            f"study compares finished runs. Continue it: dva train --resume {run.path}"
        )


def _require_same_plan(run: Run, config: TrainConfig) -> None:
    """Makes sure that the learning rates of a run fall as a configuration says."""
    planned, asked = run.config.run.env_steps, config.run.env_steps
    if planned != asked:
        raise UsageError(
            f"Run {run.path} plans env_steps = {planned}, and this study {asked}: its learning "
            "rates are others. Give another --run-dir, or move that run away."
        )


def require_alike(runs: Sequence[Run]) -> None:
    """Makes sure that runs differ in their seeds alone, but for what they planned.

    Args:
        runs: of one task and one algorithm.

    Raises:
        UsageError: they differ in more, or two have one seed.
    """
    first, *others = runs
    seeds = {first.config.run.seed: first}
    expected = config_to_dict(first.config)
    for run in others:
        found = config_to_dict(run.config)
        for part in ("env", "algorithm"):
            for name, value in expected[part].items():
                if found[part].get(name) != value:
                    raise UsageError(
                        f"Runs {first.path} and {run.path} cannot be averaged: {name} is {value!r} "
                        f"in one and {found[part].get(name)!r} in the other. Leave one of them out."
                    )
        same = seeds.setdefault(run.config.run.seed, run)
        if same is not run:
            raise UsageError(
                f"Runs {same.path} and {run.path} have the same seed, {run.config.run.seed}: a "
                "mean would count it twice. Leave one of them out."
            )


def collect(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Averages the returns of training over seeds.

    Returns:
        For each task and algorithm: "seeds", "minutes" of their trainings, and for each of `AXES`
        the "positions" (POINTS,), which every seed has reached, and the returns' "mean", "lowest"
        and "highest" (POINTS,); all are empty where one seed ends before another's first return.

    Raises:
        UsageError: runs of a task and an algorithm differ in more than their seeds, or one has no
            return.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.config.env.task, run.config.algo), []).append(run)
    curves: dict[str, dict[str, Any]] = {}
    for (task, algo), members in sorted(groups.items()):
        require_alike(members)
        for run in members[1:]:
            _require_same_plan(run, members[0].config)
        curve: dict[str, Any] = {
            "seeds": [run.config.run.seed for run in members],
            "minutes": [round(run.metrics()[-1]["wall_time"] / 60, 2) for run in members],
        }
        for axis in AXES:
            curve[axis] = _average(members, axis)
        curves.setdefault(task, {})[algo] = curve
    return curves


def _average(runs: Sequence[Run], axis: str) -> dict[str, list[float]]:
    """Brings the curves of all seeds onto positions that every one covers, and averages them."""
    series = []
    for run in runs:
        rows = [row for row in run.metrics() if row["return"] is not None]
        if not rows:
            raise UsageError(f"No episode of run {run.path} has ended: train it longer.")
        scale = 1 / 60 if axis == "wall_time" else 1
        series.append(([scale * row[axis] for row in rows], [row["return"] for row in rows]))
    return average(series, digits=1)


def align(
    series: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> tuple[np.ndarray, np.ndarray]:
    """Brings curves, each given by its positions and values, onto positions that all cover.

    Returns:
        Positions (POINTS,) and values (curves, POINTS), or both empty where one curve ends before
        another begins.
    """
    first, last = max(s[0][0] for s in series), min(s[0][-1] for s in series)
    positions = np.linspace(first, last, POINTS if first <= last else 0)
    return positions, np.stack([np.interp(positions, *s) for s in series])


def average(
    series: Sequence[tuple[Sequence[float], Sequence[float]]], digits: int
) -> dict[str, list[float]]:
    """Averages curves, each given by its positions and values, where all of them are known.

    Args:
        series: one curve for each seed.
        digits: decimals that values are rounded to.

    Returns:
        "positions", "mean", "lowest" and "highest" (POINTS,), or all empty where one curve ends
        before another begins.
    """
    positions, values = align(series)
    return {
        "positions": positions.round(2).tolist(),
        "mean": values.mean(0).round(digits).tolist(),
        "lowest": values.min(0).round(digits).tolist(),
        "highest": values.max(0).round(digits).tolist(),
    }


def end_mean(values: Sequence[float]) -> float:
    """Returns the mean over the last tenth of a curve, of one value at least."""
    return float(np.mean(values[-max(1, len(values) // 10) :]))


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
    """Says in lines where each curve ends, and how long its trainings took."""
    lines = []
    for task, algorithms in curves.items():
        for algo, curve in algorithms.items():
            steps, minutes = curve["env_steps"], sum(curve["minutes"]) / len(curve["minutes"])
            found = "no position that all have reached"
            if steps["positions"]:
                found = (
                    f"return {steps['mean'][-1]:,.0f} after {steps['positions'][-1]:,.0f} steps, "
                    f"{minutes:.1f} min"
                )
            seeds = f"{len(curve['seeds'])} seed(s)"
            lines.append(f"{task:9} {labels.get(algo, algo):28} {seeds}: {found}")
    return lines
