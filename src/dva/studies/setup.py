"""Learners for studies, built as `dva train` builds them."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from dva.learning import Learner
from dva.runs.config import default_config
from dva.runs.evaluation import make_env
from dva.studies.report import StudyConfig

__all__ = ["ComparisonConfig", "learners_to_compare", "new_learner"]


@dataclasses.dataclass
class ComparisonConfig(StudyConfig):
    """What a study can be told that compares gradients at moments of training."""

    tasks: tuple[str, ...] = ("cartpole", "hopper")
    """Tasks, from pixels and from states."""
    iterations: int = 3
    """Training iterations before and between the comparisons."""
    comparisons: int = 3
    """Comparisons of each task and observation."""


def new_learner(
    task: str,
    algo: str,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    preset: str = "paper",
    **changes: Any,
) -> Learner:
    """Makes a learner with environments of its own, reset.

    Args:
        threads: CPU threads, as for `Learner`.
        changes: hyperparameters that differ from the preset.
    """
    from dva.learning import ALGORITHMS

    config = default_config(task, algo, preset, device=device, seed=seed, **changes)
    env = make_env(config, config.learner.num_envs, seed=seed, threads=threads)
    env.reset()
    return ALGORITHMS[algo].learner_class(env, config.learner, seed=seed, threads=threads)


def learners_to_compare(
    config: ComparisonConfig, algo: str, num_envs: int
) -> Iterator[tuple[Learner, int, dict[str, Any]]]:
    """Trains on each task, from pixels and from states, and stops for each comparison.

    Args:
        algo: what trains.
        num_envs: environments, unless the paper's size is asked for.

    Yields:
        The learner, a seed for the comparison, and what to call it in its row.
    """
    small: dict[str, Any] = {}
    if not config.full:
        small = {"num_envs": num_envs, "horizon": 16, "image_size": 48}
    for task in config.tasks:
        for observe in ("pixels", "state"):
            learner = new_learner(
                task, algo, config.seed, config.device, observe=observe, precision="float32",
                **small,
            )  # fmt: skip
            for index in range(config.comparisons):
                for _ in range(config.iterations):
                    learner.iterate()
                name = {"task": task, "observe": observe, "iteration": learner.iteration}
                yield learner, config.seed + index, name
