"""Checkpoints: tensors in safetensors, everything else in JSON beside them; nothing is pickled.

A checkpoint is a pair `step-000000012345.safetensors` and `.json`, named by environment steps;
`latest.json` and `best.json` point to one by name. Every file is written under a temporary name,
flushed to the disk and renamed, the pointer last, so that a kill at any moment leaves the former
checkpoint whole. A pointer holds the SHA-256 digest of the info file, and the info file that of the
tensors: what is read is what was written, or is refused. Nothing falls back to an older checkpoint
by itself. An error names the other one if that is whole; to train on from it, copy its pointer over
the damaged one.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch

from dva.compute.errors import UsageError, explain_file_errors, one_line, require_known
from dva.compute.files import file_digest, is_temporary, write_tensors
from dva.runs.files import parse_object, read_json_object, write_json

__all__ = [
    "Checkpoint",
    "live_infos",
    "load_checkpoint",
    "read_info",
    "read_pointer",
    "save_checkpoint",
]

Result = TypeVar("Result")

FORMAT = 2
"""Version of the layout; a reader refuses what it does not know."""
POINTERS = ("latest", "best")
_OPTIONAL = {"wall_time": 0.0, "return": None, "best_return": None}
"""Entries of an info file that a caller may leave out, and what is written then."""
_STEM = re.compile(r"step-\d{12,}(-\d+)?", re.ASCII)
_FORMER_STEM = re.compile(r"iteration-\d+", re.ASCII)
"""Names of format 1, whose pointers did not say their format."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass
class Checkpoint:
    """What a checkpoint holds."""

    tensors: dict[str, torch.Tensor]
    """State of the learner by name."""
    info: dict[str, Any]
    """Iteration, environment steps, wall time, best return and the like."""
    path: Path
    """The safetensors file that it was read from."""


