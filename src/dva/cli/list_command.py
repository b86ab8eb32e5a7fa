"""`dva list`: lists tasks, algorithms and presets."""

import dataclasses
from collections.abc import Sequence

from dva.cli import catalog
from dva.cli.flags import parse

__all__ = ["run"]


@dataclasses.dataclass
class ListFlags:
    """List tasks, algorithms and presets, a line each."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    parse(ListFlags, arguments, "list")
    lists = {
        "tasks": catalog.tasks(),
        "algorithms": catalog.algorithms(),
        "presets": catalog.presets(),
    }
    width = max(len(name) for entries in lists.values() for name in entries)
    for title, entries in lists.items():
        print(f"{title}:")
        for name, description in entries.items():
            print(f"  {name:<{width}}  {description}")
    return 0
