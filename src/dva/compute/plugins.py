"""Lists by name, to which users add from modules of their own, found as MODULE:NAME."""

import importlib
from typing import Generic, TypeVar

from dva.compute.errors import closest_match

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """What is known by a name: tasks, algorithms, simulators, estimators.

    Args:
        kind: what a name stands for, as messages call it: "task", "algorithm".
        how: the end of the message about an unknown name, which tells users how to add their own.

    Attributes:
        entries: what is registered, by name.
    """

    def __init__(self, kind: str, how: str) -> None:
        self._kind, self._how = kind, how
        self.entries: dict[str, T] = {}

    def add(self, name: str, entry: T, replace: bool = False) -> None:
        """Makes an entry known by a name; the same entry may be added again.

        Args:
            name: a name without a colon.
            entry: what it stands for.
            replace: allow a name that is taken already.

        Raises:
            ValueError: the name has a colon, or is taken already by another entry.
        """
        if ":" in name or not name:
            raise ValueError(
                f"The name {name!r} of this {self._kind} is not allowed: leave out the colon, which"
                " stands between module and name."
            )
        if not replace and self.entries.get(name, entry) != entry:
            raise ValueError(
                f"The {self._kind} {name!r} exists already. Choose another name, or pass "
                "replace=True to take it over."
            )
        self.entries[name] = entry

    def get(self, name: str) -> T:
        """Finds an entry by its name, or by "MODULE:NAME" if importing the module adds it.

        Raises:
            ValueError: nothing has that name (the text lists all and suggests the closest), or the
                module cannot be imported.
        """
        module, colon, own = str(name).rpartition(":")
        if colon:
            _import(self._kind, name, module)
        if own in self.entries:
            return self.entries[own]
        close = closest_match(own, self.entries).replace("'", f"'{module}{colon}", 1)
        raise ValueError(
            f"Unknown {self._kind} {name!r}.{close} Known: {', '.join(self.names())}. {self._how}"
        )

    def names(self) -> list[str]:
        """Lists all names in alphabetical order."""
        return sorted(self.entries)


def _import(kind: str, name: str, module: str) -> None:
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(
            f"The {kind} {name!r} does not begin with the name of a module. Write MODULE:NAME, "
            "where MODULE is the name of a file without its .py, in the folder you work in."
        )
    try:
        importlib.import_module(module)
    except SyntaxError as error:
        raise ValueError(
            f"The {kind} {name!r} is in {module!r}, which cannot be imported: {error}."
        ) from error
    except ImportError as error:
        missing = f"{module}.".startswith(f"{error.name}.")
        hint = " Is its file in the folder you work in?" if missing else ""
        raise ValueError(
            f"The {kind} {name!r} asks for the module {module!r}, which cannot be imported: "
            f"{error}.{hint}"
        ) from error
    except Exception as error:  # the module is the user's, and so is whatever goes wrong in it
        text = " ".join(str(error).split())
        raise ValueError(
            f"The {kind} {name!r} is in {module!r}, whose import fails with "
            f"{type(error).__name__}: {text}"
        ) from error
