"""Files that one process holds at a time."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from dva.compute.errors import FileError, UsageError, explain_file_errors

__all__ = ["hold_lock", "is_locked"]


@contextlib.contextmanager
def hold_lock(path: Path, refusal: str) -> Iterator[None]:
    """Holds a file for one process; the system lets go of it when that process ends.

    Args:
        path: the file, made if need be.
        refusal: the error's text where another process holds it.

    Raises:
        UsageError: another process holds it, the file cannot be written, or its file system has no
            locks.
    """
    with explain_file_errors(path):
        file = path.open("w")
    with file:
        with explain_file_errors(path, "locked"):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(refusal) from None
        yield


def is_locked(path: Path) -> bool:
    """Tells whether a process holds a file by `hold_lock` at this moment."""
    if not path.is_file():
        return False
    try:
        with hold_lock(path, ""):
            return False
    except FileError:
        raise
    except UsageError:
        return True
