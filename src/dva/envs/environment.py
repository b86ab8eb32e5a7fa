"""The contract between an environment and the algorithms that learn in it."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dva.sim import Simulator, State
from dva.spec import ActionSpec, Observation, ObservationSpec

__all__ = ["Environment", "Transition"]


@dataclass(frozen=True)
class Transition:
    """Holds what one control step does, before any restart."""

    state: State
    """The state after the step; where that is not finite, the one before it."""
    reward: Tensor
    """(N,); 0 where the step was not finite."""
    observation: Tensor
    """The task's state observation (N, O); 0 where the step was not finite."""
    terminated: Tensor
    """bool (N,): the task has failed, or the step was not finite."""
    nonfinite: Tensor
    """bool (N,): action, state or reward was not finite."""


class Environment(Protocol):
    """Runs N environments that reset themselves; an algorithm may use nothing else.

    `dva.make` builds one. Anything else with these attributes and methods can take its place.
    """

    @property
    def num_envs(self) -> int:
        """N."""
        ...

    @property
    def blind_envs(self) -> int:
        """Number of environments, the first ones of the N, in which no sensor is read: there is
        only "state". All else in observations has N - blind_envs rows."""
        ...

    @property
    def episode_length(self) -> int:
        """Steps after which an episode is out of time."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of states, observations and actions; the algorithm runs there too."""
        ...

    @property
    def observation_spec(self) -> ObservationSpec:
        """What observations hold. The vector "state" is always among it: the task's description of
        the physics state, for critics and for policies that see states."""
        ...

    @property
    def policy_spec(self) -> ObservationSpec:
        """The entries that a policy may see; the others are for critics only."""
        ...

    @property
    def action_spec(self) -> ActionSpec:
        """What actions hold."""
        ...

    @property
    def images_with_gradient(self) -> tuple[str, ...]:
        """The images, of all that observations hold, that carry the graph to the actions; these are
        float32."""
        ...

    @property
    def image_gradient(self) -> bool:
        """Whether the policy may see images, and all of these carry the graph to the actions."""
        ...

    @property
    def recordable(self) -> bool:
        """Whether `step` works on the device alone, so that a CUDA graph can hold it: it waits for
        nothing, counts nothing in Python, and draws from `generator` only."""
        ...

    @property
    def generator(self) -> torch.Generator:
        """The only source of the environment's randomness."""
        ...

    @property
    def simulator(self) -> Simulator:
        """The simulator of the physics; it says whether it is differentiable."""
        ...

    @property
    def state(self) -> State:
        """The present physics state, with its graph."""
        ...

    @property
    def observation(self) -> Observation:
        """The present observation, as the last `reset` or `step` returned it."""
        ...

    def newest(self, name: str) -> Tensor:
        """Returns the newest reading (N, C, ...) of an entry: the end of its stack."""
        ...

    def reset(self) -> Observation:
        """Starts all episodes; returns the first observation."""
        ...

    def step(self, action: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps with actions (N, A) in [-1, 1].

        Returns observation, reward (N,), terminated (N,), truncated (N,) and info, a dictionary
        with "final_observation" (with "state" (N, O) before any restart), "nonfinite" (N,),
        "episode_return" (N,) and "episode_length" (N,). With a differentiable simulator "state" and
        reward carry the graph; a restart cuts it.
        """
        ...

    def transition(self, state: State, action: Tensor) -> Transition:
        """Computes one control step of any states, and leaves the environment as it is."""
        ...

    def without_sensors(self, seed: int, num_envs: int | None = None) -> "Environment":
        """Makes environments of the same robot and task, whose policies see the state alone: they
        read no sensor, and their starts come from a seed of their own.

        Args:
            seed: of the starts.
            num_envs: number of environments; None: as many as these are.
        """
        ...

    def detach(self) -> None:
        """Cuts the graph at the present state."""
        ...

    def begin_at(self, robots: Tensor, others: Tensor) -> None:
        """Begins new episodes of some of the first `blind_envs` robots, int64 (n,), in the states
        in which `others` (n,) are, without their graph."""
        ...

    def stagger(self) -> None:
        """Lets the time of the present episodes run out one after another, evenly over the length
        of an episode; later ones have all of it."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors of `state_dict` themselves, not copies, without the generator."""
        ...

    def put_tensors(self, tensors: dict[str, Tensor], /) -> None:
        """Continues from tensors such as `tensors` returns, without copying them."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Returns everything needed to continue bit for bit; of several processes, all of which
        call it, that of all their environments."""
        ...

    def load_state_dict(self, state: dict[str, Tensor], /) -> None:
        """Restores what `state_dict` returned."""
        ...

    def pop_seconds(self) -> dict[str, float]:
        """Returns the seconds spent in "simulation" and "rendering" since the last call."""
        ...
