"""The policy of a run, loaded without a simulator or a camera."""

from pathlib import Path

from dva import learning
from dva.compute.device import resolve_device
from dva.compute.errors import UsageError, one_line, usage_errors
from dva.compute.precision import Precision
from dva.learning.state import strip_prefix
from dva.policies import SavedPolicy
from dva.runs.checkpoint import Checkpoint, load_checkpoint
from dva.runs.layout import check_layout
from dva.runs.run import Run

__all__ = ["POLICY", "load_policy", "policy_of"]

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
    return policy_of(run, load_checkpoint(run.checkpoints, checkpoint), device, threads)


def policy_of(
    run: Run,
    checkpoint: Checkpoint,
    device: str | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
) -> SavedPolicy:
    """Rebuilds the policy that one of a run's checkpoints holds; see `load_policy`.

    Args:
        precision: arithmetic of a policy whose description names one; None: as it says.

    Raises:
        UsageError: the checkpoint holds none of the run's algorithm.
    """
    with usage_errors():
        entry = learning.get(run.config.algo)
        where = resolve_device(run.config.run.device if device is None else device)
    try:
        description = dict(checkpoint.info[POLICY])
        if precision is not None and "precision" in description:
            description["precision"] = precision
        policy = entry.policy.rebuild(description, where, threads)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{checkpoint.path.with_suffix('.json')} does not describe a policy of "
            f"{run.config.algo}: {one_line(error)}."
        ) from error
    tensors = strip_prefix(POLICY, checkpoint.tensors)
    check_layout(checkpoint.path, tensors, policy.state_dict())
    policy.load_state_dict(tensors)
    return policy
