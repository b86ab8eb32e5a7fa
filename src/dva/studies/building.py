"""Algorithms for studies, built as `dva train` builds them."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dva.learning.first_order.actor_critic import FirstOrderAlgorithm
from dva.runs import TrainConfig, build, default_config
from dva.runs.build import blind_envs
from dva.studies.report import StudyConfig

__all__ = ["ComparisonConfig", "algorithms_to_compare", "build_first_order", "first_order_config"]


@dataclasses.dataclass
class ComparisonConfig(StudyConfig):
    """Flags of a study that compares gradients at moments of training."""

    tasks: tuple[str, ...] = ("cartpole", "hopper")
    """Tasks, each from pixels and from states."""
    iterations: int = 3
    """Training iterations before the first comparison and between comparisons."""
    comparisons: int = 3
    """Comparisons of each task and observation."""


def first_order_config(
    task: str, algo: str, observe: str, iterations: int | None = None, **changes: Any
) -> TrainConfig:
    """Returns the paper's configuration of a first-order method, with some changes.

    Args:
        task: name of the task.
        algo: name of the algorithm.
        observe: what the policy sees.
        iterations: planned iterations; None: as many as the preset plans, whatever size an
            iteration has after the changes, and with the differentiable camera as many as it plans
            for SHAC.
        changes: fields of `EnvConfig`, `RunConfig` or the algorithm's own configuration; with
            `env_steps`, these are planned.

    Raises:
        UsageError: a name is not known, or a value is not allowed.
    """
    config = default_config(task, algo, "paper", observe=observe, **changes)
    if "env_steps" in changes:
        return config
    if iterations is None:
        # The published configurations of this camera plan as much for D.Va as for SHAC.
        planner = "shac" if config.env.camera == "differentiable" else algo
        usual = default_config(task, planner, "paper", observe=observe)
        iterations = usual.run.env_steps // _iteration_steps(usual)
    run = dataclasses.replace(config.run, env_steps=iterations * _iteration_steps(config))
    return dataclasses.replace(config, run=run)


def _iteration_steps(config: TrainConfig) -> int:
    """Counts the environment steps of one iteration of a first-order method."""
    return (config.env.num_envs + blind_envs(config)) * config.algorithm.horizon


@contextmanager
def build_first_order(config: TrainConfig) -> Iterator[FirstOrderAlgorithm]:
    """Builds a first-order method with environments of its own, which are reset.

    It is to be used inside the context, which shares the CPU's threads as training does.
    """
    with build(config) as built:
        assert isinstance(built.algorithm, FirstOrderAlgorithm)
        yield built.algorithm


def algorithms_to_compare(
    config: ComparisonConfig, algo: str, num_envs: int
) -> Iterator[tuple[FirstOrderAlgorithm, int, dict[str, Any]]]:
    """Trains on each task, from pixels and from states, and stops for each comparison.

    Args:
        config: flags of the study.
        algo: name of the algorithm that trains.
        num_envs: environments, unless the paper's size is asked for.

    Yields:
        The algorithm, a seed for the comparison, and the names that begin its row.
    """
    small: dict[str, Any] = {}
    if not config.full:
        small = {"num_envs": num_envs, "horizon": 16, "image_size": 48}
    for task in config.tasks:
        for observe in ("pixels", "state"):
            described = first_order_config(
                task, algo, observe, seed=config.seed, device=config.device,
                precision="float32", **small,
            )  # fmt: skip
            with build_first_order(described) as algorithm:
                for index in range(config.comparisons):
                    for _ in range(config.iterations):
                        algorithm.iterate()
                    name = {"task": task, "observe": observe, "iteration": algorithm.iteration}
                    yield algorithm, config.seed + index, name
