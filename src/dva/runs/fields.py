"""Typed fields of a configuration as plain values that YAML holds, and back."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from dva.compute.errors import UsageError, one_line, usage_errors

__all__ = [
    "field_kinds",
    "read_dataclass",
    "read_value",
    "require_fields",
    "require_finite",
    "require_restorable",
    "to_plain",
]

_SCALARS = (bool, int, float, str, NoneType)


def field_kinds(kind: type) -> dict[str, Any]:
    """Returns what the fields of a dataclass are annotated with, by name.

    Annotations that are texts, as `from __future__ import annotations` makes them, are resolved.

    Raises:
        UsageError: an annotation names what its module does not have.
    """
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise UsageError(
            f"The annotations of {kind.__name__} cannot be resolved: {one_line(error)}. Define or "
            f"import that name at the top of {kind.__module__}."
        ) from error
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def to_plain(value: Any) -> Any:
    """Turns dataclasses into mappings, tuples into lists and paths into texts; leaves the rest."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def require_fields(where: str, values: Any, names: tuple[str, ...]) -> None:
    """Makes sure that `values` is a mapping of exactly these names.

    Raises:
        UsageError: it is not; the text names what is missing or unknown.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{where} is {values!r}; it must hold {', '.join(names)}.")
    missing = [name for name in names if name not in values]
    unknown = [str(name) for name in values if name not in names]
    if missing or unknown:
        lacks = f"lacks {', '.join(missing)}" if missing else ""
        has = f"has {', '.join(unknown)}, which this version does not know" if unknown else ""
        raise UsageError(
            f"{where} {' and '.join(filter(None, (lacks, has)))}. Another version wrote it, or it "
            "was edited: use the version of dva that its sessions name."
        )


def require_restorable(where: str, part: Any) -> None:
    """Makes sure that every field of a dataclass comes back from its plain value as it is.

    Args:
        where: what the dataclass is, for the message: "run".
        part: the dataclass.

    Raises:
        UsageError: a field has a value of another kind than its annotation.
    """
    for name, kind in field_kinds(type(part)).items():
        given = getattr(part, name)
        found = read_value(f"{where}.{name}", kind, to_plain(given))
        if given != found and repr(given) != repr(found):  # a NaN does not equal itself
            raise UsageError(
                f"{where}.{name} is {given!r}; it must be {_describe(kind)}, such as {found!r}."
            )


def require_finite(where: str, part: Any) -> None:
    """Makes sure that the numbers of a dataclass are finite, unless a field's default is not, and
    that whole ones fit into 64 bits.

    Raises:
        UsageError: one is infinite or NaN, or too large; the text names it.
    """
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        for number in value if isinstance(value, list | tuple) else (value,):
            wrong = isinstance(number, float) and not math.isfinite(number)
            if wrong and repr(value) != repr(field.default):
                raise UsageError(
                    f"{where}.{field.name} is {value!r}; it must be finite. Give a large number "
                    "where there shall be no limit."
                )
            if isinstance(number, int) and not -(2**63) <= number < 2**63:
                raise UsageError(
                    f"{where}.{field.name} is {value!r}; it must be from -2^63 to 2^63 - 1."
                )


def read_dataclass(where: str, kind: Any, values: Any) -> Any:
    """Rebuilds a dataclass from what `to_plain` made of it; every field must be there.

    Raises:
        UsageError: a field is missing or not known, or its value is not of its kind or not allowed.
    """
    kinds = field_kinds(kind)
    require_fields(where, values, tuple(kinds))
    read = {name: read_value(f"{where}.{name}", kinds[name], values[name]) for name in kinds}
    for field in dataclasses.fields(kind):
        if not field.init:  # it follows from the others
            del read[field.name]
    with usage_errors():
        try:
            return kind(**read)
        except TypeError as error:
            raise UsageError(f"{where} cannot be rebuilt: {one_line(error)}.") from error


def read_value(where: str, kind: Any, value: Any) -> Any:
    """Turns a plain value into one of the kind that a field is annotated with.

    Args:
        where: name of the field, for the message: "run.seed".
        kind: its annotation: bool, int, float, str, None, Path, Any, a Literal, a dataclass, or
            tuples, lists, dicts and unions of them.
        value: what `to_plain` returned.

    Raises:
        UsageError: the value is of another kind; the text says what is allowed.
    """
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return read_value(where, arguments[0], value)
    if origin in (Union, UnionType):
        return _read_union(where, kind, value)
    if origin is Literal and any(type(value) is type(x) and value == x for x in arguments):
        return value
    if origin is tuple and isinstance(value, list):
        kinds = _kinds_of_entries(arguments, len(value))
        if len(kinds) == len(value):
            return tuple(read_value(where, k, v) for k, v in zip(kinds, value, strict=True))
    if origin is list and isinstance(value, list):
        return [read_value(where, (arguments or (Any,))[0], entry) for entry in value]
    if origin is dict and isinstance(value, Mapping):
        of_key, of_entry = arguments or (Any, Any)
        return {
            read_value(where, of_key, key): read_value(f"{where}[{key!r}]", of_entry, entry)
            for key, entry in value.items()
        }
    if dataclasses.is_dataclass(kind):
        return read_dataclass(where, kind, value)
    if kind is Any and _is_plain(value):
        return value
    if kind is Path and type(value) is str:
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind in _SCALARS and type(value) is kind or kind is None and value is None:
        return value
    raise UsageError(f"{where} is {value!r}; it must be {_describe(kind)}{_hint(kind, value)}.")


def _read_union(where: str, kind: Any, value: Any) -> Any:
    """Reads the first member that fits, one of the value's own type before others."""
    found = []
    for member in get_args(kind):
        try:
            found.append(read_value(where, member, value))
        except UsageError:
            continue
    if not found:
        raise UsageError(f"{where} is {value!r}; it must be {_describe(kind)}.")
    return next((x for x in found if type(x) is type(value)), found[0])


def _kinds_of_entries(arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    if not arguments:
        return (Any,) * count
    return (arguments[0],) * count if arguments[-1] is Ellipsis else arguments


def _is_plain(value: Any) -> bool:
    """Tells whether YAML gives back a value of no particular kind as it is."""
    if type(value) is list:
        return all(_is_plain(entry) for entry in value)
    if type(value) is dict:
        return all(_is_plain(entry) for pair in value.items() for entry in pair)
    return type(value) in _SCALARS


def _describe(kind: Any) -> str:
    """Says in words what a field may hold."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _describe(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_describe(member) for member in arguments)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in arguments)
    if kind in (None, NoneType):
        return "None"
    if origin in (tuple, list):
        name = f"a {origin.__name__}"
        if not arguments:
            return name
        if origin is list or arguments[-1] is Ellipsis:
            return f"{name} of {_describe(arguments[0])}"
        return f"{name} of {len(arguments)}: {', '.join(_describe(entry) for entry in arguments)}"
    if origin is dict:
        return f"a dict of {' to '.join(map(_describe, arguments))}" if arguments else "a dict"
    if kind is Any:
        return "made of bool, int, float, str, None, lists and dicts"
    name = getattr(kind, "__name__", str(kind))
    if kind in _SCALARS or kind is Path or dataclasses.is_dataclass(kind):
        return name
    return (
        f"annotated otherwise: a configuration cannot hold {name}, but bool, int, float, str, "
        "Path, Literal, dataclasses, and tuples, lists and dicts of them"
    )


def _hint(kind: Any, value: Any) -> str:
    """Suggests the number of the right type, where the given one stands for it."""
    try:
        return f", such as {kind(value)!r}" if kind(value) == value else ""
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return ""
