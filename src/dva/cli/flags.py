"""Helpers for the flags of all commands."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import tyro

from dva.compute.errors import UsageError

__all__ = ["arities", "find_task", "find_value", "find_values", "parse", "require_values"]

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], command: str, **options: Any) -> T:
    """Reads flags into a dataclass, whose docstrings are the help text.

    Raises:
        UsageError: a value is empty, or lies outside its range.
        SystemExit: the flags are wrong (2), or help was asked for (0).
    """
    require_values(arguments, command)
    try:
        return tyro.cli(kind, args=list(arguments), prog=f"dva {command}", **options)
    except ValueError as error:  # from a configuration that checks its own ranges
        raise UsageError(str(error)) from error


def require_values(arguments: Sequence[str], command: str) -> None:
    """Makes sure that no argument is empty: as a path it would mean the folder one works in.

    Raises:
        UsageError: an argument is empty, as when a shell's variable is not set.
    """
    for before, argument in zip([command, *arguments], arguments, strict=False):
        flag, equals, value = argument.partition("=")
        if not argument.strip():
            place = f"after {before!r}"
        elif flag.startswith("--") and equals and not value.strip():
            place = f"of {flag!r}"
        else:
            continue
        raise UsageError(
            f"The value {place} is empty. Give one; if it "
            "comes from a shell's variable, check that it is set."
        )


def find_value(arguments: Sequence[str], flag: str) -> str | None:
    """Returns the last value of `flag`, given as `--flag VALUE` or `--flag=VALUE`."""
    found = None
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name != flag:
            continue
        if equals:
            found = value
        elif index + 1 < len(arguments) and not arguments[index + 1].startswith("--"):
            found = arguments[index + 1]
    return found


def find_values(arguments: Sequence[str], flag: str) -> tuple[str, ...]:
    """Returns the values of a flag that takes several, up to the next flag; () if it is absent."""
    values: list[str] = []
    taking = False
    for argument in arguments:
        if argument.startswith("-"):
            name, equals, value = argument.partition("=")
            taking = name == flag and not equals
            if name == flag:
                values = [value] if equals else []
        elif taking:
            values.append(argument)
    return tuple(values)


def arities(*kinds: type, prefix: str = "--") -> dict[str, int | None]:
    """Returns how many values each flag of the dataclasses takes; None: any number."""
    found: dict[str, int | None] = {}
    for kind in kinds:
        for name, hint in get_type_hints(kind).items():
            flag = prefix + name.replace("_", "-")
            if dataclasses.is_dataclass(hint):
                found |= arities(cast(type, hint), prefix=f"{flag}.")
            elif hint is bool:
                found |= {flag: 0, f"{prefix}no-{flag.removeprefix(prefix)}": 0}
            elif get_origin(hint) in (tuple, list, set, frozenset, dict):
                values = get_args(hint)
                fixed = get_origin(hint) is tuple and Ellipsis not in values
                found[flag] = len(values) if fixed else None
            else:
                found[flag] = 1
    return found


def find_task(
    arguments: Sequence[str], taken: Mapping[str, int | None], known: Sequence[str]
) -> int | None:
    """Finds the task among arguments that are not parsed yet; returns its place.

    The task is the first argument that is no value of a flag. If there is none, it is the last
    value of a flag that takes any number of them, if that value names a task or is MODULE:NAME:
    `--observe state cartpole`.

    Args:
        arguments: the command line.
        taken: how many values each flag takes, of `arities`.
        known: names of tasks.
    """
    left: int | None = 0
    open_place = None
    for place, argument in enumerate(arguments):
        if argument.startswith("--") or argument == "-h":
            flag, equals, _ = argument.replace("_", "-").partition("=")
            left = 0 if equals or argument == "-h" else taken.get(flag, 1)
            if argument == "--help":
                left = 0
        elif left is None:
            if argument in known or ":" in argument:
                open_place = place
        elif left > 0:
            left -= 1
        else:
            return place
    return open_place
