"""SIGTERM and SIGHUP as errors, so that a command which is told to end cleans up like any other."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["ended_by_signals"]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Ends what is inside with exit status 143 or 129 on SIGTERM or SIGHUP: files that are half
    written are removed, and other programs that were started are ended. Training has handlers of
    its own while it lasts. A signal that the caller ignores stays ignored."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # Python takes no handlers there
        yield
        return
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
