"""A policy that holds each action for some steps, as it was trained."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dva.compute.precision import Precision, resolve_precision
from dva.envs.frames import newest, push, restart
from dva.policies.actor_policy import normalize
from dva.policies.normalizer import RunningNormalizer
from dva.policies.off_policy import Encoders, HeadActor, Seen, crop_spec
from dva.spec import ActionSpec, Observation, ObservationSpec, StateTensors

__all__ = ["RepeatingPolicy"]


class RepeatingPolicy(nn.Module):
    """Acts with the mean of an off-policy method's actor, squashed by tanh. See `Policy`.

    It chooses in every R-th step of an episode and holds the action in between. What it stacks are
    the readings of the steps in which it chose, so its memory holds them, the action, and the
    number of the step.

    Args:
        observation_spec: the entries that the policy reads.
        action_spec: what its actions mean.
        trunk_size: of the `HeadActor`.
        hidden: of the `HeadActor`.
        squash: of the `HeadActor`.
        gaussian: whether the actor also has standard deviations, which acting leaves out.
        action_repeat: R.
        crop: height and width of the middle of the images, which alone it sees [pixels]; None: all.
        precision: arithmetic of encoder and head.
        device: where the policy acts. Parameters are drawn on the CPU, so that a seed gives the
            same policy on every device.
    """

    def __init__(
        self,
        observation_spec: ObservationSpec,
        action_spec: ActionSpec,
        trunk_size: int,
        hidden: tuple[int, ...],
        squash: bool,
        gaussian: bool,
        action_repeat: int,
        crop: int | None = None,
        precision: Precision = "auto",
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> None:
        super().__init__()
        self.observation_spec, self.action_spec = observation_spec, action_spec
        self.device, self.action_repeat = device, action_repeat
        self.crop = crop if observation_spec.images else None
        self._sizes = {
            "trunk_size": trunk_size,
            "hidden": list(hidden),
            "squash": squash,
            "gaussian": gaussian,
            "action_repeat": action_repeat,
            "crop": crop,
            "precision": precision,
        }
        spec = crop_spec(observation_spec, self.crop)
        self.encoders = Encoders(spec, resolve_precision(precision, device)).to(device)
        outputs = action_spec.size * (2 if gaussian else 1)
        self.actor = HeadActor(self.encoders, trunk_size, squash, hidden, outputs).to(device)
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

    def see(self, observation: Mapping[str, Tensor], encoders: Encoders | None = None) -> Seen:
        """Normalises vectors and encodes images, which are cropped already, with their graph.

        Args:
            encoders: others than the policy's own.
        """
        here = {name: observation[name] for name in self.observation_spec}
        return (encoders or self.encoders)(normalize(here, self.normalizers))

    def mean(self, seen: Seen) -> Tensor:
        """Computes mean actions before tanh (n, A)."""
        return self.actor(seen)[:, : self.action_spec.size]

    @torch.no_grad()
    def choose(self, observation: Observation) -> Tensor:
        """Chooses mean actions (n, A) in [-1, 1] of observations as it was trained on."""
        return torch.tanh(self.mean(self.see(self.center(observation))))

    def center(self, observation: Mapping[str, Tensor]) -> Observation:
        """Cuts the images' middle out, if the policy crops them."""
        if self.crop is None:
            return dict(observation)
        images = {entry.name for entry in self.observation_spec.images}
        return {
            name: _middle(value, self.crop) if name in images else value
            for name, value in observation.items()
        }

    # ------------------------------------------------------------------ as a `Policy`

    def initial_state(self, n: int) -> StateTensors:
        """Returns the memory of n robots at the start of their episodes."""
        memory = {
            "step": torch.zeros(n, dtype=torch.int64, device=self.device),
            "fresh": torch.ones(n, dtype=torch.bool, device=self.device),
            "action": torch.zeros(n, self.action_spec.size, device=self.device),
        }
        for name, entry in self.observation_spec.items():
            memory[_stack(name)] = torch.zeros(
                (n, *entry.stacked_shape), dtype=entry.torch_dtype, device=self.device
            )
        return memory

    @torch.no_grad()
    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        """Chooses actions (n, A) in [-1, 1], or holds those of the memory.

        Args:
            observation: at least the entries that the policy reads, on any device.
            state: what `initial_state`, `act` or `reset` returned.

        Raises:
            ValueError: an entry is missing or of another shape.
        """
        self.observation_spec.check(observation)
        chooses, fresh = state["step"] == 0, state["fresh"]
        stacks = {}
        for name, entry in self.observation_spec.items():
            reading = newest(observation[name].to(self.device), entry)
            pushed = restart(push(state[_stack(name)], reading), reading, fresh)
            rows = chooses.view(-1, *[1] * (pushed.dim() - 1))
            stacks[name] = torch.where(rows, pushed, state[_stack(name)])
        action = torch.where(chooses[:, None], self.choose(stacks), state["action"])
        return action, {
            "step": (state["step"] + 1) % self.action_repeat,
            "fresh": fresh & ~chooses,
            "action": action,
            **{_stack(name): value for name, value in stacks.items()},
        }

    def reset(self, state: StateTensors, done: Tensor) -> StateTensors:
        """Lets the policy choose anew where `done`, bool (n,)."""
        done = done.to(self.device)
        return {
            **state,
            "step": state["step"].masked_fill(done, 0),
            "fresh": state["fresh"] | done,
        }

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
    ) -> "RepeatingPolicy":
        """Builds the policy that `description` describes, with newly drawn parameters.

        Raises:
            ValueError, TypeError, KeyError: the description is damaged.
        """
        crop = description["crop"]
        with torch.random.fork_rng(devices=[]):
            return cls(
                ObservationSpec.from_dict(description["observation"]),
                ActionSpec.from_dict(description["action"]),
                int(description["trunk_size"]),
                tuple(int(width) for width in description["hidden"]),
                bool(description["squash"]),
                bool(description["gaussian"]),
                int(description["action_repeat"]),
                None if crop is None else int(crop),
                description["precision"],
                device,
            )


def _middle(images: Tensor, crop: int) -> Tensor:
    top, left = ((side - crop) // 2 for side in images.shape[-2:])
    return images[..., top : top + crop, left : left + crop]


def _stack(name: str) -> str:
    return f"stack.{name}"
