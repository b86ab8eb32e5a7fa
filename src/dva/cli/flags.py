"""Helpers for the flags of all commands."""

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from dva.compute.errors import UsageError

__all__ = ["find_task", "find_value", "find_values", "parse", "require_values"]

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
        elif index + 1 < len(arguments):
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


def find_task(arguments: Sequence[str], known: Sequence[str]) -> str | None:
    """Finds the task among arguments whose flags are not parsed yet.

    The task is the first argument if that is not a flag; otherwise the first argument that names a
    task, or is MODULE:NAME, and is not the value of a flag that takes any text.
    """
    if arguments and not arguments[0].startswith("-"):
        return arguments[0]
    free_text = ("--run-dir", "--resume", "--device", "--algo", "--preset")
    for before, argument in zip(["", *arguments], arguments, strict=False):
        named = argument in known or (":" in argument and not argument.startswith("-"))
        if named and before not in free_text:
            return argument
    return None
