"""Metrics of a run: one JSON object per iteration in `metrics.jsonl`, the same in TensorBoard."""

import json
import math
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dva.runs.files import write_atomically

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
    """Appends rows to `metrics.jsonl` and to TensorBoard event files.

    Args:
        path: the JSON lines file.
        tensorboard: folder of the event files; none: no TensorBoard.
        first_iteration: TensorBoard forgets what a killed session wrote from here on.
    """

    def __init__(self, path: Path, tensorboard: Path | None, first_iteration: int = 1) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._events = None
        if tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(tensorboard), purge_step=first_iteration)

    def write(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Writes one iteration (must hold "iteration") and returns it as plain JSON values."""
        plain = {name: _plain(name, value) for name, value in row.items()}
        self._file.write(json.dumps(plain) + "\n")
        self._file.flush()  # a killed run keeps every finished row
        if self._events is not None:
            for name, value in plain.items():
                if value is not None and name != "iteration":
                    self._events.add_scalar(name, value, plain["iteration"])
        return plain

    def flush(self) -> None:
        """Hands everything written to the operating system."""
        self._file.flush()
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads every whole row; a last line cut short by a kill is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def truncate_metrics(path: Path, last_iteration: int) -> None:
    """Drops the rows after `last_iteration`: what a killed run did beyond its checkpoint."""
    rows = [row for row in read_metrics(path) if row["iteration"] <= last_iteration]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
