"""What a checkpoint holds of an algorithm, and how it comes back."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch

from dva.compute.distributed import Group
from dva.compute.errors import UsageError, explain_file_errors, one_line
from dva.learning import Algorithm, AlgorithmEntry
from dva.learning.state import add_prefix, strip_prefix
from dva.runs.checkpoint import Checkpoint, live_infos, load_checkpoint, read_pointer
from dva.runs.layout import FIX, check_layout, layout_fault, refuse_nan
from dva.runs.policy import POLICY
from dva.runs.run import Run

__all__ = [
    "collect_tensors",
    "load_large_state",
    "load_tensors",
    "require_agreement",
    "require_savable",
    "restore_learner",
    "save_large_state",
]

RNG = "torch_generator"
"""Name of torch's own random state among a checkpoint's tensors."""
CUDA_RNG = "torch_cuda_generator"
"""Name of torch's random state on the GPU, where one is used."""
ALGORITHM = "algorithm"
"""Prefix of the algorithm's tensors in a checkpoint."""
LARGE_STATE = "large_state"
"""Key of a large state's marker in the info, and its folder in the run."""


def collect_tensors(algorithm: Algorithm, device: torch.device) -> dict[str, torch.Tensor]:
    """Names all tensors that a checkpoint holds of an algorithm that trains on a device."""
    return {
        **add_prefix(POLICY, algorithm.policy.state_dict()),
        **add_prefix(ALGORITHM, algorithm.state_dict()),
        **_random_state(device),
    }


def require_savable(algorithm: Algorithm, entry: AlgorithmEntry, device: torch.device) -> None:
    """Makes sure, before training, that a checkpoint could be written and its policy rebuilt.

    Args:
        algorithm: a new one.
        entry: its entry.
        device: where it trains.

    Raises:
        UsageError: it could not; one line that names the algorithm and the fault.
    """
    policy = algorithm.policy
    text = encode(f"The description of {entry.name}'s policy", policy.description())
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # a new network draws its weights
        try:
            rebuilt = entry.policy.rebuild(json.loads(text), device)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UsageError(
                f"{entry.policy.__name__}.rebuild cannot read the description of {entry.name}'s "
                f"policy: {type(error).__name__}: {one_line(error)}. Let description() return all "
                "that it needs."
            ) from error
    fault = layout_fault(policy.state_dict(), rebuilt.state_dict())
    if fault is not None:
        raise UsageError(
            f"A rebuilt policy of {entry.name} differs from the trained one, which {fault}. Let "
            "description() return all sizes that its tensors depend on."
        )
    for name, value in algorithm.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise UsageError(
                f"State {name!r} of {entry.name} is a {type(value).__name__}; checkpoints hold "
                "tensors. Return torch.tensor(...) of it."
            )


