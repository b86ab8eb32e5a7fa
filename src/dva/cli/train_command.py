"""`dva train`: trains a policy, or resumes a run."""

import dataclasses
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import tyro

from dva import learning, runs, tasks
from dva.cli.flags import arities, find_task, find_value, find_values, parse, require_values
from dva.cli.output import output_may_go, say_error
from dva.cli.progress import Progress
from dva.compute.distributed import Group, ProcessLost, join
from dva.compute.errors import usage_errors
from dva.envs import EnvConfig
from dva.envs.make import choose_sensors
from dva.runs.build import require_group
from dva.runs.checkpoint import read_pointer
from dva.runs.config import config_to_dict, default_config
from dva.runs.expert import expert_run
from dva.runs.resume import continued_config, require_continuable
from dva.runs.training import Interrupted
from dva.runs.trust import names_code
from dva.sim import find_simulator

__all__ = ["new_config", "require_parts", "run"]

AlgorithmConfig = TypeVar("AlgorithmConfig")
DESCRIPTION = """Train a policy: from pixels (shac: from states), unless --observe says otherwise.

Everything is written to a run folder. Ctrl-C saves a checkpoint and says how to resume. Defaults
below are those of {task} with algorithm {algo} and preset {preset}; others have others."""

OTHERS = ("--algo", "--preset", "--resume", "--track")
TRUST = {"--trust-code": 0, "--no-trust-code": 0}


@dataclasses.dataclass
class TrainFlags(runs.TrainConfig[AlgorithmConfig], Generic[AlgorithmConfig]):
    """Flags of `dva train`."""

    resume: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Resume the run in this folder; only --env-steps, --minutes, --stop-at,
    --checkpoint-interval, --video-interval and --track may be given with it."""
    track: Literal["wandb", "mlflow"] | None = None
    """Tell a tracker of every iteration: wandb (Weights & Biases) or mlflow, each an extra of that
    name. It may differ from session to session."""
    trust_code: bool = False
    """Import code that the configuration of a resumed run, or of an expert's, names as MODULE:NAME.
    What this command line names is imported anyway."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    group = join()
    try:
        with group.first():  # process 0 says what is wrong, once
            config, resumed = _read(arguments)
            require_group(config, group)
        if group.rank > 0:
            return _follow(config, resumed, group)
        return _lead(config, resumed, group, find_value(arguments, "--track"))
    except ProcessLost as error:
        if group.rank == 0:
            print(f"error: {error}", file=sys.stderr)
        return 1


def _read(arguments: Sequence[str]) -> tuple[runs.TrainConfig, runs.Run | None]:
    """Reads what to train, and the run that it continues."""
    require_values(arguments, "train")
    resume = find_value(arguments, "--resume")
    trust_code = trusts_code(arguments)
    resumed = None if resume is None else runs.Run.open(resume, trust_code)
    config = _continued(arguments, resumed) if resumed else new_config(arguments)
    config.validate()
    require_parts(config, resumed, trust_code)
    return config, resumed


def _lead(
    config: runs.TrainConfig, resumed: runs.Run | None, group: Group, track: str | None
) -> int:
    """Trains, and reports; returns the exit status."""
    try:
        with Progress(config, sys.stdout) as progress:
            outcome = runs.train(config, progress.update, resumed, group, track)
    except KeyboardInterrupt as error:
        place = error.run.path if isinstance(error, Interrupted) else _place(config, resumed)
        say_error(f"interrupted{_kept(place, config)}")
        return 128 + signal.SIGINT
    except ProcessLost as error:
        raise ProcessLost(f"{error}{_kept(_place(config, resumed), config)}") from error
    with output_may_go():
        _describe(outcome)
    return _status(outcome)


def _follow(config: runs.TrainConfig, resumed: runs.Run | None, group: Group) -> int:
    """Trains with process 0, silently; returns the exit status."""
    try:
        number = runs.follow(config, group, resumed)
    except KeyboardInterrupt:
        number = signal.SIGINT
    return 0 if number is None else 128 + number


def new_config(arguments: Sequence[str]) -> runs.TrainConfig:
    """Reads the flags of a new run, first those that choose the preset with the defaults."""
    algo = find_value(arguments, "--algo") or "dva"
    with usage_errors():
        parts = (EnvConfig, runs.RunConfig, learning.get(algo).config)
    taken = {**arities(*parts), **dict.fromkeys(OTHERS, 1), **TRUST}
    place = find_task(arguments, taken, tasks.names())
    if place is not None:
        task = arguments[place]
        # First, so that no flag that takes any number of values takes it for one of them.
        arguments = [task, *arguments[:place], *arguments[place + 1 :]]
    elif {"-h", "--help"} & set(arguments):
        task = "cartpole"
    else:
        raise runs.UsageError(
            f"Give a task, before the flags: dva train TASK. Tasks: {', '.join(tasks.names())}."
        )
    # The values of a preset depend on what the policy sees, as well as on task and algorithm.
    observe = find_values(arguments, "--observe")
    base = default_config(
        task,
        algo,
        find_value(arguments, "--preset"),
        device=find_value(arguments, "--device") or "auto",
        **({"observe": observe} if observe else {}),
    )
    # Once a task is given, the help leaves out the argument for it.
    command = "train" if place is None else f"train {task}"
    return _strip(_parse(arguments, base, command))


