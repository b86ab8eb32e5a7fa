"""The policy of DreamerV3: encoder, recurrent state-space model and actor, with their memory."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dva.compute.precision import Precision, resolve_precision
from dva.envs.frames import newest
from dva.learning.world_model.behaviour import DreamerActor
from dva.learning.world_model.config import SIZES
from dva.learning.world_model.networks import Encoder
from dva.learning.world_model.rssm import Latent, Rssm
from dva.spec import ActionSpec, Observation, ObservationSpec, StateTensors

__all__ = ["DreamerPolicy", "single_readings"]

_MLP_LAYERS = 3


def single_readings(spec: ObservationSpec) -> ObservationSpec:
    """Describes the entries without stacks: a model that remembers needs the newest readings."""
    return ObservationSpec(
        tuple(dataclasses.replace(entry, frame_stack=1) for entry in spec.values())
    )


class DreamerPolicy(nn.Module):
    """Follows what it sees by latent states, and acts with the mean action. See `Policy`.

    Its memory is the latent state, the last action, and for how many more control steps this action
    is repeated. While it is, nothing is looked at, as in training.

    Args:
        observation_spec: the entries that the policy reads.
        action_spec: what its actions mean.
        size: name of the networks' sizes, of `SIZES`.
        action_repeat: control steps for which an action is repeated.
        precision: arithmetic of the convolutions.
        device: where the policy acts. Parameters are drawn on the CPU, so that a seed gives the
            same policy on every device.

    Raises:
        ValueError: images are too small, or of an infinite range.
    """

    def __init__(
        self,
        observation_spec: ObservationSpec,
        action_spec: ActionSpec,
        size: str,
        action_repeat: int,
        precision: Precision = "auto",
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> None:
        super().__init__()
        self.observation_spec, self.action_spec = observation_spec, action_spec
        self.device, self.action_repeat = device, action_repeat
        self._values = {"size": size, "action_repeat": action_repeat, "precision": precision}
        self.model_spec = single_readings(observation_spec)
        """What the model reads."""
        sizes = SIZES[size]
        dtype = resolve_precision(precision, device)
        self.encoder = Encoder(self.model_spec, sizes.channels, sizes.units, _MLP_LAYERS, dtype).to(
            device
        )
        self.rssm = Rssm(self.encoder.output_size, action_spec.size, sizes).to(device)
        self.actor = DreamerActor(self.rssm.feature_size, action_spec.size, sizes.units).to(device)

    def initial_state(self, n: int) -> dict[str, Tensor]:
        """Returns the memory of n robots at the start of their episodes: zeros."""
        latent = self.rssm.initial(n)
        return {
            "deter": latent.deter,
            "stoch": latent.stoch,
            "action": latent.deter.new_zeros(n, self.action_spec.size),
            "repeats": torch.zeros(n, dtype=torch.int64, device=self.device),
        }

    def reset(self, state: StateTensors, done: Tensor) -> dict[str, Tensor]:
        """Returns the memory, zero in the rows where `done`, bool (n,), is True."""
        done = done.to(self.device)
        return {
            name: torch.where(done.view(-1, *[1] * (value.dim() - 1)), 0, value)
            for name, value in state.items()
        }

    @torch.no_grad()
    def act(
        self, observation: Observation, state: StateTensors
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Chooses actions (n, A) in [-1, 1] for any number n of robots: the mean ones, in the
        likeliest latent states.

        Args:
            observation: at least the entries that the policy reads, on any device.
            state: the memory.

        Raises:
            ValueError: an entry is missing or of another shape.
        """
        self.observation_spec.check(observation)
        repeats = state["repeats"]
        old = repeats > 0
        # An exported graph has no branches: it looks every time, and the result is the same.
        if not torch.compiler.is_exporting() and bool(old.all()):
            return state["action"], {**state, "repeats": repeats - 1}
        here = {name: observation[name].to(self.device) for name in self.observation_spec}
        _, new = self.choose(here, state)
        memory = {
            name: torch.where(old[:, None], state[name], new[name])
            for name in ("deter", "stoch", "action")
        }
        memory["repeats"] = torch.where(old, repeats, self.action_repeat) - 1
        return memory["action"], memory

    @torch.no_grad()
    def choose(
        self,
        observation: Mapping[str, Tensor],
        state: StateTensors,
        uniform: Tensor | None = None,
        normal: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Looks, and chooses actions (n, A) in [-1, 1], whether or not the last ones are repeated.

        Args:
            observation: what the policy reads (n, ...), stacked or the newest readings alone.
            state: the memory.
            uniform: (n, S) from [0, 1), which draws the latent states; None: the likeliest ones.
            normal: (n, A), which draws the actions; None: the mean ones.

        Returns:
            The actions and the new memory, in which the repeats are as they were.
        """
        readings = {
            name: newest(observation[name], entry) for name, entry in self.model_spec.items()
        }
        latent = self.rssm.observe_one(
            Latent(state["deter"], state["stoch"]),
            state["action"],
            self.encoder(self.encoder.prepare(readings)),
            uniform,
        )
        distribution = self.actor(latent.features)
        action = distribution.mean if normal is None else distribution.sample(normal)
        action = action.clamp(-1.0, 1.0)
        memory = {"deter": latent.deter, "stoch": latent.stoch, "action": action}
        return action, {**state, **memory}

    def description(self) -> dict[str, Any]:
        """Returns everything that `rebuild` needs, as JSON values."""
        return {
            "observation": self.observation_spec.to_dict(),
            "action": self.action_spec.to_dict(),
            **self._values,
        }

    @classmethod
    def rebuild(
        cls, description: Mapping[str, Any], device: torch.device, threads: int | None = None
    ) -> "DreamerPolicy":
        """Builds the policy that `description` describes, with newly drawn parameters.

        Raises:
            ValueError, TypeError, KeyError: the description is damaged.
        """
        with torch.random.fork_rng(devices=[]):
            return cls(
                ObservationSpec.from_dict(description["observation"]),
                ActionSpec.from_dict(description["action"]),
                description["size"],
                int(description["action_repeat"]),
                description["precision"],
                device,
            )
