"""Finds what users register in modules of their own, named as MODULE:NAME."""

import importlib
from collections.abc import Mapping
from typing import TypeVar

from dva.compute.errors import closest_match

__all__ = ["find_registered"]

T = TypeVar("T")


def find_registered(kind: str, name: str, registered: Mapping[str, T], how: str) -> T:
    """Returns what is registered under a name.

    Args:
        kind: what the name stands for, as a word of messages: "task", "algorithm".
        name: a key of `registered`, or "MODULE:NAME" for one that importing the module registers.
        registered: all that is known; importing the module may add to it.
        how: says how one of a user's own is registered.

    Raises:
        ValueError: nothing has that name; the text lists all and suggests the closest. Or the
            module cannot be imported.
    """
    module, colon, own = str(name).rpartition(":")
    if colon:
        _import(kind, name, module)
    if own in registered:
        return registered[own]
    raise ValueError(
        f"Unknown {kind} {name!r}.{closest_match(own, registered)} Known: "
        f"{', '.join(sorted(registered))}. {how}"
    )


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
