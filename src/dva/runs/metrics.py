"""Metrics of a run: one JSON object per iteration in `metrics.jsonl`, the same in TensorBoard."""

import contextlib
import itertools
import json
import math
import os
import resource
import sys
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dva.compute.errors import UsageError, explain_file_errors, one_line
from dva.compute.files import flush_to_disk, write_atomically
from dva.runs.extras import Extras
from dva.runs.files import parse_object

if TYPE_CHECKING:
    from dva.runs.events import EventWriter

__all__ = [
    "MetricsWriter",
    "is_timing",
    "peak_memory_mb",
    "read_metrics",
    "require_iteration",
    "truncate_metrics",
]

EVENTS = "TensorBoard"
COUNTS = ("iteration", "env_steps", "nonfinite_count")
OWN = ("iteration", "env_steps", "wall_time", "steps_per_second", "peak_memory_mb")
"""Metrics that the run itself measures."""


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
        UsageError: it made no environment step, or a metric is no number, or has a name of `OWN`.
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
        if name in OWN:
            raise UsageError(
                f"Metric {name!r} of algorithm {algo} has a name that is the run's, as are "
                f"{', '.join(x for x in OWN if x != name)}. Give it another one, or leave it out."
            )
        one = isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex()
        if not isinstance(name, str) or not (value is None or one or isinstance(value, Real)):
            raise UsageError(
                f"Metric {name!r:.80} of algorithm {algo} is {one_line(repr(value)):.80}; metrics "
                "must be numbers by name, or None where there is none."
            )


class MetricsWriter:
    """Appends rows to `metrics.jsonl` and to a TensorBoard event file.

    TensorBoard may fail, and is left out then: `metrics.jsonl` has all that it shows.

    Args:
        path: the JSON lines file.
        tensorboard: folder of the event files; None: no TensorBoard.
        first_iteration: TensorBoard forgets what a killed session wrote from here on.
        say: takes a line when TensorBoard fails.

    Raises:
        FileError: `metrics.jsonl` cannot be written, here and in every method; the text is one
            line.
    """

    def __init__(
        self,
        path: Path,
        tensorboard: Path | None,
        first_iteration: int = 1,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._path = path
        self._extras = Extras(say)
        self._events: EventWriter | None = None
        with explain_file_errors(path):
            self._file = path.open("a", encoding="utf-8")
            flush_to_disk(path.parent)
        if tensorboard is not None:
            self._extras.attempt(EVENTS, lambda: self._open_events(tensorboard, first_iteration))

    def _open_events(self, folder: Path, first_iteration: int) -> None:
        # Here, because an import may fail too: protobuf refuses what another version generated.
        from dva.runs.events import EventWriter

        self._events = EventWriter(folder, first_iteration)

    def _tell_events(self, do: "Callable[[EventWriter], object]") -> None:
        """Does something with TensorBoard's events, and gives them up if it fails: what follows a
        record that was cut short cannot be read."""
        events, self._events = self._events, None

        def attempt() -> None:
            assert events is not None
            try:
                do(events)
            except BaseException:
                with contextlib.suppress(OSError):
                    events.close()
                raise
            self._events = events

        if events is not None:
            self._extras.attempt(EVENTS, attempt)

    def write(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Writes one iteration and returns it as plain JSON values.

        Args:
            row: must hold "iteration" and "env_steps".
        """
        plain = {name: _plain(name, value) for name, value in row.items()}
        with explain_file_errors(self._path):
            self._file.write(json.dumps(plain) + "\n")
            self._file.flush()  # a killed run keeps every finished row
        known = {name: value for name, value in plain.items() if value is not None}
        scalars = {name: value for name, value in known.items() if name != "iteration"}
        self._tell_events(lambda events: events.add(scalars, int(row["iteration"])))
        return plain

    def flush(self) -> None:
        """Forces the rows to the disk: a checkpoint that is written next must not outlive them."""
        with explain_file_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._tell_events(lambda events: events.flush())

    def close(self) -> None:
        """Closes both files."""
        try:
            with explain_file_errors(self._path):
                self._file.close()
        finally:
            self._tell_events(lambda events: events.close())
            self._events = None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads every whole row; a last line cut short by a kill is left out.

    Raises:
        UsageError: a line before the last one is no JSON object, or a row lacks its numbers; the
            text is one line that names it.
    """
    rows, faults = _parse(_read(path))
    for number, fault in faults.items():
        raise UsageError(
            f"Line {number} of {path} is damaged: {fault}. Mend that line, or remove it; the "
            "checkpoints do not depend on it."
        )
    return rows


def truncate_metrics(path: Path, last_iteration: int) -> str | None:
    """Drops the rows after `last_iteration`: what a killed run did beyond its checkpoint.

    Damaged lines go too, but not in silence: the file as it was is kept beside it then.

    Returns:
        What is wrong with the rows up to there, in one line; None if nothing is.

    Raises:
        FileError: a file cannot be read or written; this one is as it was.
    """
    content = _read(path)
    rows, faults = _parse(content)
    rows = [row for row in rows if row["iteration"] <= last_iteration]
    said = []
    if faults:
        kept = _free_name(path.with_name(f"{path.name}.damaged"))
        write_atomically(kept, lambda temporary: temporary.write_bytes(content))
        number, fault = next(iter(faults.items()))
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        said.append(f"left out damaged line {number} ({fault}){more}; the file as it was is {kept}")
    missing = last_iteration - len(rows)
    if missing:
        found = {row["iteration"] for row in rows}
        first = next(number for number in itertools.count(1) if number not in found)
        said.append(f"lacks {missing} of {last_iteration} iterations, the first of them {first}")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return f"{path}: {'; '.join(said)}. Training does not depend on it." if said else None


def _read(path: Path) -> bytes:
    with explain_file_errors(path, "read"):
        return path.read_bytes() if path.is_file() else b""


def _parse(content: bytes) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Returns the rows, and what is wrong with lines, by their numbers from 1 on.

    The last line counts as damaged only if it is ended: a kill may have cut it short.
    """
    rows, faults, last = [], {}, 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_object(line)
            for name in ("iteration", "env_steps"):
                value = row.get(name)
                if not isinstance(value, int) or isinstance(value, bool):
                    raise ValueError(f'"{name}" is {value!r:.40}, not a whole number')
            if row["iteration"] <= last:
                raise ValueError(f'"iteration" is {row["iteration"]} after {last}')
        except ValueError as error:
            if number < len(lines):
                faults[number] = str(error)
            continue
        rows.append(row)
        last = row["iteration"]
    return rows, faults


def _free_name(path: Path) -> Path:
    """Returns a path beside which there is nothing: this one, or with a number."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