def encode(what: str, value: Any) -> str:
    """Writes JSON, in which numbers must be finite.

    Raises:
        UsageError: a value is of another kind; the text begins with `what`.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{what} cannot be saved as JSON: {one_line(error)}. Use finite numbers, texts, lists "
            "and dicts; None stands for what is not finite."
        ) from error


def load_tensors(
    checkpoint: Checkpoint, algorithm: Algorithm, algo: str, device: torch.device
) -> None:
    """Puts an algorithm back to a checkpoint; torch's random state is left as it is.

    Only the policy's tensors have a layout that is known beforehand. What else an algorithm keeps
    may appear in training, as the moments of an optimizer do: the algorithm judges that itself, and
    must then hold what the file holds.

    Args:
        checkpoint: what `collect_tensors` returned, from a file.
        algorithm: a new one of the same configuration.
        algo: its name, for messages.
        device: where it trains.

    Raises:
        UsageError: a tensor is missing or unknown, of another shape or dtype, or holds a NaN, or
            one of the policy's an infinity; one line that names file and fault.
    """
    path, tensors = checkpoint.path, checkpoint.tensors
    policy, own = strip_prefix(POLICY, tensors), strip_prefix(ALGORITHM, tensors)
    ours = (f"{POLICY}.", f"{ALGORITHM}.")
    others = {name: value for name, value in tensors.items() if not name.startswith(ours)}
    check_layout(path, policy, algorithm.policy.state_dict())
    expected = _random_state(device)
    if CUDA_RNG not in others:  # of a CPU, or of a version that did not save it
        expected.pop(CUDA_RNG, None)
    elif CUDA_RNG not in expected:  # a CPU has no use for it
        del others[CUDA_RNG]
    check_layout(path, others, expected)
    refuse_nan(path, own)
    with _one_line_errors(path, algo):
        algorithm.load_state_dict(own)
    check_layout(path, own, algorithm.state_dict(), finite=False)


def restore_learner(
    run: Run, algorithm: Algorithm, algo: str, device: torch.device
) -> Checkpoint | None:
    """Puts a new algorithm back to the run's latest checkpoint, and returns it; None without one.

    Args:
        run: has the checkpoint.
        algorithm: a new one of the same configuration.
        algo: its name, for messages.
        device: where it trains.

    Raises:
        UsageError: the checkpoint cannot be read, or does not fit.
    """
    if read_pointer(run.checkpoints, "latest") is None:
        return None
    checkpoint = load_checkpoint(run.checkpoints, "latest")
    load_tensors(checkpoint, algorithm, algo, device)
    load_large_state(algorithm, run, checkpoint)
    restore_random_state(checkpoint, algo, device)
    return checkpoint


def require_agreement(tensors: Mapping[str, torch.Tensor], group: Group) -> None:
    """Makes sure that the processes of a group hold the same state, by sums of its bytes.

    Args:
        tensors: what `collect_tensors` returned, in every process.

    Raises:
        RuntimeError: they do not; it names the tensors that differ.
    """
    if group.size == 1:
        return
    sums = [
        value.contiguous().flatten().view(torch.uint8).sum(dtype=torch.int64).cpu()
        for value in tensors.values()
    ]
    every = group.gather(torch.stack(sums)[None])  # (K, tensors)
    differs = (every != every[0]).any(0).tolist()
    names = [name for name, one in zip(tensors, differs, strict=True) if one]
    if names:
        raise RuntimeError(
            f"The processes of this run no longer hold the same {', '.join(names)}. Did they start "
            "with the same files and command? An algorithm must decide alike in all of them."
        )


def restore_random_state(checkpoint: Checkpoint, algo: str, device: torch.device) -> None:
    """Puts torch's random state back to a checkpoint: the last step, as loading may draw.

    Raises:
        UsageError: it is none.
    """
    with _one_line_errors(checkpoint.path, algo):
        torch.set_rng_state(checkpoint.tensors[RNG])
        if device.type == "cuda" and CUDA_RNG in checkpoint.tensors:
            torch.cuda.set_rng_state(checkpoint.tensors[CUDA_RNG], device)


def save_large_state(algorithm: Algorithm, run: Run) -> Mapping[str, Any] | None:
    """Lets a large state write itself; returns its marker, None where there is no such state.

    Raises:
        UsageError: its folder cannot be written, or the marker is no mapping of JSON values.
    """
    large, folder = algorithm.large_state, run.path / LARGE_STATE
    if large is None:
        return None
    infos = live_infos(run.checkpoints)
    live = [info[LARGE_STATE] for info in infos if isinstance(info.get(LARGE_STATE), Mapping)]
    with explain_file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        marker = large.save(folder, live)
    what = f"The marker that large_state.save of {run.config.algo} returned"
    if not isinstance(marker, Mapping):
        raise UsageError(f"{what} is {marker!r:.80}; it must be a mapping of JSON values.")
    encode(what, dict(marker))
    return marker


def load_large_state(algorithm: Algorithm, run: Run, checkpoint: Checkpoint) -> None:
    """Lets a large state read itself back, if the algorithm has one.

    Raises:
        UsageError: the checkpoint has no marker of it, or what the marker names cannot be read.
    """
    if algorithm.large_state is None:
        return
    folder, marker = run.path / LARGE_STATE, checkpoint.info.get(LARGE_STATE)
    if not isinstance(marker, Mapping):
        raise UsageError(
            f'{checkpoint.path.with_suffix(".json")}: "{LARGE_STATE}" is {marker!r:.80}, but '
            f"algorithm {run.config.algo} has large state and needs its marker. {FIX}"
        )
    with explain_file_errors(folder, "read"), _one_line_errors(folder, run.config.algo):
        algorithm.large_state.load(folder, marker)


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {RNG: torch.get_rng_state()}
    if device.type == "cuda":
        state[CUDA_RNG] = torch.cuda.get_rng_state(device)
    return state


@contextmanager
def _one_line_errors(path: Path, algo: str) -> Iterator[None]:
    """Turns what an algorithm raises about a state that does not fit into one line."""
    try:
        yield
    except (UsageError, torch.OutOfMemoryError):  # each is explained elsewhere
        raise
    except (
        LookupError, TypeError, ValueError, RuntimeError, EOFError, safetensors.SafetensorError
    ) as error:  # fmt: skip
        lacking = isinstance(error, KeyError)
        fault = f"it lacks {one_line(error)}" if lacking else one_line(error)
        raise UsageError(f"{path} does not fit algorithm {algo}: {fault}. {FIX}") from error
