"""Metrics of a run: one JSON object per iteration in `metrics.jsonl`, the same in TensorBoard."""

import json
import math
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dva.compute.errors import UsageError, explain_file_errors
from dva.runs.events import EventWriter
from dva.runs.files import parse_object, write_atomically

__all__ = ["MetricsWriter", "is_timing", "peak_memory_mb", "read_metrics", "truncate_metrics"]

COUNTS = ("iteration", "env_steps", "nonfinite_count")


def is_timing(name: str) -> bool:
    """Tells whether a metric depends on the machine's speed or memory.

    All others repeat bit for bit on a CPU with the same command and seed.
    """
    timings = ("wall_time", "steps_per_second", "peak_memory_mb")
    return name in timings or name.startswith("seconds_")


def peak_memory_mb(device: torch.device) -> float:
    """Returns the most memory this process has held, in MiB; on CUDA that of the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _plain(name: str, value: Any) -> int | float | None:
    """Turns a metric into a JSON number; non-finite values become null."""
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if name in COUNTS else number


class MetricsWriter:
    """Appends rows to `metrics.jsonl` and to a TensorBoard event file.

    Args:
        path: the JSON lines file.
        tensorboard: folder of the event files; None: no TensorBoard.
        first_iteration: TensorBoard forgets what a killed session wrote from here on.

    Raises:
        FileError: a file cannot be written, here and in every method; the text is one line.
    """

    def __init__(self, path: Path, tensorboard: Path | None, first_iteration: int = 1) -> None:
        self._path = path
        with explain_file_errors(path):
            self._file = path.open("a", encoding="utf-8")
        self._events = None if tensorboard is None else EventWriter(tensorboard, first_iteration)

    def write(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Writes one iteration and returns it as plain JSON values.

        Args:
            row: must hold "iteration" and "env_steps".
        """
        plain = {name: _plain(name, value) for name, value in row.items()}
        with explain_file_errors(self._path):
            self._file.write(json.dumps(plain) + "\n")
            self._file.flush()  # a killed run keeps every finished row
        if self._events is not None:
            scalars = {
                name: value
                for name, value in plain.items()
                if value is not None and name != "iteration"
            }
            self._events.add(scalars, int(row["iteration"]))
        return plain

    def flush(self) -> None:
        """Hands everything written to the operating system."""
        with explain_file_errors(self._path):
            self._file.flush()
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        try:
            with explain_file_errors(self._path):
                self._file.close()
        finally:
            if self._events is not None:
                self._events.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads every whole row; a last line cut short by a kill is left out.

    Raises:
        UsageError: a line before the last one is no JSON object, or a row lacks its numbers; the
            text is one line that names it.
    """
    if not path.is_file():
        return []
    with explain_file_errors(path, "read"):
        lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)  # not ended by a line break: empty, or cut short
        try:
            row = parse_object(line)
            for name in ("iteration", "env_steps"):
                value = row.get(name)
                if not isinstance(value, int) or isinstance(value, bool):
                    raise ValueError(f'"{name}" is {value!r:.40}, not a whole number')
        except ValueError as error:
            if last:
                break
            raise UsageError(
                f"Line {number} of {path} is damaged: {error}. Mend that line, or remove it; the "
                "checkpoints do not depend on it."
            ) from error
        rows.append(row)
    return rows


def truncate_metrics(path: Path, last_iteration: int) -> None:
    """Drops the rows after `last_iteration`: what a killed run did beyond its checkpoint.

    Raises:
        UsageError: as `read_metrics`; the file is as it was.
    """
    rows = [row for row in read_metrics(path) if row["iteration"] <= last_iteration]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
