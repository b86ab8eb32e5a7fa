"""Metrics of a run: one JSON object per iteration in `metrics.jsonl`, the same in TensorBoard."""

import json
import math
import resource
import sys
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch

from dva.compute.errors import UsageError, explain_file_errors, one_line
from dva.compute.files import write_atomically
from dva.runs.events import EventWriter
from dva.runs.files import parse_object

__all__ = [
    "MetricsWriter",
    "is_timing",
    "peak_memory_mb",
    "read_metrics",
    "require_iteration",
    "truncate_metrics",
]

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


def require_iteration(algo: str, metrics: Any, env_steps: Any, before: int) -> None:
    """Makes sure that an iteration kept the contract of `Algorithm.iterate`.

    Args:
        algo: name of the algorithm, for the message.
        metrics: what it returned.
        env_steps: environment steps that it counts now.
        before: those that it counted before.

    Raises:
        UsageError: it made no environment step, or a metric is no number.
    """
    if not isinstance(env_steps, int) or isinstance(env_steps, bool):
        raise UsageError(f"env_steps of algorithm {algo} is {env_steps!r:.80}; it must be an int.")
    if env_steps <= before:
        raise UsageError(
            f"Algorithm {algo} counts {env_steps} environment steps after an iteration and counted "
            f"{before} before; it must make at least one step, and add it to env_steps."
        )
    if not isinstance(metrics, Mapping):
        raise UsageError(
            f"iterate() of algorithm {algo} returned {metrics!r:.80}; it must return a dict of "
            "metrics by name."
        )
    for name, value in metrics.items():
        one = isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex()
        if not isinstance(name, str) or not (value is None or one or isinstance(value, Real)):
            raise UsageError(
                f"Metric {name!r:.80} of algorithm {algo} is {one_line(repr(value)):.80}; metrics "
                "must be numbers by name, or None where there is none."
            )


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
