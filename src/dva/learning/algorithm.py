"""The contract between a learning algorithm and the runs that use it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from dva.compute.distributed import ALONE, Group
from dva.envs import Environment
from dva.policies import SavedPolicy

__all__ = ["Algorithm", "AlgorithmEntry", "LargeState", "Metrics", "Preset", "TrainingContext"]

PRESETS = {
    "paper": "the published hyperparameters",
    "cpu": "smaller images and fewer environments, for a few CPU cores",
    "fast": "many environments and short horizons, for a GPU",
}
"""What the usual presets are for."""

Metrics = dict[str, float | None]
"""Numbers by name; None where there is none yet, or it is not finite."""


class LargeState(Protocol):
    """State too large to be written with every checkpoint, such as a replay buffer.

    It writes itself, piece by piece, into a folder of its own; a checkpoint keeps only the marker
    that says up to where. Of several processes all call `save` at the same time and process 0 alone
    writes, for all of them; the folder says nothing to the others.
    """

    def save(self, folder: Path, live: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Writes what is new since the last call; returns JSON values that mark this moment.

        Args:
            folder: where to; it exists, and nothing else is in it.
            live: earlier markers that checkpoints still name. What they point to must stay
                readable, whatever happens next: the process may be killed before a checkpoint
                holds the new marker. All else may be deleted.
        """
        ...

    def load(self, folder: Path, marker: Mapping[str, Any]) -> None:
        """Restores the state of the moment that the marker stands for.

        The folder may hold pieces that were written after it, by a process that was killed.

        Raises:
            OSError, LookupError, TypeError, ValueError, RuntimeError: it cannot be read.
        """
        ...


class Algorithm(Protocol):
    """What a run needs of a learning algorithm, and nothing more.

    `examples/random_search.py` is one, in one file.
    """

    @property
    def env_steps(self) -> int:
        """Finished environment steps, summed over environments. Budgets count these."""
        ...

    @property
    def policy(self) -> SavedPolicy:
        """The policy as it is now, for evaluation and films; training may go on changing it."""
        ...

    @property
    def large_state(self) -> LargeState | None:
        """State with a persistence of its own, if there is any."""
        ...

    def iterate(self) -> Metrics:
        """Trains a little, for milliseconds to seconds, and makes at least one environment step.

        Returns:
            Metrics by name, always the same names. "return" and "episode_length" are means over
            the last finished episodes. "skipped_updates" counts updates of this iteration that
            were left out because of non-finite numbers and "updates" all that were tried: a run
            warns when nothing is learned. Names that begin with "seconds_" are times.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing bit for bit needs, the environment included, in tensors of
        fixed shapes with dotted names."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> None:
        """Restores what `state_dict` returned, for the same configuration."""
        ...


@dataclass
class TrainingContext:
    """What an algorithm is told beside its own configuration. Only the run changes it."""

    env_steps: int
    """Planned environment steps: schedules reach their end there. Training may stop earlier. A run
    that is limited by time lowers them once, between two iterations: read them when needed."""
    seed: int = 0
    """Seed of the run; `stream_seed` derives one for each purpose from it."""
    threads: int | None = None
    """CPU threads for work side by side, with torch's own set to 1; None leaves parallelism to
    torch."""
    cuda_graphs: bool = True
    """Whether blocks may be recorded as CUDA graphs."""
    expert: SavedPolicy | None = None
    """The policy of the run that the configuration names as its expert, if it names one."""
    group: Group = ALONE
    """The processes that train together, each in its share of the environments."""


@dataclass(frozen=True)
class Preset:
    """A named set of values for one task."""

    algorithm: Any
    """The algorithm's configuration, of its own to be changed."""
    env: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `EnvConfig` that differ from its defaults."""
    env_steps: int = 1_000_000
    """Planned environment steps."""


@dataclass(frozen=True)
class AlgorithmEntry:
    """One algorithm as the command line and runs see it."""

    name: str
    """Name on the command line and in run folders."""
    description: str
    """One line for lists."""
    config: type
    """Dataclass of its hyperparameters, which checks its own values."""
    make: Callable[[Environment, Any, TrainingContext], Algorithm]
    """Builds it for an environment with a configuration."""
    policy: type[SavedPolicy]
    """Class of its policy, by which a saved one is rebuilt."""
    preset: Callable[[str, str, tuple[str, ...] | None], Preset] | None = None
    """Gives the values for a task, the name of a preset, and what the policy shall see (None: what
    is usual for the algorithm). None: the configuration's own defaults."""
    presets: tuple[str, ...] = tuple(PRESETS)
    """Names of its presets; the first is that for GPUs, the second that for CPUs."""
    look_up: Callable[[Any], object] | None = None
    """Finds what the configuration names and building will need, so that a wrong name is a
    ValueError before anything is built; None where it names nothing."""
    expert: Callable[[Any], Path | None] | None = None
    """Gives the folder of the run whose policy the configuration names as an expert: the algorithm
    finds it in its `TrainingContext`. None where configurations name none."""
    image_gradient: bool = False
    """Whether it differentiates through images, in one graph."""
    final_observations: bool = False
    """Whether it needs all readings of the last state of an episode, in
    info["final_observation"], as learners do that bootstrap from images: see `dva.make`."""
    blind_envs: Callable[[Any], int] | None = None
    """Tells from the configuration how many environments it wants beside the others in which no
    sensor is read (`Environment.blind_envs`). None: none."""
    threads_inside: bool = False
    """Whether CPU threads work inside torch's operations, as large batches want it, and not side
    by side on parts of the environments; algorithms of one graph always do so."""
    distributed: bool = False
    """Whether several processes can train together: it puts together through
    `TrainingContext.group` what they compute, and `state_dict` is that of one process with all
    environments. A `Learner` does so if it hands its group to `ClippedAdam` and to what gathers
    statistics."""
