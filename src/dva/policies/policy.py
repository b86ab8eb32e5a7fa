"""The contract of what acts, and how it is saved."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from dva.spec import ActionSpec, Observation, ObservationSpec, StateTensors

__all__ = ["NO_MEMORY", "Policy", "RandomPolicy", "SavedPolicy", "ZeroPolicy"]

NO_MEMORY: StateTensors = {}
"""The state of every policy without memory."""


class Policy(Protocol):
    """Chooses actions from observations; deterministic, unless it says otherwise.

    A policy without memory returns `NO_MEMORY` from `initial_state` and hands on what it is given.
    """

    @property
    def observation_spec(self) -> ObservationSpec:
        """The entries that it reads."""
        ...

    @property
    def action_spec(self) -> ActionSpec:
        """What its actions mean."""
        ...

    def initial_state(self, n: int) -> StateTensors:
        """Returns the memory of n robots at the start of their episodes."""
        ...

    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        """Chooses actions (n, A) in [-1, 1], without graph; returns them and the new memory.

        Args:
            observation: at least the entries of `observation_spec`, (n, ...).
            state: what `initial_state`, `act` or `reset` returned.
        """
        ...

    def reset(self, state: StateTensors, done: Tensor) -> StateTensors:
        """Returns the memory with the rows where `done`, bool (n,), is True as at the start."""
        ...


class SavedPolicy(Policy, Protocol):
    """A policy that a run keeps: tensors, and what rebuilds it without a simulator."""

    def description(self) -> dict[str, Any]:
        """Returns JSON values: observation and action spec, sizes."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """Returns its tensors by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> object:
        """Takes tensors that `state_dict` returned."""
        ...

    @classmethod
    def rebuild(
        cls, description: Mapping[str, Any], device: torch.device, threads: int | None = None
    ) -> "SavedPolicy":
        """Makes a policy of a description; `load_state_dict` then gives it its tensors.

        Args:
            description: what `description` returned.
            device: where it acts.
            threads: CPU threads that it may use; None leaves parallelism to torch.

        Raises:
            ValueError, TypeError, KeyError: the description is damaged.
        """
        ...


class _Memoryless:
    """What policies without memory share."""

    def __init__(self, observation_spec: ObservationSpec, action_spec: ActionSpec) -> None:
        self.observation_spec, self.action_spec = observation_spec, action_spec

    def initial_state(self, n: int) -> StateTensors:
        """Returns no memory."""
        return NO_MEMORY

    def reset(self, state: StateTensors, done: Tensor) -> StateTensors:
        """Returns the memory as it is: none."""
        return state


class ZeroPolicy(_Memoryless):
    """Takes no action at all: robots move by gravity alone."""

    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        """Returns zeros (n, A)."""
        any_entry = next(iter(observation.values()))
        zeros = torch.zeros(len(any_entry), self.action_spec.size, device=any_entry.device)
        return zeros, state


class RandomPolicy(_Memoryless):
    """Draws every action uniformly from [-1, 1].

    Args:
        observation_spec, action_spec: of the environment.
        seed: of the draws.
    """

    def __init__(
        self, observation_spec: ObservationSpec, action_spec: ActionSpec, seed: int = 0
    ) -> None:
        super().__init__(observation_spec, action_spec)
        self._generator = torch.Generator().manual_seed(seed)

    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        """Returns draws (n, A)."""
        any_entry = next(iter(observation.values()))
        shape = (len(any_entry), self.action_spec.size)
        actions = torch.rand(shape, generator=self._generator) * 2 - 1
        return actions.to(any_entry.device), state
