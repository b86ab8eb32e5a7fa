"""Output that goes away: the reader of a pipe, such as `head` or `tee`, or the terminal."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

__all__ = ["output_may_go", "say_error", "tolerate_characters"]


@contextlib.contextmanager
def output_may_go() -> Iterator[None]:
    """Ends what is inside, and nothing else, where nobody reads the output any more."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.EPIPE, errno.EIO):
            raise
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
