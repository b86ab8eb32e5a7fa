"""What a check of the doctor finds."""

from dataclasses import dataclass

__all__ = ["Check", "Finding", "one_line"]


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    detail: str
    """What was found."""
    advice: str = ""
    """What to do when it failed."""


class Finding(Exception):
    """What a check found wrong itself; the text says all."""


def one_line(error: Exception) -> str:
    """Writes an error on one line, with its kind unless the text says all."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (ValueError, Finding)) else f"{type(error).__name__}: {text}"
