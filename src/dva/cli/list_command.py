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
    from dva import learning, tasks

    described = {name: tasks.get(name).description for name in tasks.names()}
    entries = [learning.get(name) for name in learning.names()]
    algorithms = {entry.name: entry.description for entry in entries}
    presets = {entry.name: ", ".join(entry.presets) for entry in entries}
    width = max(map(len, [*described, *algorithms]))
    lists = {"tasks": described, "algorithms": algorithms, "presets": presets}
    for title, lines in lists.items():
        print(f"{title}:")
        for name, description in lines.items():
            print(f"  {name:<{width}}  {description}")
    return 0
