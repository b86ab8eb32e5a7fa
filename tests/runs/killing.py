"""Trainings that are killed, and what of their metrics must come again."""

from collections.abc import Callable
from typing import Any

from dva import runs
from dva.runs import Run
from dva.runs.metrics import is_timing


class Killed(Exception):
    """Ends a training from within, without its consent."""


def kill_at(iteration: int) -> Callable[[runs.Update], None]:
    """A report that kills a training when it hears of an iteration."""

    def report(update: runs.Update) -> None:
        if update.row is not None and update.row["iteration"] == iteration:
            raise Killed

    return report


def repeatable(run: Run) -> list[dict[str, Any]]:
    """The metrics without those that depend on the machine's speed or memory."""
    return [{k: v for k, v in row.items() if not is_timing(k)} for row in run.metrics()]
