"""The expert that an algorithm imitates: the policy of another run, of which a run keeps a copy."""

import shutil
from dataclasses import dataclass

from dva import learning
from dva.compute.errors import UsageError
from dva.policies import SavedPolicy
from dva.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dva.runs.config import TrainConfig
from dva.runs.files import write_atomically
from dva.runs.policy import POLICY, policy_of
from dva.runs.run import CONFIG, Run

__all__ = ["Expert", "expert_run", "keep_expert", "load_expert"]

EXPERT = "expert"
"""Folder of the copy in the run that learns: a run itself, of a configuration and a policy."""


@dataclass(frozen=True)
class Expert:
    """A policy to be imitated, and where it is from."""

    policy: SavedPolicy
    run: Run
    checkpoint: Checkpoint


def expert_run(
    config: TrainConfig, student: Run | None = None, trust_code: bool = False
) -> Run | None:
    """Opens the run whose policy a configuration names as an expert, if it names one.

    Args:
        config: of the run that learns.
        student: that run, if there is one already. Its own copy comes first: the expert's run may
            have trained on meanwhile, or be gone.
        trust_code: let modules be imported that the expert's configuration names, here and later.

    Raises:
        UsageError: there is no such run.
    """
    named = learning.get(config.algo).expert
    path = None if named is None else named(config.algorithm)
    if path is None:
        return None
    if student is not None and (student.path / EXPERT / CONFIG).is_file():
        path = student.path / EXPERT
    try:
        return Run.open(path, trust_code)
    except UsageError as error:
        raise UsageError(f"The expert cannot be loaded. {error}") from error


def load_expert(
    config: TrainConfig, threads: int | None, student: Run | None = None
) -> Expert | None:
    """Loads the latest policy of that run.

    Args:
        config, student: as for `expert_run`.
        threads: CPU threads that the policy may use.

    Raises:
        UsageError: there is no such run, or its checkpoint cannot be read.
    """
    run = expert_run(config, student)
    if run is None:
        return None
    found = load_checkpoint(run.checkpoints)
    return Expert(policy_of(run, found, config.run.device, threads), run, found)


def keep_expert(student: Run, expert: Expert) -> None:
    """Copies an expert into the run that learns from it, unless it is there already.

    The configuration is written last: with it the copy is whole.

    Raises:
        FileError: it cannot be written.
    """
    folder = student.path / EXPERT
    target = folder / CONFIG
    if target.is_file():
        return
    tensors = {
        name: value
        for name, value in expert.checkpoint.tensors.items()
        if name.startswith(f"{POLICY}.")
    }
    names = ("iteration", "env_steps", "wall_time", "return", "best_return", "task", "algo", POLICY)
    info = {name: value for name, value in expert.checkpoint.info.items() if name in names}
    save_checkpoint(folder / "checkpoints", tensors, info)
    write_atomically(target, lambda part: shutil.copyfile(expert.run.path / CONFIG, part))
