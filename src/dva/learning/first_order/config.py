"""Hyperparameters that first-order methods share, and their presets."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dva.compute.arguments import require
from dva.compute.errors import require_known
from dva.compute.precision import Precision
from dva.envs import EnvConfig
from dva.learning.algorithm import PRESETS, Preset

__all__ = ["FirstOrderConfig", "Values", "choose_preset"]


@dataclass
class FirstOrderConfig:
    """What D.Va and SHAC share; the defaults are the paper's for Cartpole (Tables 7 and 8).

    Raises:
        ValueError: a value is outside its range.
    """

    horizon: int = 32
    """Steps of one rollout, h."""
    discount: float = 0.99
    """Discount of one step, gamma."""
    td_lambda: float = 0.95
    """Weight of long returns in the critic's targets, lambda."""
    trunk_size: int = 64
    """Width of the layer between encoder and policy."""
    actor_hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    center_features: bool = False
    """Subtract a running mean from the features that the layer between encoder and policy reads."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Widths of the critic's hidden layers."""
    log_std_init: float = -1.0
    """Initial log standard deviation of the action before tanh."""
    actor_learning_rate: float = 2e-3
    """Learning rate of the actor at the first step."""
    critic_learning_rate: float = 2e-4
    """Learning rate of the critic at the first step."""
    final_learning_rate: float = 1e-5
    """Learning rate of both at the last planned step; linear between."""
    adam_betas: tuple[float, float] = (0.7, 0.95)
    """Decay rates of Adam's two moments."""
    max_grad_norm: float = 1.0
    """Gradient norm at which actor and critic are clipped."""
    critic_iterations: int = 16
    """Passes over the rollout's states when the critic is fitted."""
    critic_minibatches: int = 4
    """Minibatches of one pass."""
    target_alpha: float = 0.2
    """Share of itself the target critic keeps in each iteration, alpha."""
    precision: Precision = "auto"
    """Arithmetic of the encoder (parameters: float32). "auto": bfloat16 where it is native."""

    def __post_init__(self) -> None:
        for name in ("horizon", "trunk_size", "critic_iterations", "critic_minibatches"):
            value = getattr(self, name)
            require(name, value, 1 <= value <= 1_000_000, "between 1 and 1,000,000")
        for name in ("discount", "td_lambda", "target_alpha"):
            value = getattr(self, name)
            require(name, value, 0.0 <= value <= 1.0, "between 0 and 1")
        for name in ("actor_learning_rate", "critic_learning_rate", "final_learning_rate"):
            value = getattr(self, name)
            require(name, value, 0.0 < value <= MAX_LEARNING_RATE, "above 0 and at most 1")
        finite = math.isfinite(self.log_std_init)
        require("log_std_init", self.log_std_init, finite, "a finite number")
        require("max_grad_norm", self.max_grad_norm, self.max_grad_norm > 0.0, "above 0")
        for name in ("actor_hidden", "critic_hidden"):
            widths = getattr(self, name)
            require(name, widths, all(width >= 1 for width in widths), "widths of 1 or more")
        valid = all(0.0 <= beta < 1.0 for beta in self.adam_betas)
        require("adam_betas", self.adam_betas, valid, "two numbers from 0 to below 1")


MAX_LEARNING_RATE = 1.0

Values = Mapping[str, Any]
"""Values by name: fields of a configuration, of `EnvConfig`, and "iterations", the planned ones."""

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

# D.Va, Tables 7 and 8; planned iterations, Cheetah and ANYmal from the published configurations.
_PAPER: dict[str, Values] = {
    "cartpole": {**_SMALL, "critic_learning_rate": 2e-4, "iterations": 4_000},
    "hopper": {**_MEDIUM, "critic_learning_rate": 2e-4, "iterations": 30_000},
    "cheetah": {**_MEDIUM, "critic_learning_rate": 2e-3, "iterations": 30_000},
    "ant": {**_MEDIUM, "critic_learning_rate": 2e-3, "iterations": 30_000},
    "humanoid": {
        **_LARGE,
        "critic_learning_rate": 5e-4,
        "target_alpha": 0.995,
        "iterations": 60_000,
    },
    "anymal": {**_MEDIUM, "num_envs": 32, "critic_learning_rate": 2e-3, "iterations": 2_000},
}

