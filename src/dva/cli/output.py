"""Output that goes away: the reader of a pipe, such as `head` or `tee`, or the terminal."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

from dva.compute.errors import FILE_ERRNOS, FileError, one_line

__all__ = ["GONE", "complete_streams", "output_may_go", "say_error", "tolerate_characters"]

GONE = (errno.EPIPE, errno.EIO)
"""How writing fails where nobody reads any more."""


def complete_streams() -> None:
    """Opens the standard streams that the caller has closed: the next file would get their numbers,
    and with them whatever compiled code prints."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))


@contextlib.contextmanager
def output_may_go() -> Iterator[None]:
    """Ends what is inside, and nothing else, where the output cannot be written: silently if nobody
    reads it any more, and otherwise with a line that says why."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        own = isinstance(error, FileError) or error.filename is not None  # about another file
        if own or error.errno not in (*GONE, *FILE_ERRNOS):
            raise
        if error.errno not in GONE:
            say_error(f"error: the output cannot be written: {one_line(error.strerror or error)}.")
        # What is left in Python's buffer would fail again when the process ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_error(text: str) -> None:
    """Writes a line to standard error, if anybody reads that."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def tolerate_characters() -> None:
    """Writes a question mark for what the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
