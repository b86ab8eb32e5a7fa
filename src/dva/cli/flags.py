"""What the commands' flags share."""

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from dva.compute.errors import UsageError

__all__ = ["find_task", "find_value", "find_values", "parse"]

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], command: str, **options: Any) -> T:
    """Reads flags into a dataclass; its docstrings are the help.

    Raises:
        UsageError: a value lies outside its range.
        SystemExit: the flags are wrong (2), or help was asked for (0).
    """
    try:
        return tyro.cli(kind, args=list(arguments), prog=f"dva {command}", **options)
    except ValueError as error:  # a configuration that checks its own ranges
        raise UsageError(str(error)) from error


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
    """Returns the task among arguments whose other flags are not known yet.

    That is the first argument if it is not a flag; otherwise the first one that is the name of a
    task, or MODULE:NAME, and not the value of a flag that takes any text.
    """
    if arguments and not arguments[0].startswith("-"):
        return arguments[0]
    free_text = ("--run-dir", "--resume", "--device", "--algo", "--preset")
    for before, argument in zip(["", *arguments], arguments, strict=False):
        named = argument in known or (":" in argument and not argument.startswith("-"))
        if named and before not in free_text:
            return argument
    return None