# A task that is not listed, such as one of your own: what most legged robots of the paper have.
_OTHER: Values = {**_MEDIUM, "critic_learning_rate": 2e-3, "iterations": 30_000}

# From states the values are the same, but for these.
_FROM_STATE: dict[str, Values] = {
    "cartpole": {
        "actor_learning_rate": 1e-2,
        "critic_learning_rate": 1e-3,
        "iterations": 500,
    },
}
_FROM_STATE_ITERATIONS = 2_000

# What a CPU changes: smaller images, whose time grows with their area, and fewer environments: the
# gradient is exact enough that more and smaller updates learn more from as many images. Robots that
# walk learn faster and more steadily with a shorter horizon and smaller steps.
_CPU: Values = {"image_size": 48, "num_envs": 16}
_CPU_WALKING: Values = {
    "horizon": 16,
    "actor_learning_rate": 1e-3,
    "iterations": 14_000,
}
_CPU_TASKS: dict[str, Values] = {
    "cartpole": {"iterations": 1_200},
    "humanoid": {**_CPU_WALKING, "target_alpha": 0.9},
    "anymal": {**_CPU_WALKING, "actor_learning_rate": 5e-4},
}

# What a GPU changes: its time goes into steps one after the other, far less into environments side
# by side. Robots that walk reach a return in fewer iterations with four times the environments, and
# an iteration of half the horizon has half the steps.
_FAST: Values = {"num_envs": 256, "horizon": 16, "iterations": 8_000}
_FAST_TASKS: dict[str, Values] = {
    "cartpole": {"horizon": 32, "iterations": 600},
    "hopper": {"actor_learning_rate": 1e-3, "iterations": 6_000},
    "cheetah": {"actor_learning_rate": 4e-3},
    "ant": {"iterations": 12_000},
    "humanoid": {"iterations": 20_000},
    "anymal": {"iterations": 2_000},
}


def choose_preset(
    config: type, task: str, name: str, observe: tuple[str, ...], from_images: Values = {}  # noqa: B006
) -> Preset:
    """Builds the values of a preset for a task.

    Args:
        config: the algorithm's configuration, a `FirstOrderConfig`.
        task: name of the task. One that the paper does not have gets the published values of
            Cheetah and Ant (networks of medium size, 30 000 iterations): a start to tune from.
        name: "paper", the published values; "cpu", for a few CPU cores (the same as "paper" for
            policies of states); or "fast", for a GPU.
        observe: what the policy sees.
        from_images: what the algorithm changes for policies of images.

    Raises:
        UsageError: there is no preset of that name.
    """
    require_known("preset", name, PRESETS)
    values: dict[str, Any] = dict(_PAPER.get(task, _OTHER))
    if observe == ("state",):
        values |= {"iterations": _FROM_STATE_ITERATIONS, **_FROM_STATE.get(task, {})}
    else:
        values |= from_images
        if name == "cpu":
            values |= {**_CPU, **_CPU_TASKS.get(task, _CPU_WALKING)}
    if name == "fast":
        values |= {**_FAST, **_FAST_TASKS.get(task, {})}
    own = {field.name for field in dataclasses.fields(config)}
    algorithm = config(**{key: value for key, value in values.items() if key in own})
    iterations = values.pop("iterations")
    env = {key: value for key, value in values.items() if key not in own}
    num_envs = env.get("num_envs", EnvConfig.num_envs)
    return Preset(
        algorithm, {**env, "observe": observe}, iterations * num_envs * algorithm.horizon
    )
