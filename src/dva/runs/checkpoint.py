"""Checkpoints: tensors in safetensors, everything else in JSON beside them; nothing is pickled.

A checkpoint is a pair `iteration-000050.safetensors` and `.json`; `latest.json` and `best.json`
point to one by name. Every file is written under a temporary name, flushed to the disk and renamed,
the pointer last, so that a kill at any moment leaves the former checkpoint whole.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from dva.compute.errors import UsageError

__all__ = ["Checkpoint", "load_checkpoint", "read_pointer", "save_checkpoint", "write_atomically"]

FORMAT = 1
"""Version of the layout; a reader refuses what it does not know."""
POINTERS = ("latest", "best")


@dataclass
class Checkpoint:
    """What a checkpoint holds."""

    tensors: dict[str, torch.Tensor]
    """State of the learner by name."""
    info: dict[str, Any]
    """Iteration, environment steps, wall time, best return and the like."""
    path: Path
    """The safetensors file that it was read from."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, then moves it there in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.chmod(temporary, 0o644)  # safetensors lets nobody else read
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Forces a file or a folder entry to the disk, so that a power cut cannot undo a rename."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


def save_checkpoint(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    info: Mapping[str, Any],
    pointers: tuple[str, ...] = ("latest",),
) -> Path:
    """Writes a checkpoint and points `pointers` to it; removes those no pointer names.

    Args:
        tensors: state by name, any shape, dtype and device.
        info: must hold "iteration" (names the file); JSON values.
        pointers: among "latest" and "best".

    Returns:
        The safetensors file.

    Raises:
        TypeError: a value in `tensors` is not a tensor.
    """
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"State {name!r} is a {type(value).__name__}; checkpoints hold tensors."
            )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"iteration-{int(info['iteration']):06d}.safetensors"
    # A copy each: safetensors refuses tensors that share memory or are not contiguous.
    copies = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }
    write_atomically(path, lambda temporary: safetensors.torch.save_file(copies, temporary))
    _write_json(path.with_suffix(".json"), {"format": FORMAT, **info})
    # "latest" last: its info knows the best return already, so after a kill between the two a
    # resumed run would never point to this checkpoint as the best one.
    for pointer in sorted(pointers, key=lambda name: name == "latest"):
        _write_json(folder / f"{pointer}.json", {"checkpoint": path.stem})
    _remove_unnamed(folder)
    return path


def read_pointer(folder: Path, pointer: str) -> Path | None:
    """Returns the safetensors file that "latest" or "best" points to, or none if there is none."""
    path = folder / f"{pointer}.json"
    if not path.is_file():
        return None
    return folder / f"{json.loads(path.read_text())['checkpoint']}.safetensors"


def _remove_unnamed(folder: Path) -> None:
    kept = {path.stem for name in POINTERS if (path := read_pointer(folder, name)) is not None}
    for path in folder.glob("iteration-*"):
        if path.stem not in kept:
            path.unlink(missing_ok=True)
    for path in folder.glob(".*.tmp"):  # left by a process that was killed while writing
        path.unlink(missing_ok=True)


def load_checkpoint(folder: Path, pointer: str = "latest") -> Checkpoint:
    """Reads the checkpoint that a pointer names, onto the CPU.

    Raises:
        UsageError: there is none, it is damaged, or a newer version wrote it.
    """
    if pointer not in POINTERS:
        raise UsageError(f"Unknown checkpoint {pointer!r}. Allowed: {', '.join(POINTERS)}.")
    path = read_pointer(folder, pointer)
    if path is None:
        until = "one is saved" + (" after an episode has ended" if pointer == "best" else "")
        raise UsageError(
            f"There is no {pointer} checkpoint under {folder}. Train on until {until}."
        )
    try:
        info = json.loads(path.with_suffix(".json").read_text())
        tensors = safetensors.torch.load_file(path)
    except (OSError, json.JSONDecodeError, safetensors.SafetensorError) as error:
        raise UsageError(
            f"Checkpoint {path} cannot be read ({error}). The other checkpoint may be whole: "
            "try --checkpoint best."
        ) from error
    if info.get("format") != FORMAT:
        raise UsageError(
            f"Checkpoint {path} has format {info.get('format')!r}; this version reads {FORMAT}. "
            "Use the version of dva named in the run's config.yaml."
        )
    return Checkpoint(tensors=tensors, info=info, path=path)
