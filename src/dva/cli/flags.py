"""Helpers for the flags of all commands."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import docstring_parser  # of tyro, which reads docstrings with it
import tyro

from dva.compute.errors import UsageError

__all__ = ["arities", "find_task", "find_value", "find_values", "parse", "require_values"]

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], command: str, **options: Any) -> T:
    """Reads flags into a dataclass, whose docstrings are the help text.

    Raises:
        UsageError: a flag is not known, or a value is missing, empty, or not allowed.
        SystemExit: help was asked for.
    """
    require_values(arguments, command)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), _joined_lines():
            return tyro.cli(kind, args=list(arguments), prog=f"dva {command}", **options)
    except SystemExit as exit_:
        if exit_.code == 2:
            raise UsageError(_condense(complaint.getvalue(), command)) from exit_
        raise
    except ValueError as error:  # from a configuration that checks its own ranges
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def _joined_lines() -> Iterator[None]:
    """Lets help texts flow: tyro keeps the line breaks that docstrings have in the source."""
    read = docstring_parser.parse_from_object

    def read_joined(component: object) -> docstring_parser.Docstring:
        found = read(component)
        for param in found.params:
            paragraphs = (param.description or "").split("\n\n")
            param.description = "\n\n".join(" ".join(text.split()) for text in paragraphs) or None
        return found

    docstring_parser.parse_from_object = read_joined
    try:
        yield
    finally:
        docstring_parser.parse_from_object = read


def _condense(box: str, command: str) -> str:
    """Writes on one line what tyro says in a box: title, message, suggestions, and a footer."""
    parts: list[list[str]] = [[]]
    for line in box.splitlines()[1:]:
        text = line.strip("│| ")  # a box of ASCII where the terminal has nothing better
        if text and not text.strip("─-"):
            parts.append([])
        elif text and line[0] != "╰":
            parts[-1].append(text)
    parts = [part for part in parts if part] or [["The flags are wrong"]]
    message, found = " ".join(parts[0]), ""
    for part in parts[1:]:
        if part[0].startswith("Perhaps you meant"):
            # Flags stand first on their lines; their help, which follows, is left out.
            flags = [line.split()[0].rstrip(",") for line in part[1:] if line.startswith("--")]
            found = f" Did you mean {' or '.join(dict.fromkeys(flags))}?"
    for pattern, text in _PHRASES:
        message = re.sub(pattern, text, message)
    return f"{message.rstrip('.')}.{found} `dva {command} --help` explains all flags."


_PHRASES = (
    (r"^Unrecognized (?:options|arguments): (.*)$", r"Not known here: \1"),
    (r"^invalid choice (.*) for argument '(.*?)'\. Expected one of \((.*?),?\)\.?$",
     r"\2 is \1; it must be one of \3"),
    (r"^Missing from (?:.*?): (\S+) (.*?)\.? \(required\)$", r"\1 is missing: \2"),
    (r"^Missing value for argument '(.*?)'\. Expected 1 values\.$", r"\1 needs a value"),
    (r"^Missing value for argument '(.*?)'\. Expected (.*) values\.$", r"\1 needs \2 values"),
    (r"^Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)$",
     r"\1 is \2; it must be a whole number"),
    (r"^Error parsing (\S+): no type matching (\S+) could be instantiated from \['(.*?)'\].*$",
     r"\1 is '\3'; it must be \2"),
    (r"^Error parsing (\S+): could not convert string to float: (.*)$",
     r"\1 is \2; it must be a number"),
)  # fmt: skip
"""How tyro says things, and how other messages of dva do."""


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
