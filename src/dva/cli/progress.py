"""The display of training in progress: a live table on a terminal, plain lines elsewhere."""

import contextlib
import errno
import time
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from dva.cli.output import GONE, say_error
from dva.compute.errors import one_line
from dva.runs import TrainConfig, Update

__all__ = ["Progress"]

PLAIN_INTERVAL = 10.0
"""Seconds between plain lines, which keep a log file short."""


def duration(seconds: float | None) -> str:
    """Writes a time as people say it: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(number: int, noun: str) -> str:
    """Writes a number of things: 1 step, 1,200 steps."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def cells(update: Update) -> dict[str, str]:
    """Returns the columns of the display, ready to print."""
    row: dict[str, Any] = update.row or {}
    mean = row.get("return")
    return {
        "env-steps": f"{row['env_steps']:,} / {update.last_step:,}",
        "return": "-" if mean is None else f"{mean:,.1f}",
        "steps/s": f"{row['steps_per_second']:,.0f}",
        "time left": duration(update.seconds_left),
    }


class _Console(Console):
    """Leaves it to the caller what happens when the reader of a pipe goes away: rich exits."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError(errno.EPIPE, "the reader of the output went away")


class Progress:
    """Shows what training reports, as a context manager whose `update` receives the reports.

    Args:
        config: the configuration of the training.
        stream: where to write; on a terminal a table is redrawn in place.
    """

    def __init__(self, config: TrainConfig, stream: TextIO) -> None:
        self.config = config
        # soft_wrap keeps long paths of run folders on one line.
        self.console = _Console(file=stream, soft_wrap=True, highlight=False)
        self.live = None
        self._shown = 0.0
        self._pending: Update | None = None
        self._failed = False
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=False)

    def __enter__(self) -> "Progress":
        with contextlib.suppress(OSError):  # `update` finds out whether training goes on
            self._print(self._header())
            if self.live is not None:
                self.live.start()
        return self

    def _header(self) -> str:
        config = self.config
        end = counted(config.run.last_step, "step")
        if config.run.minutes is not None:
            end += f" or {config.run.minutes:g} min"
        return (
            f"Training {config.env.task} from {', '.join(config.env.observe)} with {config.algo} "
            f"(preset {config.preset}, seed {config.run.seed}, "
            f"{counted(config.env.num_envs, 'environment')}, "
            f"{end}). Ctrl-C stops and saves."
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Training has ended, and whatever the display does now changes nothing of how.
        with contextlib.suppress(Exception):
            if self.live is not None:
                self.live.stop()
            self._print_pending()

    def update(self, update: Update) -> None:
        """Shows an update. A display that fails shows nothing more, and training goes on.

        Raises:
            OSError: nobody reads the output any more (`GONE`).
        """
        if self._failed:
            return
        try:
            self._show(update)
        except Exception as error:  # whatever it is: nobody trains for the sake of a display
            if isinstance(error, OSError) and error.errno in GONE:
                raise
            self._failed = True
            fault = one_line(error) or type(error).__name__
            say_error(f"The display has failed; training goes on without: {fault}.")

    def _show(self, update: Update) -> None:
        if update.message is not None:
            self._print_pending()  # keeps lines in the order of events
            self._print(update.message)
        if update.row is None:
            return
        if self.live is not None:
            table = Table(box=None, pad_edge=False)
            columns = cells(update)
            for name in columns:
                table.add_column(name, justify="right", min_width=11)
            table.add_row(*columns.values())
            self.live.update(table)
            return
        now = time.monotonic()
        if self._shown == 0.0 or now - self._shown >= PLAIN_INTERVAL:
            self._shown = now
            self._print_row(update)
            self._pending = None
        else:
            self._pending = update

    def _print_pending(self) -> None:
        if self._pending is not None:
            self._print_row(self._pending)
            self._pending = None

    def _print_row(self, update: Update) -> None:
        self._print("  ".join(f"{name} {value}" for name, value in cells(update).items()))

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False)
