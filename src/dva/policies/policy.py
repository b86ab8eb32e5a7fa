"""The contract of a policy, and how one is saved."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from dva.spec import ActionSpec, Observation, ObservationSpec, StateTensors

__all__ = ["NO_MEMORY", "Policy", "RandomPolicy", "SavedPolicy", "ZeroPolicy"]

NO_MEMORY: StateTensors = {}
"""The state of every policy without memory."""


class Policy(Protocol):
    """Chooses actions from observations, deterministically unless it says otherwise.

    A policy without memory returns `NO_MEMORY` from `initial_state` and passes on what it is given.
    """

    @property
    def observation_spec(self) -> ObservationSpec:
        """The entries that the policy reads."""
        ...

    @property
    def action_spec(self) -> ActionSpec:
        """What its actions mean."""
        ...

    def initial_state(self, n: int) -> StateTensors:
        """Returns the memory of n robots at the start of their episodes."""
        ...

    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        """Chooses actions (n, A) in [-1, 1], without graph, and returns them with the new memory.

        Args:
            observation: at least the entries of `observation_spec`, (n, ...).
            state: what `initial_state`, `act` or `reset` returned.
        """
        ...

    def reset(self, state: StateTensors, done: Tensor) -> StateTensors:
        """Returns the memory, reset in the rows where `done`, bool (n,), is True."""
        ...


class SavedPolicy(Policy, Protocol):
    """Can be kept by a run: has tensors, and a description that rebuilds it without a simulator."""

    def description(self) -> dict[str, Any]:
        """Returns what `rebuild` needs, as JSON values: observation and action spec, sizes."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """Returns its tensors by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> object:
        """Loads tensors that `state_dict` returned."""
        ...

    @classmethod
    def rebuild(
        cls, description: Mapping[str, Any], device: torch.device, threads: int | None = None
    ) -> "SavedPolicy":
        """Builds a policy from a description; `load_state_dict` then gives it its tensors.

        Args:
            description: what `description` returned.
            device: where the policy acts.
            threads: CPU threads that it may use; None leaves parallelism to torch.

        Raises:
            ValueError, TypeError, KeyError: the description is damaged.
        """
        ...


class _Memoryless:
    """Holds what policies without memory share."""

    def __init__(self, observation_spec: ObservationSpec, action_spec: ActionSpec) -> None:
        self.observation_spec, self.action_spec = observation_spec, action_spec

    def initial_state(self, n: int) -> StateTensors:
        """Returns no memory."""
        return NO_MEMORY

    def reset(self, state: StateTensors, done: Tensor) -> StateTensors:
        """Returns the memory as it is: none."""
        return state


class ZeroPolicy(_Memoryless):
    """Always chooses zero: robots move by gravity alone."""

    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        """Returns zeros (n, A)."""
        any_entry = next(iter(observation.values()))
        zeros = torch.zeros(len(any_entry), self.action_spec.size, device=any_entry.device)
        return zeros, state


class RandomPolicy(_Memoryless):
    """Draws every action uniformly from [-1, 1].

    Args:
        observation_spec: that of the environment.
        action_spec: that of the environment.
        seed: seed of the draws.
    """

    def __init__(
        self, observation_spec: ObservationSpec, action_spec: ActionSpec, seed: int = 0
    ) -> None:
        super().__init__(observation_spec, action_spec)
        self._generator = torch.Generator().manual_seed(seed)

    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        """Returns random actions (n, A)."""
        any_entry = next(iter(observation.values()))
        shape = (len(any_entry), self.action_spec.size)
        actions = torch.rand(shape, generator=self._generator) * 2 - 1
        return actions.to(any_entry.device), state
