"""The policy of a run, loaded without a simulator or a camera; and environments that fit it."""

from pathlib import Path

import torch

from dva import learning
from dva.compute.device import resolve_device
from dva.compute.errors import UsageError, one_line, usage_errors
from dva.envs import VectorEnv
from dva.learning.state import strip_prefix
from dva.policies import SavedPolicy
from dva.runs.build import build_env, threads_of
from dva.runs.checkpoint import load_checkpoint
from dva.runs.evaluation import Evaluation, evaluate
from dva.runs.layout import check_layout
from dva.runs.run import Run

__all__ = ["POLICY", "evaluate_run", "load_policy", "make_env"]

POLICY = "policy"
"""Prefix of the policy's tensors in a checkpoint, and key of its description in the info."""


def load_policy(
    run: Run | str | Path,
    checkpoint: str = "latest",
    device: str | None = None,
    threads: int | None = None,
) -> SavedPolicy:
    """Loads the policy of a run. No simulator and no camera is built.

    Args:
        run: a run or its folder.
        checkpoint: "latest" or "best" (by the running return).
        device: "auto", "cpu" or "cuda"; None: what the run asked for.
        threads: CPU threads for work side by side; None leaves parallelism to torch.

    Returns:
        The policy; `observation_spec` says what it reads, `make_env` makes an environment that
        shows it.

    Raises:
        UsageError: there is no such run or checkpoint, or it cannot be read.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    found = load_checkpoint(run.checkpoints, checkpoint)
    with usage_errors():
        entry = learning.get(run.config.algo)
        where = resolve_device(run.config.run.device if device is None else device)
    try:
        policy = entry.policy.rebuild(found.info[POLICY], where, threads)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{found.path.with_suffix('.json')} does not describe a policy of {run.config.algo}: "
            f"{one_line(error)}."
        ) from error
    tensors = strip_prefix(POLICY, found.tensors)
    check_layout(found.path, tensors, policy.state_dict())
    policy.load_state_dict(tensors)
    return policy


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
) -> Evaluation:
    """Evaluates the policy of a run; see `load_policy` and `evaluate`.

    Raises:
        UsageError: there is no such run or checkpoint, or a value is not allowed.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    with torch.random.fork_rng(devices=[]), threads_of(run.config, device) as threads:
        return evaluate(
            load_policy(run, checkpoint, device, threads),
            lambda num_envs: make_env(run, num_envs, device, threads=threads),
            episodes,
            video=video,
        )
