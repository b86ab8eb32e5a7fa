"""What a run can do without: videos and curves, whose faults must not end training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dva.compute.errors import one_line

__all__ = ["dispensable"]


@contextmanager
def dispensable(what: str, say: Callable[[str], object]) -> Iterator[None]:
    """Lets training go on when what is inside fails, and says so in one line.

    Args:
        what: begins the line, as in "The video".
        say: gets the line.
    """
    try:
        yield
    except Exception as error:  # whatever it is: training has taken longer than a picture
        text = one_line(error) or type(error).__name__
        say(f"{what} is left out; training goes on: {text}.")
