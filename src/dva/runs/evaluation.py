"""Evaluation: whole episodes of a policy in environments of its own, and films of them."""

import dataclasses
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from dva.compute import arguments
from dva.compute.errors import UsageError, usage_errors
from dva.envs import VectorEnv, make
from dva.policies import Policy, RandomPolicy, ZeroPolicy
from dva.runs.video import VideoWriter, tile
from dva.spec import Observation

__all__ = ["EVALUATION_SEED", "Evaluation", "evaluate", "film", "film_agent"]

EVALUATION_SEED = 1_000_003
"""Starts of evaluation episodes come from this seed, far from those that runs train with."""
ENVS_AT_ONCE = 64
VIDEO_SIZE = 256
VIDEO_ENVS = 4


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Statistics over whole episodes."""

    episodes: int
    """Number of episodes, one per environment."""
    mean: float
    """Mean undiscounted return."""
    std: float
    """Standard deviation of the return over the episodes (population)."""
    episode_length: float
    """Mean length in control steps."""
    returns: tuple[float, ...] = dataclasses.field(repr=False)
    """Return of every episode."""
    lengths: tuple[int, ...] = dataclasses.field(repr=False)
    """Length of every episode in control steps."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return dataclasses.asdict(self)


@torch.no_grad()
def evaluate(
    policy: Policy,
    make_env: Callable[[int], VectorEnv],
    episodes: int = 64,
    seed: int = EVALUATION_SEED,
    video: str | Path | None = None,
) -> Evaluation:
    """Runs exactly `episodes` episodes, each the first one of an environment of its own.

    Taking one episode from each environment, and waiting for all, keeps short episodes from
    counting more often than long ones.

    Args:
        policy: of any algorithm; should be deterministic.
        make_env: makes a vector environment of a given number of environments.
        episodes: number of episodes.
        seed: seed of the starts.
        video: MP4 file for the first four environments, one tile each.

    Raises:
        UsageError: `episodes` is below 1, the video's name does not end in .mp4, or the environment
            does not show what the policy reads.
    """
    if episodes < 1:
        raise UsageError(f"episodes is {episodes}; it must be 1 or more.")
    returns: list[float] = []
    lengths: list[int] = []
    whole, rest = divmod(episodes, ENVS_AT_ONCE)
    for count, times in ((ENVS_AT_ONCE, whole), (rest, 1)):
        if count * times == 0:
            continue
        with closing(make_env(count)) as env:
            for _ in range(times):
                observation = env.reset(seed=seed + len(returns))
                with usage_errors():
                    policy.observation_spec.check(observation)
                if video is not None and not returns:
                    with VideoWriter(video, fps=1 / env.task.control_dt) as writer:
                        batch = _first_episodes(policy, env, observation, writer)
                else:
                    batch = _first_episodes(policy, env, observation, None)
                returns += batch[0]
                lengths += batch[1]
    values = torch.tensor(returns, dtype=torch.float64)
    return Evaluation(
        episodes=len(returns),
        mean=values.mean().item(),
        std=values.std(unbiased=False).item(),
        episode_length=sum(lengths) / len(lengths),
        returns=tuple(returns),
        lengths=tuple(lengths),
    )


def _first_episodes(
    policy: Policy, env: VectorEnv, observation: Observation, writer: VideoWriter | None
) -> tuple[list[float], list[int]]:
    """Returns the return and the length of every environment's first episode."""
    open_ = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    shown = list(range(min(VIDEO_ENVS, env.num_envs)))
    frames = _frames(env, shown) if writer else None
    memory = policy.initial_state(env.num_envs)
    while bool(open_.any()):
        if writer and frames is not None and bool(open_[shown].any()):
            fresh = _frames(env, shown)
            # An environment whose episode is over starts another one: hold its last picture, dark.
            keep = open_[shown].to(fresh.device)[:, None, None, None]
            frames = torch.where(keep, fresh, frames)
            writer.add(tile(torch.where(keep, frames, frames // 2)))
        action, memory = policy.act(observation, memory)
        observation, _, terminated, truncated, info = env.step(action)
        done = terminated | truncated
        memory = policy.reset(memory, done)
        lengths += open_
        over = open_ & done
        returns = torch.where(over, info["episode_return"].to(returns), returns)
        open_ = open_ & ~over
    return returns.tolist(), lengths.tolist()


def _frames(env: VectorEnv, env_ids: list[int]) -> torch.Tensor:
    return env.render(image_size=VIDEO_SIZE, env_ids=env_ids)


@torch.no_grad()
def film(
    policy: Policy,
    env: VectorEnv,
    path: str | Path,
    steps: int,
    seed: int,
    image_size: int = VIDEO_SIZE,
) -> float:
    """Films the first four environments for `steps` control steps, through resets.

    Args:
        policy: acts.
        env: a vector environment; it is reset with `seed`.
        path: MP4 file.
        steps: control steps.
        seed: of the starts.
        image_size: side of an environment's tile in pixels.

    Returns:
        Mean reward of a step over all environments.
    """
    observation = env.reset(seed=seed)
    memory = policy.initial_state(env.num_envs)
    shown = list(range(min(VIDEO_ENVS, env.num_envs)))
    total = 0.0
    with VideoWriter(path, fps=1 / env.task.control_dt) as writer:
        for _ in range(steps):
            writer.add(tile(env.render(image_size=image_size, env_ids=shown)))
            action, memory = policy.act(observation, memory)
            observation, reward, terminated, truncated, _ = env.step(action)
            memory = policy.reset(memory, terminated | truncated)
            total += reward.mean().item()
    return total / steps


def film_agent(
    task: str,
    path: str | Path,
    steps: int = 240,
    zero: bool = False,
    seed: int = 0,
    device: str = "auto",
) -> float:
    """Films four robots of a task under random actions, or under none.

    Returns:
        Mean reward of a step.

    Raises:
        UsageError: the task or device is not known, or a value is not allowed.
    """
    if steps < 1:
        raise UsageError(f"steps is {steps}; it must be 1 or more.")
    with usage_errors():
        arguments.seed(seed)
        with closing(make(task, num_envs=VIDEO_ENVS, device=device, observe="state")) as env:
            specs = env.policy_spec, env.action_spec
            policy = ZeroPolicy(*specs) if zero else RandomPolicy(*specs, seed)
            return film(policy, env, path, steps, seed)
