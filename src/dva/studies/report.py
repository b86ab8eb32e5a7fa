"""What every study writes: a JSON file with its provenance, and a figure as PNG and SVG."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dva.compute.device import resolve_device
from dva.compute.errors import usage_errors
from dva.compute.files import write_atomically
from dva.runs.machine import describe_machine

__all__ = [
    "Report",
    "StudyConfig",
    "add_row",
    "free_path",
    "new_figure",
    "save",
    "save_figure",
    "silent",
]

Report = Callable[[str], None]
"""Takes a line about what was just measured."""


def silent(line: str) -> None:
    """Reports to nobody."""


@dataclasses.dataclass
class StudyConfig:
    """Flags of every study."""

    output: Path | None = None
    """Files to write, without their ending; None: studies/NAME. Nothing is overwritten: later files
    get a number."""
    full: bool = False
    """The paper's size instead of one that takes minutes on a CPU."""
    seed: int = 0
    """Seed of starts, networks and noise."""
    device: str = "auto"
    """auto, cpu or cuda."""


def add_row(rows: list[dict[str, Any]], row: dict[str, Any], report: Report) -> None:
    """Adds a row to the others, and reports its texts and numbers as one line."""
    rows.append(row)
    values = {
        name: f"{value:.3g}" if isinstance(value, float) else value
        for name, value in row.items()
        if isinstance(value, str | int | float)
    }
    report("  ".join(f"{name} {value}" for name, value in values.items()))


def new_figure(columns: int, rows: int = 1) -> tuple[Any, Any]:
    """Makes a figure with axes (rows, columns)."""
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(config: StudyConfig, name: str, result: dict[str, Any], figure: Any) -> Path:
    """Writes result and figure; returns the path of the JSON file."""
    base = free_path(config.output or Path("studies") / name, ".json")
    base.parent.mkdir(parents=True, exist_ok=True)
    about = {"study": name, "date": time.strftime("%Y-%m-%d"), "config": _plain(config)}
    with usage_errors():
        device = resolve_device(config.device)
    content = json.dumps({**about, **describe_machine(device), **result}, indent=1) + "\n"
    path = base.with_name(base.name + ".json")
    write_atomically(path, lambda temporary: temporary.write_text(content))
    save_figure(base, figure)
    return path


def save_figure(base: Path, figure: Any) -> None:
    """Writes a figure as PNG and SVG.

    Args:
        base: path of both files, without their ending.
        figure: a figure of Matplotlib.
    """
    for ending in ("png", "svg"):
        write_atomically(
            base.with_name(f"{base.name}.{ending}"),
            lambda temporary, ending=ending: figure.savefig(temporary, dpi=120, format=ending),
        )


def free_path(base: Path, ending: str = "") -> Path:
    """Finds a name that nothing has yet: `base`, or with a number, without the ending."""
    number, free = 1, base
    while free.with_name(free.name + ending).exists():
        number += 1
        free = base.with_name(f"{base.name}-{number}")
    return free


def _plain(config: StudyConfig) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))
