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
    """What one control step does, before any restart."""

    state: State
    """After the step; where it was not finite, that before it."""
    reward: Tensor
    """(N,), 0 where the step was not finite."""
    observation: Tensor
    """The task's state observation (N, O), 0 where the step was not finite."""
    terminated: Tensor
    """bool (N,), where the task has failed or the step was not finite."""
    nonfinite: Tensor
    """bool (N,), where action, state or reward was not finite."""


class Environment(Protocol):
    """N environments that reset themselves; all that an algorithm may use.

    `dva.make` builds one. Any other can stand in by offering these attributes and methods.
    """

    @property
    def num_envs(self) -> int:
        """N."""
        ...

    @property
    def device(self) -> torch.device:
        """Where states, observations and actions live; the algorithm runs there too."""
        ...

    @property
    def observation_spec(self) -> ObservationSpec:
        """What observations hold. "state", a vector, is always there: the task's description of
        the physics state, for critics and for policies of states."""
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
    def image_gradient(self) -> bool:
        """Whether images are float32 and carry the graph to the actions."""
        ...

    @property
    def recordable(self) -> bool:
        """Whether `step` is work on the device alone, so that a CUDA graph can hold it: it waits
        for nothing, keeps no count in Python, and draws from `generator` only."""
        ...

    @property
    def generator(self) -> torch.Generator:
        """The only source of the environment's randomness."""
        ...

    @property
    def simulator(self) -> Simulator:
        """What advances the physics; it says whether it is differentiable."""
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
        """Computes what one control step does to any states, and leaves the environment alone."""
        ...

    def detach(self) -> None:
        """Cuts the graph at the present state."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Gives the tensors of `state_dict` themselves, no copies, without the generator."""
        ...

    def put_tensors(self, tensors: dict[str, Tensor], /) -> None:
        """Goes on from tensors as `tensors` gives them, no copies."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing bit for bit needs."""
        ...

    def load_state_dict(self, state: dict[str, Tensor], /) -> None:
        """Restores what `state_dict` returned."""
        ...

    def pop_seconds(self) -> dict[str, float]:
        """Returns the seconds spent in "simulation" and "rendering" since the last call."""
        ...
