"""Hyperparameters that algorithms of a stochastic actor share, and the sizes of their networks."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dva.compute.arguments import require
from dva.compute.precision import Precision
from dva.envs import EnvConfig
from dva.learning.algorithm import Preset

__all__ = [
    "MAX_LEARNING_RATE",
    "ActorConfig",
    "RegressionConfig",
    "Values",
    "network_sizes",
    "preset_of",
]

MAX_LEARNING_RATE = 1.0

Values = Mapping[str, Any]
"""Values by name: fields of a configuration, of `EnvConfig`, and "iterations", the planned ones."""


@dataclass
class ActorConfig:
    """The actor and its rollouts; the defaults are D.Va's for Cartpole (its Tables 7 and 8).

    Raises:
        ValueError: a value is outside its range.
    """

    horizon: int = 32
    """Steps of one rollout, h."""
    stagger: bool = False
    """Spread the ends of the first episodes over an episode's length. Otherwise environments in
    which nothing fails restart in step, and most rollouts have no start in them at all."""
    trunk_size: int = 64
    """Width of the layer between encoder and policy."""
    actor_hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    center_features: bool = False
    """Subtract a running mean from the features that the layer between encoder and policy reads."""
    log_std_init: float = -1.0
    """Initial log standard deviation of the action before tanh."""
    adam_betas: tuple[float, float] = (0.7, 0.95)
    """Decay rates of Adam's two moments."""
    max_grad_norm: float = 1.0
    """Gradient norm at which every network is clipped."""
    precision: Precision = "auto"
    """Arithmetic of the encoder (parameters: float32). "auto": bfloat16 where it is native."""

    def __post_init__(self) -> None:
        for name in ("horizon", "trunk_size"):
            require_count(name, getattr(self, name))
        finite = math.isfinite(self.log_std_init)
        require("log_std_init", self.log_std_init, finite, "a finite number")
        require("max_grad_norm", self.max_grad_norm, self.max_grad_norm > 0.0, "above 0")
        require_widths("actor_hidden", self.actor_hidden)
        valid = all(0.0 <= beta < 1.0 for beta in self.adam_betas)
        require("adam_betas", self.adam_betas, valid, "two numbers from 0 to below 1")


@dataclass
class RegressionConfig(ActorConfig):
    """An actor whose regression passes images in pieces.

    Raises:
        ValueError: a value is outside its range.
    """

    micro_batch: int | None = None
    """Images in one piece of the regression: sets its peak memory only. None: as many as fit
    --memory-budget."""
    memory_budget: float | None = None
    """Memory for the regression's activations, MB, unless --micro-batch is given. None: 32 for each
    thread of a CPU, 2048 on CUDA."""

    def __post_init__(self) -> None:
        super().__post_init__()
        micro_batch, budget = self.micro_batch, self.memory_budget
        valid = micro_batch is None or micro_batch >= 1
        require("micro_batch", micro_batch, valid, "1 or more, or None")
        require("memory_budget", budget, budget is None or budget > 0.0, "above 0, or None")


def require_count(name: str, value: int, largest: int = 1_000_000) -> None:
    """Refuses whole numbers that are not between 1 and the largest."""
    require(name, value, 1 <= value <= largest, f"between 1 and {largest:,}")


def require_share(name: str, value: float) -> None:
    """Refuses numbers that are not between 0 and 1."""
    require(name, value, 0.0 <= value <= 1.0, "between 0 and 1")


def require_rate(name: str, value: float) -> None:
    """Refuses what is no learning rate."""
    require(name, value, 0.0 < value <= MAX_LEARNING_RATE, "above 0 and at most 1")


def require_widths(name: str, value: tuple[int, ...]) -> None:
    """Refuses what are no widths of layers."""
    require(name, value, all(width >= 1 for width in value), "widths of 1 or more")


_SMALL: Values = {"trunk_size": 64, "actor_hidden": (64, 64), "critic_hidden": (64, 64)}
_MEDIUM: Values = {
    "trunk_size": 128,
    "actor_hidden": (128, 64, 32),
    "critic_hidden": (64, 64),
}
_LARGE: Values = {
    "trunk_size": 256,
    "actor_hidden": (256, 128),
    "critic_hidden": (128, 128),
}


def network_sizes(task: str) -> dict[str, Any]:
    """Returns the widths of D.Va's networks for a task (its Table 7), which all algorithms of an
    actor take: what a method reaches shall not depend on the size of its network."""
    return dict({"cartpole": _SMALL, "humanoid": _LARGE}.get(task, _MEDIUM))


def preset_of(config: type, values: Values, observe: tuple[str, ...]) -> Preset:
    """Sorts the values of a preset: to the algorithm's configuration, or to the environment's.

    Args:
        config: the algorithm's configuration, an `ActorConfig`.
        values: its fields, those of `EnvConfig`, and "iterations". "guide_envs" among them are
            environments too.
        observe: what the policy sees.
    """
    own = {field.name for field in dataclasses.fields(config)}
    algorithm = config(**{key: value for key, value in values.items() if key in own})
    env = {key: value for key, value in values.items() if key not in (*own, "iterations")}
    num_envs = env.get("num_envs", EnvConfig.num_envs) + values.get("guide_envs", 0)
    steps = values["iterations"] * num_envs * algorithm.horizon
    return Preset(algorithm, {**env, "observe": observe}, steps)
