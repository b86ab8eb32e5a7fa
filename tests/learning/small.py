"""Algorithms small enough for tests, on the point mass or on any other environment."""

from typing import Any

import torch
from point_mass import PointMass

from dva.envs import Environment
from dva.learning import (
    DVA,
    PPO,
    SHAC,
    DAgger,
    DaggerConfig,
    DvaConfig,
    Metrics,
    PpoConfig,
    ShacConfig,
    TrainingContext,
)
from dva.learning.config import ActorConfig
from dva.learning.rollout_learner import RolloutLearner
from dva.policies import SavedPolicy

VALUES: dict[str, Any] = {
    "horizon": 5, "trunk_size": 16, "actor_hidden": (16,), "precision": "float32",
}  # fmt: skip
CRITIC: dict[str, Any] = {"critic_hidden": (16,), "critic_iterations": 2}


def context(
    env: Environment, config: ActorConfig, iterations: int = 20, seed: int = 0, **changes: Any
) -> TrainingContext:
    """Plans so many iterations."""
    return TrainingContext(iterations * env.num_envs * config.horizon, seed, **changes)


def small_dva(
    env: Environment | None = None,
    seed: int = 0,
    iterations: int = 20,
    threads: int | None = None,
    **changes: Any,
) -> DVA:
    """Makes D.Va for an environment, by default 6 point masses."""
    env = env or PointMass(6)
    config = DvaConfig(**{**VALUES, **CRITIC, **changes})
    return DVA(env, config, context(env, config, iterations, seed, threads=threads))


def small_shac(
    env: Environment | None = None, seed: int = 0, iterations: int = 20, **changes: Any
) -> SHAC:
    """Makes SHAC for an environment, by default 4 point masses seen as states."""
    env = env or PointMass(4, observe=("state",))
    config = ShacConfig(**{**VALUES, **CRITIC, "horizon": 6, **changes})
    return SHAC(env, config, context(env, config, iterations, seed))


def small_ppo(
    env: Environment | None = None,
    seed: int = 0,
    iterations: int = 20,
    threads: int | None = None,
    **changes: Any,
) -> PPO:
    """Makes PPO for an environment, by default 6 point masses."""
    env = env or PointMass(6)
    config = PpoConfig(**{**VALUES, "critic_hidden": (16,), "epochs": 2, **changes})
    return PPO(env, config, context(env, config, iterations, seed, threads=threads))


def small_dagger(
    env: Environment | None = None,
    expert: SavedPolicy | None = None,
    seed: int = 0,
    iterations: int = 20,
    threads: int | None = None,
    **changes: Any,
) -> DAgger:
    """Makes DAgger for an environment, by default 6 point masses; SHAC trains an expert for three
    iterations if none is given."""
    env = env or PointMass(6)
    shac = ShacConfig(**{**VALUES, **CRITIC})
    steps = {"learning_starts": 0, "replay_samples": 90, "batch": 12, "max_updates": 20}
    training = {"expert_training": shac, "expert_steps": 3 * 5 * env.num_envs}
    config = DaggerConfig(**{**VALUES, **steps, **training, "stop_loss": 0.0, **changes})
    told = context(env, config, iterations, seed, threads=threads, expert=expert)
    return DAgger(env, config, told)


def without_times(metrics: Metrics) -> Metrics:
    """Drops what depends on the machine's speed."""
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


def parameter_gradient(algorithm: RolloutLearner) -> torch.Tensor:
    """The actor's present gradient, before it was clipped, as one vector."""
    gradients = [p.grad.flatten() for p in algorithm.actor.parameters() if p.grad is not None]
    return torch.cat(gradients)
