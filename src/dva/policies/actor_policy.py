"""A policy made of an actor network and the normalisers of its inputs."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dva.compute.precision import Precision, resolve_precision
from dva.compute.threads import run_side_by_side
from dva.policies.actor import Actor, Weights
from dva.policies.normalizer import RunningNormalizer
from dva.policies.policy import NO_MEMORY
from dva.spec import ActionSpec, Observation, ObservationSpec, StateTensors

__all__ = ["ActorPolicy", "Normalizers", "normalize"]

Normalizers = Mapping[str, RunningNormalizer]
"""Normalisers of vectors by name."""

_PART = 8
"""Number of images that pass the actor together when threads share a batch."""


class ActorPolicy(nn.Module):
    """Acts with the mean of an actor, squashed by tanh, and has no memory. See `Policy`.

    Args:
        observation_spec: the entries that the policy reads.
        action_spec: what its actions mean.
        trunk_size: as for `Actor`.
        hidden: as for `Actor`.
        log_std_init: as for `Actor`.
        center_features: as for `Actor`.
        precision: arithmetic of the actor's large layers.
        device: where the policy acts. Parameters are drawn on the CPU, so that a seed gives the
            same policy on every device.
        threads: number of parts of a batch of images that pass the actor at the same time; results
            do not depend on it. For CPUs, with torch's own threads set to 1. None leaves
            parallelism to torch.
    """

    def __init__(
        self,
        observation_spec: ObservationSpec,
        action_spec: ActionSpec,
        trunk_size: int,
        hidden: tuple[int, ...],
        log_std_init: float = -1.0,
        precision: Precision = "auto",
        device: torch.device = torch.device("cpu"),  # noqa: B008
        threads: int | None = None,
        center_features: bool = False,
    ) -> None:
        super().__init__()
        self.observation_spec, self.action_spec = observation_spec, action_spec
        self.device, self.threads = device, threads
        self._sizes = {
            "trunk_size": trunk_size,
            "hidden": list(hidden),
            "log_std_init": log_std_init,
            "precision": precision,
            "center_features": center_features,
        }
        self.actor = Actor(
            observation_spec,
            action_spec.size,
            trunk_size,
            hidden,
            log_std_init,
            resolve_precision(precision, device),
            center_features,
        ).to(device)
        self._normalizers = nn.ModuleDict(
            {
                entry.name: RunningNormalizer(entry.stacked_shape[0])
                for entry in observation_spec.vectors
            }
        ).to(device)

    @property
    def normalizers(self) -> dict[str, RunningNormalizer]:
        """The normalisers of the vectors that it reads, by name."""
        return dict(self._normalizers.items())  # type: ignore[arg-type]

    def initial_state(self, n: int) -> StateTensors:
        """Returns no memory."""
        return NO_MEMORY

    def reset(self, state: StateTensors, done: Tensor) -> StateTensors:
        """Returns the memory as it is: none."""
        return state

    @torch.no_grad()
    def act(
        self, observation: Observation, state: StateTensors = NO_MEMORY
    ) -> tuple[Tensor, StateTensors]:
        """Chooses mean actions (n, A) in [-1, 1] for any number n of robots.

        Args:
            observation: at least the entries that the policy reads, on any device.
            state: unused.

        Raises:
            ValueError: an entry is missing or of another shape.
        """
        self.observation_spec.check(observation)
        here = {name: observation[name].to(self.device) for name in self.observation_spec}
        return torch.tanh(self.mean(normalize(here, self.normalizers))), state

    @torch.no_grad()
    def mean(self, inputs: Mapping[str, Tensor], weights: Weights | None = None) -> Tensor:
        """Computes mean actions before tanh (n, A), without graph.

        Args:
            inputs: images and normalised vectors (n, ...) by name.
            weights: the actor's `cast_weights()`; None: it casts them itself.
        """
        if self.threads is None or not self.observation_spec.images:
            return self.actor(inputs, weights)[0]
        weights = weights or self.actor.cast_weights()
        names = [entry.name for entry in self.observation_spec.images]
        count = len(inputs[names[0]])
        starts = range(0, count, _PART)
        embedded: dict[int, dict[str, Tensor]] = {}

        def run(own: range) -> None:
            for i in own:
                part = {name: inputs[name][i : i + _PART] for name in names}
                embedded[i] = self.actor.embed(part, weights)

        threads = min(self.threads, len(starts))
        run_side_by_side([partial(run, starts[i :: self.threads]) for i in range(threads)])
        joined = {name: torch.cat([embedded[i][name] for i in starts]) for name in names}
        return self.actor.decide(joined, inputs)  # in one piece: these layers are small

    def description(self) -> dict[str, Any]:
        """Returns everything that `rebuild` needs, as JSON values."""
        return {
            "observation": self.observation_spec.to_dict(),
            "action": self.action_spec.to_dict(),
            **self._sizes,
        }

    @classmethod
    def rebuild(
        cls, description: Mapping[str, Any], device: torch.device, threads: int | None = None
    ) -> "ActorPolicy":
        """Builds the policy that `description` describes, with newly drawn parameters.

        Raises:
            ValueError, TypeError, KeyError: the description is damaged.
        """
        with torch.random.fork_rng(devices=[]):
            return cls(
                ObservationSpec.from_dict(description["observation"]),
                ActionSpec.from_dict(description["action"]),
                int(description["trunk_size"]),
                tuple(int(width) for width in description["hidden"]),
                float(description["log_std_init"]),
                description["precision"],
                device,
                threads,
                description["center_features"],
            )


def normalize(observation: Mapping[str, Tensor], normalizers: Normalizers) -> dict[str, Tensor]:
    """Normalises the entries that have a normaliser and returns the others as they are."""
    return {
        name: normalizers[name](value) if name in normalizers else value
        for name, value in observation.items()
    }
