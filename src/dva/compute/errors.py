"""Errors that a user can act on, and the names that commands accept."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "FILE_ERRNOS",
    "FileError",
    "UsageError",
    "closest_match",
    "explain_file_errors",
    "usage_errors",
    "one_line",
    "require_known",
]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
FILE_ERRNOS = frozenset(
    {
        *_FULL, *_CLOSED, errno.EEXIST, errno.EIO, errno.EISDIR, errno.ELOOP, errno.EMFILE,
        errno.ENAMETOOLONG, errno.ENFILE, errno.ENOTDIR, errno.ESTALE,
    }
)  # fmt: skip
"""What goes wrong with files by no fault of the program. A missing file is not among them: where a
user may name one that does not exist, it is looked for."""

_LIBRARIES = ("torch", "numpy", "warp", "mujoco", "mujoco_warp", "gymnasium", "safetensors")
"""Packages whose errors are no explanation for a user."""


class UsageError(ValueError):
    """Something asked for that cannot be done; its text says what is allowed and what to do.

    Commands print the text alone, without a traceback, and exit with status 2.
    """


class FileError(UsageError, OSError):
    """A file or a folder that cannot be written or read; `errno` says why.

    It is an OSError too, so that callers who expect one still catch it.
    """

    def __init__(self, text: str, number: int | None = None) -> None:
        super().__init__(text)
        self.errno = number


@contextmanager
def explain_file_errors(path: Path, action: str = "written") -> Iterator[None]:
    """Turns an OSError inside into a `FileError` that names `path` and says what to do.

    Args:
        path: what is written or read inside.
        action: what is done to it, as a past participle.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        reason = one_line(error.strerror or error)
        raise FileError(
            f"{path} cannot be {action}: {reason}. {_advice(error.errno)}", error.errno
        ) from error


def _advice(number: int | None) -> str:
    """Says what to do about an error number of the system."""
    if number in _FULL:
        return "Free some space, or write elsewhere; what was saved before is whole."
    if number in _CLOSED:
        user = f"user {os.getuid()}"
        return f"Let {user} write there, or write elsewhere; what was saved before is whole."
    return "Check the disk and the path; what was saved before is whole."


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turns a ValueError about what a user asked for into a `UsageError` with the same text.

    Put it around what builds environments and algorithms from a configuration: there a ValueError
    of ours, or of a user's own task or sensor, explains a wrong value. One that a library raises,
    such as torch, is a fault of the program and keeps its traceback.
    """
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        module = "" if traceback is None else traceback.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in _LIBRARIES:
            raise
        raise UsageError(f"{one_line(error)}.") from error


def one_line(text: object) -> str:
    """Writes `text` on one line, without a full stop at its end."""
    return " ".join(str(text).split()).rstrip(".")


def require_known(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Returns `name` when it is one of `allowed`.

    Args:
        kind: what the name stands for, as a word of the message: "task", "preset".

    Raises:
        UsageError: it is not; the text names the closest match and every allowed value.
    """
    names = sorted(allowed)
    if name in names:
        return name
    hint = closest_match(name, names)
    raise UsageError(f"Unknown {kind} {name!r}.{hint} Allowed: {', '.join(names)}.")


def closest_match(name: str, allowed: Iterable[str]) -> str:
    """Suggests what a mistyped name may have meant: " Did you mean 'x'?", or nothing."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
