"""The parts of this D.Va switched off one at a time, and all at once, against all of them.

Compared is the reward of a step, averaged over a rollout, which shows learning at once: the return
of finished episodes lags behind it by an episode. At the end the policies are evaluated.

Source: D.Va, algorithm 1, is the method without these parts, which are our own.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter

from dva.compute.arguments import require
from dva.runs import Run, UsageError, evaluate_run
from dva.studies.curves import average, end_mean, train_run
from dva.studies.parts import AS_PUBLISHED, SWITCHED_OFF, PartsConfig
from dva.studies.report import Report, add_row, new_figure, silent

__all__ = ["Config", "draw", "measure", "summary"]

VARIANTS: dict[str, dict[str, Any]] = {
    "all": {},
    **{f"no-{part.replace('_', '-')}": changes for part, changes in SWITCHED_OFF.items()},
    "open-loop": {"guide_closed_loop": False},
    "no-average": {"guide_average": 0.0},
    "guide-envs-0": {"guide_envs": 0, "guide_restarts": 0, "quiet_share": 0.0},
    "no-restarts": {"guide_restarts": 0},
    "no-quiet": {"quiet_share": 0.0},
    "staggered": {"stagger": True},
    "none": AS_PUBLISHED,
}
"""What is changed of the preset's values. "none" is D.Va as published."""
ENV_STEPS = 204_800
"""Planned environment steps of a small study: 100 iterations of ANYmal."""
SMOOTHED = 20
"""One in so many iterations is the window that rewards are averaged over for the curves."""


@dataclasses.dataclass
class Config(PartsConfig):
    """Switch off the parts of D.Va one at a time, and compare the rewards."""

    tasks: tuple[str, ...] = ("anymal",)
    """Tasks to train."""
    env_steps: int | None = None
    """Planned environment steps; None: 204,800, with --full the preset's."""
    evaluation_episodes: int = 16
    """Episodes of the evaluation at the end of a training; 0: no evaluation."""
    run_dir: Path | None = None
    """Folder of the trained runs; None: runs/ablation. Those that are finished stay as they are,
    the others are continued. All must have the configuration that the study asks for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = self.env_steps
        require("env_steps", steps, steps is None or steps >= 1, "1 or more, or None")
        require("tasks", self.tasks, len(self.tasks) > 0, 'one name or more, such as "anymal"')


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Trains every variant on every task with every seed; returns curves, and a row for each."""
    curves: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for task in config.tasks:
        runs = _train(config, task, report)
        curves[task] = {variant: _curve(members) for variant, members in runs.items()}
        for variant, members in runs.items():
            ends = [end_mean(_rewards(run)[1]) for run in members]
            returns = [_evaluation(run) for run in members] if config.evaluation_episodes else []
            row = {"task": task, "variant": variant, "seeds": len(members)}
            add_row(rows, row | _spread("reward", ends) | _spread("evaluation", returns), report)
    return {"curves": curves, "rows": rows}


def _train(config: Config, task: str, report: Report) -> dict[str, list[Run]]:
    """Trains every variant with a seed before the next seed begins."""
    folder = config.run_dir or Path("runs/ablation")
    env_steps = config.env_steps or (None if config.full else ENV_STEPS)
    planned = {} if env_steps is None else {"env_steps": env_steps}
    runs: dict[str, list[Run]] = {variant: [] for variant in VARIANTS}
    for seed in config.seeds_to_train:
        for variant, changes in VARIANTS.items():
            described = config.configure(
                task, seed=seed, run_dir=folder / f"{task}-{variant}-{seed}", video_interval=0,
                evaluation_episodes=config.evaluation_episodes, **planned, **changes,
            )  # fmt: skip
            runs[variant].append(train_run(report, described))
    return runs


def _rewards(run: Run) -> tuple[list[float], list[float]]:
    """Reads environment steps and reward of every iteration whose reward is finite."""
    rows = [row for row in run.metrics() if row["reward"] is not None]
    if not rows:
        raise UsageError(
            f"Run {run.path} has no finite reward, and this study compares rewards. Give another "
            "--run-dir, or other --tasks."
        )
    return [row["env_steps"] for row in rows], [row["reward"] for row in rows]


def _curve(runs: Sequence[Run]) -> dict[str, Any]:
    """Averages the smoothed rewards of some seeds."""
    series = [_rewards(run) for run in runs]
    window = max(1, min(len(rewards) for _, rewards in series) // SMOOTHED)
    return {
        "seeds": [run.config.run.seed for run in runs],
        "window": window,
        **average([(steps[window - 1 :], _smooth(found, window)) for steps, found in series], 4),
    }


def _smooth(values: Sequence[float], window: int) -> list[float]:
    """Averages each value from the first full window on with those before it."""
    return np.convolve(values, np.full(window, 1.0 / window), mode="valid").tolist()


def _evaluation(run: Run) -> float:
    """Reads the mean return of a run's evaluation; evaluates it where a signal forestalled that."""
    found = run.evaluation()
    if found is not None:
        return found["mean"]
    return evaluate_run(run, run.config.run.evaluation_episodes).mean


def _spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Returns mean, lowest and highest of one value for each seed, or None for each."""
    kinds = {"": statistics.fmean, "_lowest": min, "_highest": max}
    return {name + kind: find(values) if values else None for kind, find in kinds.items()}


def draw(result: dict[str, Any]) -> Any:
    """Draws the reward over the steps, one panel per task."""
    figure, axes = new_figure(len(result["curves"]))
    for panel, (task, curves) in zip(axes[0], result["curves"].items(), strict=True):
        for variant, curve in curves.items():
            panel.plot(curve["positions"], curve["mean"], label=variant)
            panel.fill_between(curve["positions"], curve["lowest"], curve["highest"], alpha=0.15)
        windows = sorted({curve["window"] for curve in curves.values()})
        panel.set_title(task)
        panel.set_xlabel("environment steps")
        panel.set_ylabel(f"reward of a step, mean of {windows[-1]} iteration(s)")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.legend(fontsize=7)
    return figure


def summary(result: dict[str, Any]) -> list[str]:
    """Returns a table: reward and evaluation of every variant, with lowest and highest seed."""
    width = max(map(len, VARIANTS))
    lines = [
        f"{'task':9} {'variant':{width}} seeds  {'reward of the last tenth':^28}  "
        f"{'return of the evaluation':^28}"
    ]
    for row in result["rows"]:
        lines.append(
            f"{row['task']:9} {row['variant']:{width}} {row['seeds']:5}  "
            f"{_cell(row, 'reward', 3)}  {_cell(row, 'evaluation', 1)}"
        )
    return lines


def _cell(row: dict[str, Any], name: str, digits: int) -> str:
    if row[name] is None:
        return f"{'-':^28}"
    low, high = (f"{row[name + kind]:,.{digits}f}" for kind in ("_lowest", "_highest"))
    return f"{f'{row[name]:,.{digits}f} ({low} to {high})':^28}"