class _Damaged(Exception):
    """What is wrong with a file of a checkpoint."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path} is damaged: {fault}.")


# ---------------------------------------------------------------------- writing


def save_checkpoint(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    info: Mapping[str, Any],
    pointers: tuple[str, ...] = ("latest",),
) -> Path:
    """Writes a checkpoint and points `pointers` to it; removes those that no pointer names.

    Args:
        folder: where to; made if need be.
        tensors: state by name, any shape, dtype and device.
        info: finite JSON values; must hold "iteration" and "env_steps", which names the file.
        pointers: among "latest" and "best".

    Returns:
        The safetensors file.

    Raises:
        TypeError: a value in `tensors` is not a tensor, or one in `info` no JSON value; nothing has
            been written then.
        ValueError: a number in `info` is not finite; nothing has been written either.
        FileError: the disk is full, the folder is read-only, or the like; the former checkpoint
            is whole.
    """
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"State {name!r} is a {type(value).__name__}; checkpoints hold tensors."
            )
    json.dumps({**_OPTIONAL, **info}, allow_nan=False)  # before anything is written
    with explain_file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = _free_path(folder, int(info["env_steps"]))
    digest = write_tensors(path, tensors)
    whole_info = {**_OPTIONAL, **info, "format": FORMAT, "sha256": digest}
    write_json(path.with_suffix(".json"), whole_info)
    pointer_value = {
        "format": FORMAT,
        "checkpoint": path.stem,
        "sha256": file_digest(path.with_suffix(".json")),
    }
    # "latest" last: its info knows the best return already, so after a kill between the two a
    # resumed run would never point to this checkpoint as the best one.
    for pointer in sorted(pointers, key=lambda name: name == "latest"):
        write_json(folder / f"{pointer}.json", pointer_value)
    _remove_unnamed(folder)
    return path


def _free_path(folder: Path, env_steps: int) -> Path:
    """Returns a name for a new checkpoint that no pointer names: a kill must not damage that one.

    A run that was killed and trains the same steps again comes by such names.
    """
    stem = f"step-{env_steps:012d}"
    taken = {path.stem for path in folder.glob(f"{stem}*") if _is_named(folder, path.stem)}
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(POINTERS) + 2))]
    return folder / f"{next(name for name in names if name not in taken)}.safetensors"


def _is_named(folder: Path, stem: str) -> bool:
    """Tells whether a pointer names a checkpoint, or may do so because it cannot be read."""
    for pointer in POINTERS:
        try:
            value = _read_pointer_file(folder / f"{pointer}.json")
        except (_Damaged, UsageError):
            return True
        if value is not None and value["checkpoint"] == stem:
            return True
    return False


def live_infos(folder: Path) -> list[dict[str, Any]]:
    """Reads the info of every checkpoint that a pointer names, or may name; oldest first."""
    infos = []
    for path in sorted(_files(folder, ".json"), key=lambda path: _order(path.stem)):
        if _is_named(folder, path.stem):
            with contextlib.suppress(UsageError):  # a damaged one cannot be loaded either
                infos.append(read_json_object(path))
    return infos


def _files(folder: Path, *suffixes: str) -> list[Path]:
    """Lists the files of checkpoints; what others have put beside them is theirs."""
    return [
        path
        for path in folder.glob("step-*")
        if path.suffix in suffixes and _STEM.fullmatch(path.stem) and path.is_file()
    ]


def _remove_unnamed(folder: Path) -> None:
    for path in _files(folder, ".json", ".safetensors"):
        if not _is_named(folder, path.stem):
            path.unlink(missing_ok=True)
    for path in folder.glob(".*"):
        if path.is_file() and any(is_temporary(path, name) for name in (*POINTERS, "step-")):
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------------- reading


def read_pointer(folder: Path, pointer: str) -> Path | None:
    """Returns the safetensors file that "latest" or "best" points to, or None if there is none.

    Raises:
        UsageError: the pointer is damaged, names no checkpoint of this folder, or has another
            format.
    """
    try:
        found = _resolve(folder, pointer)
    except _Damaged as error:
        raise UsageError(f"{error} {_advice(folder, pointer)}") from error
    return None if found is None else folder / f"{found['checkpoint']}.safetensors"


def load_checkpoint(folder: Path, pointer: str = "latest") -> Checkpoint:
    """Reads the checkpoint that a pointer names, onto the CPU.

    It never falls back to the other one, whose training is another: ask for "best" by name, or
    copy best.json over latest.json.

    Raises:
        UsageError: there is none, it is damaged, or another version wrote it; one line that names
            the file, the fault, and the other checkpoint if that is whole.
    """
    require_known("checkpoint", pointer, POINTERS)
    checkpoint = _settled(folder, pointer, lambda: _read(folder, pointer))
    if checkpoint is None:
        until = "one is saved" + (" after an episode has ended" if pointer == "best" else "")
        raise UsageError(
            f"There is no {pointer} checkpoint under {folder}. Train on until {until}."
        )
    return checkpoint


def read_info(folder: Path, pointer: str = "latest") -> dict[str, Any] | None:
    """Reads the info of the checkpoint that a pointer names; None where there is none.

    Raises:
        UsageError: as `load_checkpoint`.
    """
    found = _settled(folder, pointer, lambda: _read_info(folder, pointer))
    return None if found is None else found[1]


def _settled(folder: Path, pointer: str, read: Callable[[], Result]) -> Result:
    """Reads, and once more if training has saved another checkpoint meanwhile: it then removes the
    files of the former.

    Raises:
        UsageError: what the pointer names is damaged.
    """

    def content() -> bytes | None:
        try:
            return (folder / f"{pointer}.json").read_bytes()
        except OSError:
            return None

    while True:
        before = content()
        try:
            return read()
        except _Damaged as error:
            if content() == before:
                raise UsageError(f"{error} {_advice(folder, pointer)}") from error


def _read(folder: Path, pointer: str) -> Checkpoint | None:
    """Reads a checkpoint along the chain of digests; None where there is no such pointer."""
    found = _read_info(folder, pointer)
    if found is None:
        return None
    path, info = found
    try:
        # Read twice, not held twice: tensors may fill most of the memory.
        if file_digest(path) != info["sha256"]:
            raise _Damaged(path, f"its digest is not the one in {path.stem}.json")
        tensors = safetensors.torch.load_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise _Damaged(path, f"it holds no tensors ({one_line(error)})") from error
    return Checkpoint(tensors=tensors, info=info, path=path)


def _read_info(folder: Path, pointer: str) -> tuple[Path, dict[str, Any]] | None:
    """Reads the info that a pointer names, and the path of its tensors; None without pointer."""
    value = _resolve(folder, pointer)
    if value is None:
        return None
    path = folder / f"{value['checkpoint']}.safetensors"
    info_path = path.with_suffix(".json")
    try:
        content = info_path.read_bytes()
    except OSError as error:
        raise _unreadable(info_path, error) from error
    if hashlib.sha256(content).hexdigest() != value["sha256"]:
        raise _Damaged(info_path, f"its digest is not the one in {pointer}.json")
    try:
        info = parse_object(content)
    except ValueError as error:
        raise _Damaged(info_path, str(error)) from error
    fault = _fault_of_info(info)
    if fault is None and info["env_steps"] != _order(path.stem)[0]:
        fault = f'"env_steps" is {info["env_steps"]}, not the number in the name'
    if fault is not None:
        raise _Damaged(info_path, fault)
    return path, info


def _unreadable(path: Path, error: OSError) -> _Damaged:
    if isinstance(error, FileNotFoundError):
        return _Damaged(path, "it is missing")
    return _Damaged(path, f"it cannot be read ({one_line(error.strerror or error)})")


def _resolve(folder: Path, pointer: str) -> dict[str, Any] | None:
    """Returns the content of a pointer's file, or None if there is no such checkpoint.

    A kill during the very first save can leave best.json alone. What it names is then the latest
    checkpoint as well, unless a newer one shows that latest.json has been lost.
    """
    path = folder / f"{pointer}.json"
    value = _read_pointer_file(path)
    if value is not None or pointer != "latest":
        return value
    value = _read_pointer_file(folder / "best.json")
    if value is None:
        return None
    newest = max((file.stem for file in _files(folder, ".json")), key=_order, default="")
    if _order(newest) > _order(value["checkpoint"]):
        raise _Damaged(path, f"it is missing, though there is {newest}.json")
    return value


def _order(stem: str) -> tuple[int, ...]:
    return tuple(int(part) for part in stem.split("-")[1:] if part.isdigit())


def _read_pointer_file(path: Path) -> dict[str, Any] | None:
    """Reads a pointer; None where there is none.

    Raises:
        _Damaged: it does not name a checkpoint of its folder.
        UsageError: another version wrote it.
    """
    if not path.exists() and not path.is_symlink():
        return None
    try:
        value = read_json_object(path)
    except UsageError as error:
        raise _Damaged(path, one_line(error).partition(": ")[2]) from error
    stem, version, digest = (value.get(key) for key in ("checkpoint", "format", "sha256"))
    if isinstance(stem, str) and version is None and _FORMER_STEM.fullmatch(stem):
        version = 1
    _require_format(path, version)
    if not isinstance(stem, str) or not _STEM.fullmatch(stem):
        raise _Damaged(
            path, f"{stem!r:.80} is not the name of a checkpoint, such as step-000000012345"
        )
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise _Damaged(path, f'"sha256" is {digest!r:.80}, not a digest of 64 hexadecimal digits')
    return value


def _require_format(path: Path, version: object) -> None:
    if isinstance(version, bool) or not isinstance(version, int):
        raise _Damaged(path, f'"format" is {version!r:.40}, not a number')
    if version != FORMAT:
        raise UsageError(
            f"{path} belongs to a checkpoint of format {version!r:.40}; this version of dva reads "
            f"format {FORMAT}. Use the version of dva that the run's config.yaml names, or train "
            "anew."
        )


def _fault_of_info(info: Mapping[str, Any]) -> str | None:
    """Says what is wrong with an info file's entries; only those that training reads count."""

    def is_number(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30

    for name in ("iteration", "env_steps"):
        value = info.get(name)
        if not isinstance(value, int) or not is_number(value) or value < 0:
            return f'"{name}" is {value!r:.40}, not a whole number from 0 on'
    if info["iteration"] > info["env_steps"]:
        return f'"iteration" is {info["iteration"]}, more than "env_steps": {info["env_steps"]}'
    wall_time = info.get("wall_time")
    if not is_number(wall_time) or wall_time < 0:  # type: ignore[operator]
        return f'"wall_time" is {wall_time!r:.40}, not a number of seconds'
    for name in ("return", "best_return"):
        value = info.get(name, ...)
        if value is not None and not is_number(value):
            return f'"{name}" is {value!r:.40}, neither a number nor null'
    if info.get("format") != FORMAT:
        return f'"format" is {info.get("format")!r:.40}, but that of its pointer is {FORMAT}'
    if not isinstance(info.get("sha256"), str):
        return f'"sha256" is {info.get("sha256")!r:.40}, not a digest'
    return None


def _advice(folder: Path, pointer: str) -> str:
    """Says what to do about a damaged checkpoint: names the other one if that is whole."""
    other = "best" if pointer == "latest" else "latest"
    try:
        found = _read(folder, other) if (folder / f"{other}.json").is_file() else None
    except (_Damaged, UsageError):
        found = None
    if found is None:
        return f"There is no other whole checkpoint in {folder}: start a new run."
    text = (
        f"The {other} checkpoint, {found.path.name} of iteration {found.info['iteration']}, is "
        f"whole: give --checkpoint {other} to evaluate it"
    )
    copy = f"copy {folder / 'best.json'} over {folder / 'latest.json'}"
    return f"{text}; to train on from it, {copy}." if other == "best" else f"{text}."
