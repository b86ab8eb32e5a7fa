"""The list of algorithms: every file of one puts its entry here, and so may a user's own file."""

from dva.compute.plugins import Registry
from dva.learning.algorithm import AlgorithmEntry

__all__ = ["get", "names", "register"]

_ALGORITHMS = Registry[AlgorithmEntry](
    "algorithm",
    "An algorithm of your own is made known with dva.learning.register(AlgorithmEntry(...)), and "
    "found by commands as MODULE:NAME.",
)


def register(entry: AlgorithmEntry, replace: bool = False) -> AlgorithmEntry:
    """Makes an algorithm known by its name.

    Args:
        entry: the algorithm.
        replace: allow the name to be taken over.

    Raises:
        ValueError: the name is taken.
    """
    _ALGORITHMS.add(entry.name, entry, replace)
    return entry


def get(name: str) -> AlgorithmEntry:
    """Finds an algorithm by its name, or by "MODULE:NAME" if importing the module registers it.

    Raises:
        ValueError: there is none of that name, or the module cannot be imported.
    """
    return _ALGORITHMS.get(name)


def names() -> list[str]:
    """Lists the names of all algorithms in alphabetical order."""
    return _ALGORITHMS.names()
