"""Learners for studies, built as `dva train` builds them."""

from typing import Any

from dva.learning import Learner
from dva.runs.config import default_config
from dva.runs.evaluation import make_env

__all__ = ["new_learner"]


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
