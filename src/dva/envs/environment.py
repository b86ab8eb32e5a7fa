"""What a learner asks of an environment."""

from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["Environment", "Observation"]

Observation = dict[str, Tensor]


class Environment(Protocol):
    """N environments, differentiable from action to reward and state, that reset themselves.

    `dva.make` builds one. Any simulator can stand in by offering these attributes and methods.
    """

    @property
    def num_envs(self) -> int:
        """N."""
        ...

    @property
    def device(self) -> torch.device:
        """Where states and images live; the learner runs there too."""
        ...

    @property
    def action_size(self) -> int:
        """A."""
        ...

    @property
    def state_size(self) -> int:
        """O."""
        ...

    @property
    def frame_stack(self) -> int:
        """Frames in one observation, k."""
        ...

    @property
    def pixels_shape(self) -> tuple[int, int, int]:
        """(3 k, H, W)."""
        ...

    @property
    def frame(self) -> Tensor:
        """Newest frame, uint8 (N, 3, H, W)."""
        ...

    def reset(self) -> Observation:
        """Starts all episodes; returns "state" (N, O), "pixels" uint8 (N, 3 k, H, W)."""
        ...

    def step(self, action: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps with actions (N, A) in [-1, 1].

        Returns observation, reward (N,), terminated (N,), truncated (N,) and info, a dictionary
        with "final_observation" (with "state" (N, O) before any reset), "nonfinite" (N,),
        "episode_return" (N,) and "episode_length" (N,). State and reward carry the graph; a reset
        cuts it.
        """
        ...

    def detach(self) -> None:
        """Cuts the graph at the present state."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing bit for bit needs."""
        ...

    def load_state_dict(self, state: dict[str, Tensor], /) -> None:
        """Restores what `state_dict` returned."""
        ...
