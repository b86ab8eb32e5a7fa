"""Environments that fit the policy of a run, and its evaluation."""

from pathlib import Path

import torch

from dva.envs import VectorEnv
from dva.runs.build import build_env, threads_of
from dva.runs.evaluation import Evaluation, evaluate
from dva.runs.policy import load_policy
from dva.runs.run import Run

__all__ = ["evaluate_run", "make_env"]


def make_env(
    run: Run | str | Path,
    num_envs: int = 1,
    device: str | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> VectorEnv:
    """Makes environments that fit the policy of a run: its task, sensors and sizes.

    Args:
        run: a run or its folder.
        num_envs: number of environments.
        device: "auto", "cpu" or "cuda"; None: what the run asked for.
        seed: of the starts.
        threads: CPU threads; None: what the run asked for.

    Raises:
        UsageError: there is no such run, or this machine has no such device.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    return build_env(run.config, num_envs, device, seed, threads)


def evaluate_run(
    run: Run | str | Path,
    episodes: int = 64,
    checkpoint: str = "latest",
    device: str | None = None,
    video: str | Path | None = None,
    threads: int | None = None,
) -> Evaluation:
    """Evaluates the policy of a run; see `load_policy` and `evaluate`.

    Args:
        run: a run or its folder.
        episodes: number of episodes, one per environment.
        checkpoint: "latest" or "best".
        device: "auto", "cpu" or "cuda"; None: what the run asked for.
        video: MP4 file of the first four episodes.
        threads: CPU threads; None: what the run asked for.

    Raises:
        UsageError: there is no such run or checkpoint, or a value is not allowed.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    with (
        torch.random.fork_rng(devices=[]),
        threads_of(run.config, device, threads=threads) as threads,
    ):
        return evaluate(
            load_policy(run, checkpoint, device, threads),
            lambda num_envs: make_env(run, num_envs, device, threads=threads),
            episodes,
            video=video,
        )
