"""`dva list`: lists tasks, algorithms and presets."""

import dataclasses
from collections.abc import Sequence

from dva.cli.flags import parse

__all__ = ["run"]


@dataclasses.dataclass
class ListFlags:
    """List tasks, algorithms and presets, a line each."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    parse(ListFlags, arguments, "list")
    from dva import tasks
    from dva.learning import ALGORITHMS, PRESETS

    described = {name: tasks.get(name).description for name in tasks.names()}
    algorithms = {name: entry.description for name, entry in ALGORITHMS.items()}
    width = max(map(len, [*described, *algorithms]))
    lists = {"tasks": described, "algorithms": algorithms, "presets": PRESETS}
    for title, entries in lists.items():
        print(f"{title}:")
        for name, description in entries.items():
            print(f"  {name:<{width}}  {description}")
    return 0