def _continued(arguments: Sequence[str], resumed: runs.Run) -> runs.TrainConfig:
    """Reads the flags that may change when a run resumes; all others must equal the run's."""
    config = _strip(_parse(arguments, continued_config(resumed.config)))
    require_continuable(resumed.config, config)
    return config


def trusts_code(arguments: Sequence[str]) -> bool:
    """Tells whether --trust-code is among arguments that are not parsed yet."""
    given = [argument.replace("_", "-") for argument in arguments]
    flags = [flag for flag in given if flag in ("--trust-code", "--no-trust-code")]
    return flags[-1:] == ["--trust-code"]


def require_parts(
    config: runs.TrainConfig, resumed: runs.Run | None = None, trust_code: bool = False
) -> None:
    """Looks up the names of what is built later, so that a wrong one is said before the header."""
    with usage_errors():
        find_simulator(config.env.simulator)
        choose_sensors(tasks.get(config.env.task), config.env.observe, ())
        look_up = learning.get(config.algo).look_up
        if look_up is not None:
            look_up(config.algorithm)
    expert_run(config, resumed, trust_code)


def _parse(arguments: Sequence[str], base: runs.TrainConfig, command: str = "train") -> TrainFlags:
    values = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    kind = TrainFlags[type(base.algorithm)]  # type: ignore[misc]
    description = DESCRIPTION.format(task=base.env.task, algo=base.algo, preset=base.preset)
    return parse(kind, arguments, command, default=kind(**values), description=description)


def _strip(flags: TrainFlags) -> runs.TrainConfig:
    """Drops the flags that are not part of a run's configuration."""
    names = [field.name for field in dataclasses.fields(runs.TrainConfig)]
    return runs.TrainConfig(**{name: getattr(flags, name) for name in names})


def _place(config: runs.TrainConfig, resumed: runs.Run | None) -> Path | None:
    """Returns the run's folder, as far as it is known before training."""
    return config.run.run_dir if resumed is None else resumed.path


def _kept(path: Path | None, config: runs.TrainConfig) -> str:
    """Says what an end without a checkpoint leaves in a run's folder, where that is known."""
    try:
        if path is None or read_pointer(path / "checkpoints", "latest") is None:
            return ""
    except runs.UsageError:  # damaged: resuming says how
        return ""
    return (
        "; the checkpoint before is kept. To continue from it: dva train --resume "
        f"{_as_argument(path, config)}"
    )


def _as_argument(path: Path, config: runs.TrainConfig) -> str:
    """Writes a run's folder as commands take it, with the flag that its own code needs."""
    parts = {name: part for name, part in config_to_dict(config).items() if name != "run"}
    return shlex.quote(str(path)) + (" --trust-code" if names_code(parts) else "")


def _status(outcome: runs.Outcome) -> int:
    """Returns the exit status of a training."""
    if outcome.reason == "interrupted":
        return 128 + (outcome.signal or signal.SIGINT)
    return 1 if outcome.learned_nothing else 0


def _describe(outcome: runs.Outcome) -> None:
    """Reports how training ended, where the results are, and what to do next."""
    run_, evaluation = outcome.run, outcome.evaluation
    path = _as_argument(run_.path, run_.config)
    if outcome.warning:
        print(f"\nWarning: {outcome.warning}")
    if outcome.reason == "interrupted":
        print(f"\nStopped; a checkpoint is saved. To continue:\n  dva train --resume {path}")
        return
    if evaluation is not None:
        print(
            f"\nReturn of the policy: {evaluation['mean']:.1f} ± {evaluation['std']:.1f} over "
            f"{evaluation['episodes']} episodes"
        )
    print(f"\nrun      {run_.path}")
    if run_.curve.is_file():
        print(f"curve    {run_.curve}")
    video = shlex.quote(str(run_.videos / "evaluation.mp4"))
    print(f"\nNext:\n  dva eval {path} --video {video}")
    best = read_pointer(run_.checkpoints, "best")
    if best is not None and best != read_pointer(run_.checkpoints, "latest"):
        print(f"  dva eval {path} --checkpoint best")
    print(f"  tensorboard --logdir {shlex.quote(str(run_.path.parent))}")
    if outcome.reason != "finished":
        print(f"  dva train --resume {path}")
    if outcome.learned_nothing:
        print("\nNo update was made: the policy is as it was at the start.", file=sys.stderr)
