"""What a viewer shows: the run or the task that a word stands for."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dva import tasks
from dva.compute.errors import UsageError, usage_errors
from dva.envs import EnvConfig, VectorEnv, make
from dva.policies import SavedPolicy
from dva.runs import Run, make_env
from dva.runs.checkpoint import load_checkpoint, read_pointer
from dva.runs.policy import policy_of
from dva.runs.run import CONFIG
from dva.tasks import Task

__all__ = ["CHECKPOINTS", "Loaded", "Source", "find_source"]

CHECKPOINTS = ("latest", "best")
"""The checkpoints that a run keeps."""


@dataclass(frozen=True)
class Loaded:
    """A policy, and which checkpoint it is of."""

    policy: SavedPolicy
    checkpoint: str
    """One of `CHECKPOINTS`."""
    path: Path
    """The file with its tensors."""
    info: dict[str, Any]
    """What the checkpoint says: "iteration", "env_steps", "return"."""


@dataclass(frozen=True)
class Source:
    """A run, or a task without one."""

    name: str
    run: Run | None
    task: str | Task
    """Of a source without a run."""
    observe: tuple[str, ...]
    """What is seen there."""
    image_size: int
    device: str | None
    """"auto", "cpu" or "cuda"; None: what the run asked for, or auto."""
    seed: int
    """Of the first starts."""

    def make_env(self, num_envs: int) -> VectorEnv:
        """Makes environments of a number of robots.

        Raises:
            UsageError: the task, the device or a value is not allowed.
        """
        if self.run is not None:
            return make_env(self.run, num_envs, self.device, self.seed, threads=1)
        with usage_errors():
            return make(
                self.task,
                num_envs=num_envs,
                device=self.device or "auto",
                seed=self.seed,
                observe=self.observe,
                image_size=self.image_size,
                threads=1,
            )

    def checkpoints(self) -> list[str]:
        """Lists the checkpoints that there are now; whether they are whole shows when one is
        loaded."""
        run = self.run
        if run is None:
            return []
        return [name for name in CHECKPOINTS if (run.checkpoints / f"{name}.json").is_file()]

    def newest(self, checkpoint: str) -> Path | None:
        """Returns the file that a checkpoint's name stands for now; None if there is none."""
        return None if self.run is None else read_pointer(self.run.checkpoints, checkpoint)

    def load(self, checkpoint: str) -> Loaded:
        """Loads the policy of a checkpoint.

        Raises:
            UsageError: there is no such checkpoint, or it cannot be read.
        """
        if self.run is None:
            raise UsageError(f"{self.name} is a task, which has no checkpoints. Give a run.")
        found = load_checkpoint(self.run.checkpoints, checkpoint)
        policy = policy_of(self.run, found, self.device)
        return Loaded(policy, checkpoint, found.path, found.info)


def find_source(
    what: str | Path | Run | Task,
    observe: Sequence[str] = EnvConfig.observe,
    image_size: int = EnvConfig.image_size,
    device: str | None = None,
    seed: int = 0,
    trust_code: bool = False,
) -> Source:
    """Finds out what is meant.

    Args:
        what: a run or its folder; a task, its name, or MODULE:NAME.
        observe: what is seen of a task; a run has its own.
        image_size: side of a task's images [pixels].
        device: "auto", "cpu" or "cuda"; None: what the run asked for, or auto.
        seed: of the first starts.
        trust_code: let modules be imported that a run's configuration names as MODULE:NAME.

    Raises:
        UsageError: there is neither such a run nor such a task.
    """
    rest = (tuple(observe), image_size, device, seed)
    if isinstance(what, Task):
        return Source(what.name, None, what, *rest)
    if isinstance(what, Run) or _is_folder(what):
        run = what if isinstance(what, Run) else Run.open(what, trust_code)
        return Source(run.name, run, run.config.env.task, *rest)
    name = str(what)
    try:
        tasks.get(name)
    except ValueError as error:
        raise UsageError(f"{error} Or give the folder of a run.") from error
    return Source(name.rpartition(":")[2], None, name, *rest)


def _is_folder(what: str | Path) -> bool:
    """Tells whether a word means a run's folder rather than a task."""
    path, text = Path(what), str(what)
    if isinstance(what, Path) or os.sep in text or (path / CONFIG).is_file():
        return True
    return path.is_dir() and text not in tasks.names()
