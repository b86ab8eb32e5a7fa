"""Evaluation: whole episodes of a policy in environments of its own, and videos of them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dva.runs.config import TrainConfig, require_task, resolve_device
from dva.runs.errors import UsageError, explain_value_errors
from dva.runs.video import VideoWriter, tile

__all__ = [
    "EVALUATION_SEED",
    "Evaluation",
    "Policy",
    "evaluate",
    "film_agent",
    "make_env",
    "random_policy",
    "record",
    "zero_policy",
]

Policy = Callable[[dict[str, torch.Tensor]], torch.Tensor]
"""Maps an observation {"pixels", "state"} to actions (N, A) in [-1, 1]."""

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


def make_env(
    config: TrainConfig,
    num_envs: int,
    device: str | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Any:
    """Makes the environments of a run, for training and for evaluation alike.

    Args:
        config: names the task, what a policy observes, and the CPU threads, if no others are given.
        num_envs: number of environments.
        device: "auto", "cpu" or "cuda"; none: what `config` asks for.
        seed: of the starts, until a reset gives another.
        threads: CPU threads; none: what `config` asks for.

    Raises:
        UsageError: this machine has no such device, or a value of the configuration or the robot's
            file is not allowed.
    """
    from dva import envs
    from dva.learning import ALGORITHMS

    learner = config.learner
    with explain_value_errors():
        return envs.make(
            config.task,
            num_envs=num_envs,
            device=resolve_device(device or config.device),
            seed=seed,
            image_size=learner.image_size,
            frame_stack=learner.frame_stack,
            pixels=learner.pixels,
            final_pixels=False,
            threads=threads or config.threads,
            capture=config.cuda_graphs,
            state_storage=config.state_storage,
            camera=learner.camera,
            pixel_gradient=learner.pixels and ALGORITHMS[config.algo].learner_class.pixel_gradient,
        )


@torch.no_grad()
def evaluate(
    policy: Policy,
    make_env: Callable[[int], Any],
    episodes: int = 64,
    seed: int = EVALUATION_SEED,
    video: str | Path | None = None,
) -> Evaluation:
    """Runs exactly `episodes` episodes, each the first one of an environment of its own.

    Taking one episode from each environment, and waiting for all, keeps short episodes from
    counting more often than long ones.

    Args:
        policy: maps observations to actions; should be deterministic.
        make_env: makes a vector environment of a given number of environments.
        episodes: number of episodes.
        seed: seed of the starts.
        video: MP4 file for the first four environments, one tile each.

    Raises:
        UsageError: `episodes` is below 1, or the video's name does not end in .mp4.
    """
    if episodes < 1:
        raise UsageError(f"episodes is {episodes}; it must be 1 or more.")
    returns: list[float] = []
    lengths: list[int] = []
    env: Any = None
    while len(returns) < episodes:
        count = min(ENVS_AT_ONCE, episodes - len(returns))
        if env is None or env.num_envs != count:
            if env is not None:
                env.close()
            env = make_env(count)
        observation = env.reset(seed=seed + len(returns))
        if video is not None and not returns:
            with VideoWriter(video, fps=1 / env.task.control_dt) as writer:
                batch = _first_episodes(policy, env, observation, writer)
        else:
            batch = _first_episodes(policy, env, observation, None)
        returns += batch[0]
        lengths += batch[1]
    env.close()
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
    policy: Policy, env: Any, observation: dict[str, torch.Tensor], writer: VideoWriter | None
) -> tuple[list[float], list[int]]:
    """Returns the return and the length of every environment's first episode."""
    open_ = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    lengths = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    shown = list(range(min(VIDEO_ENVS, env.num_envs)))
    frames = _frames(env, shown) if writer else None
    while bool(open_.any()):
        if writer and frames is not None and bool(open_[shown].any()):
            fresh = _frames(env, shown)
            # An environment whose episode is over starts another one: hold its last picture, dark.
            keep = open_[shown].to(fresh.device)[:, None, None, None]
            frames = torch.where(keep, fresh, frames)
            writer.add(tile(torch.where(keep, frames, frames // 2)))
        observation, reward, terminated, truncated, info = env.step(policy(observation))
        lengths += open_
        over = open_ & (terminated | truncated)
        returns = torch.where(over, info["episode_return"].to(returns), returns)
        open_ = open_ & ~over
    return returns.tolist(), lengths.tolist()


def _frames(env: Any, env_ids: list[int]) -> torch.Tensor:
    return env.render(image_size=VIDEO_SIZE, env_ids=env_ids)


@torch.no_grad()
def record(
    policy: Policy,
    env: Any,
    path: str | Path,
    steps: int,
    seed: int,
    image_size: int = VIDEO_SIZE,
) -> float:
    """Films the first four environments for `steps` control steps, through resets.

    Args:
        env: a vector environment; it is reset with `seed`.
        path: MP4 file.
        image_size: side of an environment's tile in pixels.

    Returns:
        Mean reward of a step over all environments.
    """
    observation = env.reset(seed=seed)
    shown = list(range(min(VIDEO_ENVS, env.num_envs)))
    total = 0.0
    with VideoWriter(path, fps=1 / env.task.control_dt) as writer:
        for _ in range(steps):
            writer.add(tile(env.render(image_size=image_size, env_ids=shown)))
            observation, reward, *_ = env.step(policy(observation))
            total += reward.mean().item()
    return total / steps


def random_policy(action_size: int, seed: int) -> Policy:
    """Returns a policy that draws every action uniformly from [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)

    def act(observation: dict[str, torch.Tensor]) -> torch.Tensor:
        state = observation["state"]
        actions = torch.rand(state.shape[0], action_size, generator=generator) * 2 - 1
        return actions.to(state.device)

    return act


def zero_policy(action_size: int) -> Policy:
    """Returns a policy whose every action is zero."""
    return lambda observation: observation["state"].new_zeros(
        observation["state"].shape[0], action_size
    )


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
    from dva import envs

    require_task(task)
    if steps < 1:
        raise UsageError(f"steps is {steps}; it must be 1 or more.")
    with explain_value_errors():
        env = envs.make(task, num_envs=VIDEO_ENVS, device=resolve_device(device), pixels=False)
    policy = zero_policy(env.action_size) if zero else random_policy(env.action_size, seed)
    mean = record(policy, env, path, steps, seed)
    env.close()
    return mean
