"""Files that are whole or absent, whatever ends the process while it writes them."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dva.compute.errors import UsageError, explain_file_errors, one_line

__all__ = ["is_temporary", "parse_object", "read_json_object", "write_atomically", "write_json"]


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, then moves it there in one step.

    Raises:
        FileError: the disk is full, the folder is read-only, or the like; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explain_file_errors(path):
        try:
            write(temporary)
            os.chmod(temporary, 0o644)  # safetensors lets nobody else read
            _flush(temporary)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # it has been renamed, or was never made
                temporary.unlink()
        _flush(path.parent)


def is_temporary(path: Path, name: str = "") -> bool:
    """Tells whether a killed `write_atomically` left this file (of a target called `name`)."""
    return path.name.startswith(f".{name}") and path.name.endswith(".tmp")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes an object of JSON values, atomically.

    Raises:
        FileError: as `write_atomically`.
        ValueError: a number is not finite.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a file that must hold one JSON object.

    Raises:
        UsageError: it cannot be read or holds something else; the text is one line that names the
            file and the fault.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {one_line(error.strerror or error)}.") from error
    try:
        return parse_object(content)
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}.") from error


def parse_object(content: bytes) -> dict[str, Any]:
    """Parses one JSON object.

    Raises:
        ValueError: it is something else; the text says what.
    """
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ValueError(f"no JSON ({one_line(error)})") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not a JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _flush(path: Path) -> None:
    """Forces a file or the entries of a folder to the disk: a power cut cannot undo a rename."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
