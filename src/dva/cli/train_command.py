"""`dva train`: trains a policy, or continues a run."""

import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Generic

import tyro

from dva import runs
from dva.cli.flags import find_task, find_value, parse
from dva.cli.progress import Progress
from dva.runs.checkpoint import read_pointer
from dva.runs.config import LearnerConfig, default_config
from dva.runs.resume import continued_config, require_continuable

__all__ = ["run"]

DESCRIPTION = """Train a policy, from pixels unless --observe state.

Everything is written to a run folder. Ctrl-C saves a checkpoint and says how to resume. Defaults
below are those of {task} with algorithm {algo} and preset {preset}; others have others."""


@dataclasses.dataclass
class TrainFlags(runs.TrainConfig[LearnerConfig], Generic[LearnerConfig]):
    """Flags of `dva train`."""

    env_steps: int | None = None
    """Plan by environment steps, instead of --iterations: rounded up to whole iterations."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Continue the run in this folder; only --iterations, --env-steps, --minutes, --stop-at,
    --checkpoint-interval and --video-interval may be given with it."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    resume = find_value(arguments, "--resume")
    resumed = runs.Run.open(resume) if resume else None
    config = _continued(arguments, resumed) if resumed else _new(arguments)
    config.validate()
    with Progress(config, sys.stdout) as progress:
        outcome = runs.train(config, progress.update, resumed)
    return _conclude(outcome)


def _new(arguments: Sequence[str]) -> runs.TrainConfig:
    """Reads the flags of a new run; a first look finds the preset, whose values become defaults."""
    from dva import tasks

    task = find_task(arguments, tasks.names())
    if task is None:
        if not {"-h", "--help"} & set(arguments):
            raise runs.UsageError(
                f"Give a task: dva train TASK. Tasks: {', '.join(tasks.names())}."
            )
        task = "cartpole"
    # What the policy sees decides on the preset's values, as task and algorithm do.
    observe = find_value(arguments, "--observe")
    base = default_config(
        task,
        find_value(arguments, "--algo") or "dva",
        find_value(arguments, "--preset"),
        device=find_value(arguments, "--device") or "auto",
        **({"observe": observe} if observe else {}),
    )
    # With a task, help leaves out the argument that it fills.
    command = f"train {task}" if task in arguments else "train"
    return _strip(_parse(arguments, base, command), arguments)


def _continued(arguments: Sequence[str], resumed: runs.Run) -> runs.TrainConfig:
    """Reads the flags that may change when a run continues; all others must agree with it."""
    config = _strip(_parse(arguments, continued_config(resumed.config)), arguments)
    require_continuable(resumed.config, config)
    return config


def _parse(arguments: Sequence[str], base: runs.TrainConfig, command: str = "train") -> TrainFlags:
    values = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    kind = TrainFlags[type(base.learner)]  # type: ignore[misc]
    description = DESCRIPTION.format(task=base.task, algo=base.algo, preset=base.preset)
    return parse(kind, arguments, command, default=kind(**values), description=description)


def _strip(flags: TrainFlags, arguments: Sequence[str]) -> runs.TrainConfig:
    """Applies --env-steps and drops the flags that are not part of a run's configuration."""
    names = [field.name for field in dataclasses.fields(runs.TrainConfig)]
    config = runs.TrainConfig(**{name: getattr(flags, name) for name in names})
    if flags.env_steps is not None:
        if find_value(arguments, "--iterations") is not None:
            raise runs.UsageError("Give either --iterations or --env-steps, not both.")
        if flags.env_steps < 1:
            raise runs.UsageError(f"env-steps is {flags.env_steps}; it must be greater than 0.")
        config.set_env_steps(flags.env_steps)
    return config


def _conclude(outcome: runs.Outcome) -> int:
    """Says how training ended, what lies where, and what to do next."""
    run_, evaluation = outcome.run, outcome.evaluation
    if outcome.reason == "interrupted":
        print(f"\nStopped; a checkpoint is saved. To continue:\n  dva train --resume {run_.path}")
        return 128 + (outcome.signal or signal.SIGINT)
    if evaluation is not None:
        print(
            f"\nReturn of the policy: {evaluation['mean']:.1f} ± {evaluation['std']:.1f} over "
            f"{evaluation['episodes']} episodes"
        )
    print(f"\nrun      {run_.path}")
    if run_.curve.is_file():
        print(f"curve    {run_.curve}")
    print(f"\nNext:\n  dva eval {run_.path} --video {run_.videos / 'evaluation.mp4'}")
    best = read_pointer(run_.checkpoints, "best")
    if best is not None and best != read_pointer(run_.checkpoints, "latest"):
        print(f"  dva eval {run_.path} --checkpoint best")
    print(f"  tensorboard --logdir {run_.path.parent}")
    if outcome.reason != "finished":
        print(f"  dva train --resume {run_.path}")
    return 0
