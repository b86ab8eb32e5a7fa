"""Errors that a user can act on, and the names that commands accept."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["UsageError", "closest_match", "require_known", "usage_errors"]


class UsageError(ValueError):
    """Something asked for that cannot be done; its text says what is allowed and what to do.

    Commands print the text alone, without a traceback, and exit with status 2.
    """


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


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turns a ValueError about what a user asked for into a `UsageError` with the same text."""
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
