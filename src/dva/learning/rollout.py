"""Block 1: a rollout of h steps in N environments."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dva.compute.distributed import ALONE, Group
from dva.envs import Environment
from dva.envs.frames import FrameBuffer
from dva.sim import State
from dva.spec import STATE, Observation

__all__ = ["Rollout", "collect_rollout", "feedback", "sensed"]


@dataclass
class Rollout:
    """Holds what h steps of N environments leave behind; the first axis is time."""

    frames: dict[str, FrameBuffer]
    """Images of the h observations that the policy saw, and of the next one, by name; empty where
    images carry a graph, which holds them already."""
    vectors: dict[str, Tensor]
    """(h, M, n) vectors that the policy saw, by name, without graph, before normalisation, of the M
    environments that are not blind. So are the frames."""
    physics: list[State]
    """h physics states before each step, without graph."""
    states: Tensor
    """(h, N, O) state observations before each step, without graph."""
    actions: list[Tensor]
    """h tensors (N, A), before tanh; the graph starts at them (D.Va) or passes them (SHAC)."""
    noise: Tensor
    """(h, N, A) standard normal noise of the actions."""
    rewards: Tensor
    """(h, N), with graph."""
    next_states: Tensor
    """(h, N, O) state observations after each step, before any reset, with graph."""
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

    @property
    def done(self) -> Tensor:
        """bool (h, N), where an episode ended."""
        return self.terminated | self.truncated


def collect_rollout(
    env: Environment,
    sample_action: Callable[[Observation], tuple[Tensor, Tensor]],
    horizon: int,
    image_gradient: bool = False,
) -> Rollout:
    """Steps the environments h times from their present state, whose graph is cut first.

    Args:
        env: N environments.
        sample_action: maps an observation to actions before tanh (N, A) and their normal noise
            (N, A).
        horizon: h.
        image_gradient: whether the policy sees images with their graph, which then are not kept.
    """
    env.detach()
    observation = env.observation
    images = () if image_gradient else env.policy_spec.images
    names = [entry.name for entry in env.policy_spec.vectors]
    frames = {entry.name: FrameBuffer(entry, observation[entry.name], horizon) for entry in images}
    actions: list[Tensor] = []
    physics: list[State] = []
    steps: dict[str, list[Tensor]] = {}
    vectors: dict[str, list[Tensor]] = {name: [] for name in names}
    for t in range(horizon):
        physics.append(env.state.detach())
        seen = observation
        action, noise = sample_action(seen)
        actions.append(action)
        for name in names:
            vectors[name].append(sensed(seen, env)[name].detach())
        observation, reward, terminated, truncated, info = env.step(torch.tanh(action))
        for name, buffer in frames.items():
            done = (terminated | truncated)[env.blind_envs :]
            buffer.append(t + 1, env.newest(name), done)
        row = {
            "states": seen[STATE].detach(),
            "noise": noise,
            "rewards": reward,
            "next_states": info["final_observation"][STATE],
            "terminated": terminated,
            "truncated": truncated,
            **_episode_rows(info),
        }
        for name, value in row.items():
            steps.setdefault(name, []).append(value)
    return Rollout(
        frames=frames,
        vectors={name: torch.stack(values) for name, values in vectors.items()},
        physics=physics,
        actions=actions,
        **{name: torch.stack(values) for name, values in steps.items()},
    )


def sensed(observation: Observation, env: Environment) -> Observation:
    """Leaves out the states of the environments in which nothing else is observed."""
    return {**observation, STATE: observation[STATE][env.blind_envs :]}


@torch.no_grad()
def feedback(
    rollout: Rollout, std: Tensor, environments: slice = slice(None), group: Group = ALONE
) -> Tensor:
    """Measures how much the policy's mean action depends on what it sees.

    Args:
        rollout: actions and noise.
        std: (A,), the exploration noise of that rollout.
        environments: which of the N count.
        group: the processes whose rollouts count, with as many samples in each.

    Returns:
        The standard deviation of the mean action before tanh over their samples, as root mean
        square over the A entries: (). It is 0 for a policy that ignores its input.
    """
    means = torch.stack(rollout.actions).detach() - std * rollout.noise
    own = means[:, environments].flatten(0, 1)
    mean = own.mean(0)
    apart = (mean - group.mean(mean)).square()  # 0 in one process
    return group.mean(own.var(0, correction=0) + apart).mean().sqrt()


def _episode_rows(info: dict[str, Any]) -> dict[str, Tensor]:
    # Copies: an environment may go on writing into its own counters.
    return {
        "nonfinite": info["nonfinite"],
        "episode_returns": info["episode_return"].detach().clone(),
        "episode_lengths": info["episode_length"].detach().clone(),
    }
