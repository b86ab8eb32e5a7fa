"""Ctrl-C and SIGTERM end training after the iteration under way; a second one ends it at once."""

import signal
import threading
from types import FrameType

__all__ = ["Interrupt"]


class Interrupt:
    """A context that notes the first SIGINT or SIGTERM and lets the second one through.

    Attributes:
        signal: the number of the signal that came, or none.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._former = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    def __enter__(self) -> "Interrupt":
        # Python allows handlers in the main thread only; elsewhere nothing is caught.
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
