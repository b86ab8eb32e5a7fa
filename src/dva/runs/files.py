"""JSON files, each of one object, and YAML files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dva.compute.errors import UsageError, one_line
from dva.compute.files import write_atomically

__all__ = ["dump_yaml", "parse_object", "parse_yaml", "read_json_object", "write_json"]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes an object of JSON values, atomically.

    Raises:
        FileError: as `write_atomically`.
        ValueError: a number is not finite.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a file that must hold one JSON object.

    Raises:
        UsageError: it cannot be read or holds something else; the text is one line that names the
            file and the fault.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {one_line(error.strerror or error)}.") from error
    try:
        return parse_object(content)
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}.") from error


def parse_object(content: bytes) -> dict[str, Any]:
    """Parses one JSON object.

    Raises:
        ValueError: it is something else; the text says what.
    """
    try:
        value = json.loads(
            content.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ValueError(f"no JSON ({one_line(error)})") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not a JSON object")
    return value


class _Loader(yaml.SafeLoader):
    """Reads plain values, and no aliases: a few lines of them stand for more than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuses an alias; see `yaml.composer.Composer`."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.YAMLError(f"line {mark.line + 1} has an alias (*NAME), which dva never uses")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes a value that comes again a second time; see `yaml.representer.Representer`."""
        return True


def parse_yaml(content: bytes) -> Any:
    """Reads plain values from YAML.

    Raises:
        yaml.YAMLError, ValueError: it is no YAML, or has aliases.
        RecursionError: it is nested too deeply.
    """
    return yaml.load(content.decode("utf-8"), _Loader)


def dump_yaml(value: Any) -> str:
    """Writes plain values as YAML, mappings in their own order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
