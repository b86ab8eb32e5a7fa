"""Named sets of hyperparameters for each algorithm and task."""

from dataclasses import fields
from typing import Any, Literal

from dva.learning.algorithms import ALGORITHMS
from dva.learning.first_order.config import DvaConfig, LearnerConfig, Observe

__all__ = ["PRESETS", "PresetName", "preset"]

PresetName = Literal["paper", "cpu", "fast"]
PRESETS: dict[str, str] = {
    "paper": "the published hyperparameters",
    "cpu": "smaller images and fewer environments, for a few CPU cores",
    "fast": "many environments and short horizons, for a GPU",
}
"""Names of presets, and for whom each is."""

_SMALL: dict[str, Any] = {"trunk_size": 64, "actor_hidden": (64, 64), "critic_hidden": (64, 64)}
_MEDIUM: dict[str, Any] = {
    "trunk_size": 128,
    "actor_hidden": (128, 64, 32),
    "critic_hidden": (64, 64),
}
_LARGE: dict[str, Any] = {
    "trunk_size": 256,
    "actor_hidden": (256, 128),
    "critic_hidden": (128, 128),
}

# D.Va, Tables 7 and 8; planned iterations, Cheetah and ANYmal from the published configurations.
_DVA_PAPER: dict[str, DvaConfig] = {
    "cartpole": DvaConfig(**_SMALL, critic_learning_rate=2e-4, iterations=4_000),
    "hopper": DvaConfig(**_MEDIUM, critic_learning_rate=2e-4, iterations=30_000),
    "cheetah": DvaConfig(**_MEDIUM, critic_learning_rate=2e-3, iterations=30_000),
    "ant": DvaConfig(**_MEDIUM, critic_learning_rate=2e-3, iterations=30_000),
    "humanoid": DvaConfig(
        **_LARGE, critic_learning_rate=5e-4, target_alpha=0.995, iterations=60_000
    ),
    "anymal": DvaConfig(**_MEDIUM, num_envs=32, critic_learning_rate=2e-3, iterations=2_000),
}

# A task that is not listed, such as one of your own: what most legged robots of the paper have.
_OTHER_PAPER = DvaConfig(**_MEDIUM, critic_learning_rate=2e-3, iterations=30_000)

# SHAC on states, and D.Va on states beside it: the same values, but for these.
_STATE_CHANGES: dict[str, dict[str, Any]] = {
    "cartpole": {
        "actor_learning_rate": 1e-2,
        "critic_learning_rate": 1e-3,
        "iterations": 500,
    },
}
_STATE_ITERATIONS = 2_000

# SHAC from pixels, through the differentiable camera, Table 10; planned iterations from the
# published configurations.
_VISUAL_SHAC_CHANGES: dict[str, dict[str, Any]] = {
    "cartpole": {"iterations": 800},
    "ant": {"num_envs": 32, "horizon": 8},
    "humanoid": {"num_envs": 32},
}
_VISUAL_SHAC_ITERATIONS = 2_000

# What a CPU changes: smaller images, whose time grows with their area, and fewer environments: the
# gradient is exact enough that more and smaller updates learn more from as many images. Robots that
# walk learn faster and more steadily with a shorter horizon and smaller steps.
_CPU_CHANGES: dict[str, Any] = {"image_size": 48, "num_envs": 16}
_CPU_WALKING: dict[str, Any] = {
    "horizon": 16,
    "actor_learning_rate": 1e-3,
    "iterations": 14_000,
}
_CPU_TASKS: dict[str, dict[str, Any]] = {"cartpole": {"iterations": 1_200}}

# What a GPU changes: its time goes into steps one after the other, far less into environments side
# by side. Robots that walk reach a return in fewer iterations with four times the environments, and
# an iteration of half the horizon has half the steps.
_FAST_CHANGES: dict[str, Any] = {"num_envs": 256, "horizon": 16, "iterations": 8_000}
_FAST_TASKS: dict[str, dict[str, Any]] = {
    "cartpole": {"horizon": 32, "iterations": 600},
    "hopper": {"actor_learning_rate": 1e-3, "iterations": 6_000},
    "cheetah": {"actor_learning_rate": 4e-3},
    "ant": {"iterations": 12_000},
    "humanoid": {"iterations": 20_000},
    "anymal": {"iterations": 2_000},
}


def preset(
    algo: str, task: str, name: PresetName = "paper", observe: Observe | None = None
) -> LearnerConfig:
    """Builds the hyperparameters of an algorithm for a task.

    Args:
        algo: a key of `ALGORITHMS`, such as "dva".
        task: name of the task, such as "cartpole". A task the paper does not have gets the
            published values of Cheetah and Ant (networks of medium size, 30 000 iterations): a
            start to tune from. Whether the task exists is not checked here.
        name: a key of `PRESETS`. For policies that see states "cpu" is "paper".
        observe: what the policy sees; the algorithm's own default unless given.

    Returns:
        A config of its own, free to be changed.

    Raises:
        ValueError: there is no such algorithm, preset or observation.
    """
    kind = _lookup("algorithm", algo, ALGORITHMS).config_class
    values = vars(_DVA_PAPER.get(task, _OTHER_PAPER)).copy()
    _lookup("preset", name, PRESETS)
    values["observe"] = observe or kind().observe
    if values["observe"] == "state":
        values |= {"iterations": _STATE_ITERATIONS, **_STATE_CHANGES.get(task, {})}
    else:
        if algo == "shac":
            values |= {"camera": "differentiable", "iterations": _VISUAL_SHAC_ITERATIONS}
            values |= _VISUAL_SHAC_CHANGES.get(task, {})
        if name == "cpu":
            values |= _CPU_CHANGES | _CPU_TASKS.get(task, _CPU_WALKING)
    if name == "fast":
        values |= _FAST_CHANGES | _FAST_TASKS.get(task, {})
    known = {field.name for field in fields(kind)}
    return kind(**{key: value for key, value in values.items() if key in known})


def _lookup(kind: str, key: str, table: dict[str, Any]) -> Any:
    if key not in table:
        raise ValueError(f"No preset for {kind} {key!r}. Choose one of: {', '.join(table)}.")
    return table[key]
