"""What a checkpoint holds of an algorithm, and how it comes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors
import torch

from dva.compute.errors import UsageError, one_line
from dva.learning import Algorithm
from dva.learning.state import add_prefix, strip_prefix
from dva.runs.checkpoint import FIX, Checkpoint, check_layout, refuse_nan
from dva.runs.policy import POLICY

__all__ = ["collect_tensors", "load_tensors", "restore_random_state"]

RNG = "torch_generator"
"""Name of torch's own random state among a checkpoint's tensors."""
ALGORITHM = "algorithm"
"""Prefix of the algorithm's tensors in a checkpoint."""


def collect_tensors(algorithm: Algorithm) -> dict[str, torch.Tensor]:
    """Names all tensors that a checkpoint holds."""
    return {
        **add_prefix(POLICY, algorithm.policy.state_dict()),
        **add_prefix(ALGORITHM, algorithm.state_dict()),
        **_random_state(),
    }


def load_tensors(checkpoint: Checkpoint, algorithm: Algorithm, algo: str) -> None:
    """Puts an algorithm back to a checkpoint; torch's random state is left as it is.

    Only the policy's tensors have a layout that is known beforehand. What else an algorithm keeps
    may appear in training, as the moments of an optimizer do: the algorithm judges that itself, and
    must then hold what the file holds.

    Args:
        checkpoint: what `collect_tensors` returned, from a file.
        algorithm: a new one of the same configuration.
        algo: its name, for messages.

    Raises:
        UsageError: a tensor is missing or unknown, of another shape or dtype, or holds a NaN, or
            one of the policy's an infinity; one line that names file and fault.
    """
    path, tensors = checkpoint.path, checkpoint.tensors
    policy, own = strip_prefix(POLICY, tensors), strip_prefix(ALGORITHM, tensors)
    ours = (f"{POLICY}.", f"{ALGORITHM}.")
    others = {name: value for name, value in tensors.items() if not name.startswith(ours)}
    check_layout(path, policy, algorithm.policy.state_dict())
    check_layout(path, others, _random_state())
    refuse_nan(path, own)
    with _one_line_errors(path, algo):
        algorithm.load_state_dict(own)
    check_layout(path, own, algorithm.state_dict(), finite=False)


def restore_random_state(checkpoint: Checkpoint) -> None:
    """Puts torch's random state back to a checkpoint: the last step, as loading may draw."""
    torch.set_rng_state(checkpoint.tensors[RNG])


def _random_state() -> dict[str, torch.Tensor]:
    return {RNG: torch.get_rng_state()}


@contextmanager
def _one_line_errors(path: Path, algo: str) -> Iterator[None]:
    """Turns what an algorithm raises about a state that does not fit into one line."""
    try:
        yield
    except (UsageError, torch.OutOfMemoryError):
        raise
    except (
        LookupError, TypeError, ValueError, RuntimeError, EOFError, safetensors.SafetensorError
    ) as error:  # fmt: skip
        lacking = isinstance(error, KeyError)
        fault = f"it lacks {one_line(error)}" if lacking else one_line(error)
        raise UsageError(f"{path} does not fit algorithm {algo}: {fault}. {FIX}") from error
