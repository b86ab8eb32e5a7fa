"""What a run can do without: videos, curves and TensorBoard, whose faults must not end training."""

from collections import Counter
from collections.abc import Callable

from dva.compute.errors import one_line

__all__ = ["Extras"]

TRIES = 3
"""Failures of one thing after which a session tries it no more: each may take a timeout."""


class Extras:
    """Attempts what training can do without, and lets it go on where that fails.

    Args:
        say: takes a line when a thing fails for the first time, and when it is given up.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._failures: Counter[str] = Counter()

    def attempt(self, what: str, do: Callable[[], object]) -> None:
        """Does something, unless it has failed too often.

        Args:
            what: begins the lines, as in "The video".
            do: does it.
        """
        if self._failures[what] >= TRIES:
            return
        try:
            do()
        except Exception as error:  # whatever it is: training has taken longer than a picture
            self._failures[what] += 1
            text = one_line(error) or type(error).__name__
            if self._failures[what] == 1:
                self._say(f"{what} is left out; training goes on: {text}.")
            if self._failures[what] == TRIES:
                self._say(f"{what} has failed {TRIES} times; this session tries no more.")
