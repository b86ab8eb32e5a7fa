"""Signals that end training after the iteration under way, with a checkpoint.

These are Ctrl-C (SIGINT), SIGTERM, and SIGHUP, which comes when a terminal or an ssh session
closes. A second one ends the process at once, except while a checkpoint is being written.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from dva.compute.distributed import Group

__all__ = ["Interrupt"]

T = TypeVar("T")


class Interrupt:
    """A context that notes the first signal and lets the second one through.

    Attributes:
        signal: the number of the signal that came first, or None.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._former = {}
        self._deferring = False
        self._due = False
        """Whether a second signal waits for the end of `deferred`."""

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Lets what is inside finish although a second signal comes; a third one ends it at once.

        Raises:
            KeyboardInterrupt: at the end, if a second signal came meanwhile.
        """
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._due:
            self._due = False
            raise KeyboardInterrupt

    def agree(self, group: Group) -> None:
        """Lets a signal that came to any process of a group count in all of them."""
        found = group.max(self.signal or 0)
        if self.signal is None and found:
            self.signal = found

    def guarded(self, report: Callable[[T], object]) -> Callable[[T], None]:
        """Wraps a report so that an output which has gone away counts as SIGHUP.

        After a terminal or the reader of a pipe has gone, every write fails; training must still
        come to its checkpoint. What is reported after the first failure is dropped.
        """
        gone = False

        def guarded_report(update: T) -> None:
            nonlocal gone
            if gone:
                return
            try:
                report(update)
            except OSError:
                gone = True
                if self.signal is None:
                    self.signal = signal.SIGHUP

        return guarded_report

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
        elif self._deferring and not self._due:
            self._due = True
        else:
            raise KeyboardInterrupt

    def __enter__(self) -> "Interrupt":
        # Python allows handlers in the main thread only; elsewhere nothing is caught.
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                former = signal.getsignal(number)
                # `nohup` ignores SIGHUP so that training outlives the terminal: so it shall.
                if number != signal.SIGHUP or former is not signal.SIG_IGN:
                    # None stands for a handler that Python did not set and cannot put back.
                    self._former[number] = signal.SIG_DFL if former is None else former
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
