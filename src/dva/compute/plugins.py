"""Lists by name, to which users add from modules of their own, found as MODULE:NAME."""

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from string import whitespace
from typing import Generic, TypeVar

from dva.compute.errors import closest_match

__all__ = ["Registry", "is_foreign", "is_trusted", "module_file", "module_of", "trust"]

T = TypeVar("T")

_TRUSTED: set[str] = set()
"""Modules that may be imported though a file names them, not the user of this process."""


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
        self._modules: dict[str, list[str]] = {}
        """By name, the modules whose import registered it, the innermost first."""

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
        same = name in self.entries and self.entries[name] == entry
        before = self._modules.get(name, []) if same else []
        self._modules[name] = [*before, *(x for x in _importing() if x not in before)]
        self.entries[name] = entry

    def get(self, name: str) -> T:
        """Finds an entry by its name, or by "MODULE:NAME" if importing the module adds it, now or
        earlier in this process.

        Raises:
            ValueError: nothing has that name (the text lists all and suggests the closest), the
                module cannot be imported, or it is not what adds the name.
        """
        module, colon, own = str(name).rpartition(":")
        if not colon:
            if own in self.entries:
                return self.entries[own]
            offered, reason = self.entries.keys(), ""
        else:
            _import(self._kind, name, module)
            offered = {x for x in self.entries if module in self._modules.get(x, ())}
            if own in offered:
                return self.entries[own]
            nothing = "" if offered else f" The module {module!r} registers no {self._kind}."
            reason = nothing or f" The module {module!r} registers: {', '.join(sorted(offered))}."
        if own in self.entries:
            close = f" Did you mean {self._label(own)!r}?"
        else:
            close = closest_match(own, offered).replace("'", f"'{module}{colon}", 1)
        known = ", ".join(map(self._label, self.names()))
        raise ValueError(
            f"Unknown {self._kind} {name!r}.{reason}{close} Known: {known}. {self._how}"
        )

    def _label(self, name: str) -> str:
        """Writes a name as commands find it: MODULE:NAME unless the package registered it."""
        modules = self._modules.get(name, [])
        own = not modules or _package(modules[0]) in (_package(__name__), "__main__")
        return name if own else f"{modules[0]}:{name}"

    def names(self) -> list[str]:
        """Lists all names in alphabetical order."""
        return sorted(self.entries)


def _importing() -> list[str]:
    """Returns the modules that are being imported or run by the caller, the innermost first.

    While this package is imported, they are its own only: who imports it registers nothing.
    """
    found = []
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            found.append(str(frame.f_globals.get("__name__")))
        frame = frame.f_back
    if found and _package(found[0]) == _package(__name__):
        found = [module for module in found if _package(module) == _package(__name__)]
    return found


def _package(module: str) -> str:
    return module.partition(".")[0]


def module_of(name: object) -> str | None:
    """Returns MODULE of a text MODULE:NAME, and None for anything else."""
    module, colon, own = name.rpartition(":") if isinstance(name, str) else ("", "", "")
    named = all(part.isidentifier() for part in module.split("."))
    return module if colon and own and not set(own) & set(whitespace) and named else None


def is_trusted(module: str) -> bool:
    """Tells whether a name in a file may lead to this module: it is imported already, belongs to
    this package, or `trust` has been told of it."""
    return module in sys.modules or module in _TRUSTED or not is_foreign(module)


def is_foreign(module: str) -> bool:
    """Tells whether a module is none of this package's."""
    return _package(module) != _package(__name__)


def trust(module: str) -> None:
    """Lets names in files lead to this module from now on, in this process."""
    _TRUSTED.add(module)


def module_file(module: str) -> Path | None:
    """Finds the file that importing a module by MODULE:NAME would run, without running anything.

    None where there is no such file. For a module within a package, the package's own file, which
    is run first, where the module has none.
    """
    places: list[str] | None = [*sys.path, os.getcwd()]
    found, parts = None, module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:depth]), places)
        if spec is None:
            break
        found = Path(spec.origin) if spec.has_location and spec.origin else found
        if not spec.submodule_search_locations or spec.origin is None:
            break  # no package, or one without a file, which is searched only by importing it
        places = list(spec.submodule_search_locations)
    return found


@contextmanager
def _working_folder() -> Iterator[None]:
    """Lets modules be imported from the folder one works in, after all others, for a while."""
    folder = os.getcwd()
    added = folder not in sys.path and "" not in sys.path
    if added:
        sys.path.append(folder)
        importlib.invalidate_caches()
    try:
        yield
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)


def _import(kind: str, name: str, module: str) -> None:
    if module_of(name) is None:
        raise ValueError(
            f"The {kind} {name!r} does not begin with the name of a module. Write MODULE:NAME, "
            "where MODULE is the name of a file without its .py, in the folder you work in."
        )
    try:
        with nullcontext() if module in sys.modules else _working_folder():
            importlib.import_module(module)
    except SyntaxError as error:
        raise ValueError(
            f"The {kind} {name!r} is in {module!r}, which cannot be imported: {error}."
        ) from error
    except ImportError as error:
        missing = f"{module}.".startswith(f"{error.name}.")
        hint = " Its file must be in the folder you work in." if missing else ""
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
