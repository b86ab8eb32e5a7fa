"""Hyperparameters that first-order methods share, and their presets."""

from dataclasses import dataclass
from typing import Any

from dva.compute.errors import require_known
from dva.learning.algorithm import PRESETS, Preset
from dva.learning.config import (
    ActorConfig,
    Values,
    network_sizes,
    preset_of,
    require_count,
    require_rate,
    require_share,
    require_widths,
)

__all__ = ["FirstOrderConfig", "choose_preset"]


@dataclass
class FirstOrderConfig(ActorConfig):
    """What D.Va and SHAC share; the defaults are the paper's for Cartpole (Tables 7 and 8).

    Raises:
        ValueError: a value is outside its range.
    """

    discount: float = 0.99
    """Discount of one step, gamma."""
    td_lambda: float = 0.95
    """Weight of long returns in the critic's targets, lambda."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Widths of the critic's hidden layers."""
    actor_learning_rate: float = 2e-3
    """Learning rate of the actor at the first step."""
    critic_learning_rate: float = 2e-4
    """Learning rate of the critic at the first step."""
    final_learning_rate: float = 1e-5
    """Learning rate of both at the last planned step; linear between."""
    critic_iterations: int = 16
    """Passes over the rollout's states when the critic is fitted."""
    critic_minibatches: int = 4
    """Minibatches of one pass."""
    target_alpha: float = 0.2
    """Share of itself the target critic keeps in each iteration, alpha."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("critic_iterations", "critic_minibatches"):
            require_count(name, getattr(self, name))
        for name in ("discount", "td_lambda", "target_alpha"):
            require_share(name, getattr(self, name))
        for name in ("actor_learning_rate", "critic_learning_rate", "final_learning_rate"):
            require_rate(name, getattr(self, name))
        require_widths("critic_hidden", self.critic_hidden)


# D.Va, Tables 7 and 8; planned iterations, Cheetah and ANYmal from the published configurations.
_PAPER: dict[str, Values] = {
    "cartpole": {"critic_learning_rate": 2e-4, "iterations": 4_000},
    "hopper": {"critic_learning_rate": 2e-4, "iterations": 30_000},
    "cheetah": {"critic_learning_rate": 2e-3, "iterations": 30_000},
    "ant": {"critic_learning_rate": 2e-3, "iterations": 30_000},
    "humanoid": {
        "critic_learning_rate": 5e-4,
        "target_alpha": 0.995,
        "iterations": 60_000,
    },
    "anymal": {"num_envs": 32, "critic_learning_rate": 2e-3, "iterations": 2_000},
}

# A task that is not listed, such as one of your own: what most legged robots of the paper have.
_OTHER: Values = {"critic_learning_rate": 2e-3, "iterations": 30_000}

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
    config: type,
    task: str,
    name: str,
    observe: tuple[str, ...],
    from_images: Values = {},  # noqa: B006
    last: Values = {},  # noqa: B006
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
        last: what it changes of these values in the end.

    Raises:
        UsageError: there is no preset of that name.
    """
    require_known("preset", name, PRESETS)
    values: dict[str, Any] = {**network_sizes(task), **_PAPER.get(task, _OTHER)}
    if observe == ("state",):
        values |= {"iterations": _FROM_STATE_ITERATIONS, **_FROM_STATE.get(task, {})}
    else:
        values |= from_images
        if name == "cpu":
            values |= {**_CPU, **_CPU_TASKS.get(task, _CPU_WALKING)}
    if name == "fast":
        values |= {**_FAST, **_FAST_TASKS.get(task, {})}
    values |= last
    return preset_of(config, values, observe)
