"""Named sets of hyperparameters for each algorithm and task."""

from dataclasses import replace
from typing import Any, Literal

from dva.learning.config import DvaConfig

__all__ = ["PresetName", "preset"]

PresetName = Literal["paper", "cpu"]

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

_PAPER: dict[str, dict[str, DvaConfig]] = {"dva": _DVA_PAPER}

# What a CPU changes: smaller images, whose time grows with their area, and fewer environments, since
# the gradient is exact enough that more and smaller steps learn more from the same number of images.
_CPU_CHANGES: dict[str, Any] = {"image_size": 48, "num_envs": 16}
_CPU_ITERATIONS: dict[str, int] = {"cartpole": 1_200}


def preset(algo: str, task: str, name: PresetName = "paper") -> DvaConfig:
    """Builds the hyperparameters of an algorithm for a task.

    Args:
        algo: name of the algorithm, such as "dva".
        task: name of the task, such as "cartpole".
        name: "paper" for the published values, "cpu" for values that suit a machine without GPU.

    Returns:
        A config of its own, free to be changed.

    Raises:
        ValueError: there is no such algorithm, task or preset.
    """
    tasks = _lookup("algorithm", algo, _PAPER)
    paper = _lookup("task", task, tasks)
    cpu = {**_CPU_CHANGES, "iterations": _CPU_ITERATIONS.get(task, paper.iterations)}
    changes = _lookup("preset", name, {"paper": {}, "cpu": cpu})
    return replace(paper, **changes)


def _lookup(kind: str, key: str, table: dict[str, Any]) -> Any:
    if key not in table:
        raise ValueError(f"No preset for {kind} {key!r}. Choose one of: {', '.join(table)}.")
    return table[key]
