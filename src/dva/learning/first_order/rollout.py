"""Block 1: a rollout of h steps in N environments."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dva.envs.environment import Environment, Observation
from dva.envs.frames import FrameBuffer

__all__ = ["Rollout", "collect_rollout"]


@dataclass
class Rollout:
    """What h steps of N environments leave behind; time first."""

    frames: FrameBuffer | None
    """Images of the h observations the policy saw, and of the one after; None if it saw none."""
    states: Tensor
    """(h, N, O) state observations the policy saw, without graph."""
    actions: list[Tensor]
    """h tensors (N, A), before tanh; the graph starts (D.Va) or passes (SHAC) here."""
    noise: Tensor
    """(h, N, A) standard normal draws of the actions."""
    rewards: Tensor
    """(h, N), with graph."""
    next_states: Tensor
    """(h, N, O) state observations after each step and before any reset, with graph."""
    terminated: Tensor
    """bool (h, N)."""
    truncated: Tensor
    """bool (h, N)."""
    nonfinite: Tensor
    """bool (h, N), where the environment reset itself because of a non-finite state."""
    episode_returns: Tensor
    """(h, N) undiscounted return of the episode so far."""
    episode_lengths: Tensor
    """(h, N) steps of the episode so far."""
    last_observation: Observation
    """Where the next rollout resumes, without graph."""

    @property
    def done(self) -> Tensor:
        """bool (h, N), where an episode ended."""
        return self.terminated | self.truncated


def collect_rollout(
    env: Environment,
    observation: Observation,
    sample_action: Callable[[Observation], tuple[Tensor, Tensor]],
    horizon: int,
    pixels: bool,
    pixel_gradient: bool = False,
) -> Rollout:
    """Steps the environments h times, resuming from `observation`.

    Args:
        env: N environments; their graph is cut before the first step.
        observation: the environments' present observation.
        sample_action: maps an observation to actions before tanh (N, A) and the normal draws in
            them (N, A).
        horizon: h.
        pixels: whether the policy sees images; if not, none are kept, whatever the environment
            shows.
        pixel_gradient: the policy sees the environment's images with their graph; none are kept
            beside it.
    """
    env.detach()
    observation = {name: value.detach() for name, value in observation.items()}
    frames = None
    if pixels and not pixel_gradient:
        frames = FrameBuffer(observation["pixels"], env.frame_stack, horizon)
    actions: list[Tensor] = []
    steps: dict[str, list[Tensor]] = {}
    for t in range(horizon):
        seen = {"state": observation["state"]}
        if frames is not None:
            seen["pixels"] = frames.observation(t)
        elif pixels:
            seen["pixels"] = observation["pixels"]
        action, noise = sample_action(seen)
        actions.append(action)
        observation, reward, terminated, truncated, info = env.step(torch.tanh(action))
        if frames is not None:
            frames.append(t + 1, env.frame, terminated | truncated)
        row = {
            "states": seen["state"].detach(),
            "noise": noise,
            "rewards": reward,
            "next_states": info["final_observation"]["state"],
            "terminated": terminated,
            "truncated": truncated,
            **_episode_rows(info),
        }
        for name, value in row.items():
            steps.setdefault(name, []).append(value)
    last_observation = {"state": observation["state"].detach()}
    if frames is not None:
        last_observation["pixels"] = frames.observation(horizon)
    elif pixels:
        last_observation["pixels"] = observation["pixels"].detach()
    return Rollout(
        frames=frames,
        actions=actions,
        last_observation=last_observation,
        **{name: torch.stack(values) for name, values in steps.items()},
    )


def _episode_rows(info: dict[str, Any]) -> dict[str, Tensor]:
    # Copies: an environment may go on writing into its own counters.
    return {
        "nonfinite": info["nonfinite"],
        "episode_returns": info["episode_return"].detach().clone(),
        "episode_lengths": info["episode_length"].detach().clone(),
    }
