"""Refuses numbers in a robot's file that no simulation survives, each by its name.

MuJoCo reads `nan` in many attributes as "not given", and takes infinite, enormous and negative
numbers in silence. So the file's own text is checked, before MuJoCo sees it, and what MuJoCo made
of it is checked again.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np

from dva.compute.errors import one_line
from dva.sim.mjcf.compiling import compile_mjcf

__all__ = ["check_compiled", "check_finite", "check_ranges"]

_LENGTH, _LARGE = 1e5, 1e8
"""Largest length [m] and largest of other numbers. Float32 resolves 1e5 m to 8 mm."""


@dataclass(frozen=True)
class _Range:
    """What an attribute may hold."""

    low: float
    high: float
    at_least: int = 0
    """How many numbers there must be."""
    at_most: int = 1000
    """Of more numbers than this, the others must be 0."""
    meaning: str = ""

    def __str__(self) -> str:
        text = f"numbers from {self.low:g} to {self.high:g}"
        return f"{text}, {self.meaning}" if self.meaning else text


_ANY = _Range(-_LARGE, _LARGE)
_NOT_NEGATIVE = _Range(0.0, _LARGE)
_PLACE = _Range(-_LENGTH, _LENGTH)
_LINEAR = _Range(0.0, _LARGE, at_most=1, meaning="one of them: the law is linear")

_RANGES: dict[str, dict[str, _Range]] = {
    "option": {"gravity": _Range(-1e4, 1e4)},
    "body": {"pos": _PLACE},
    "frame": {"pos": _PLACE},
    "inertial": {"pos": _PLACE, "mass": _NOT_NEGATIVE, "diaginertia": _NOT_NEGATIVE},
    "joint": {
        "pos": _PLACE,
        "stiffness": _LINEAR,
        "damping": _LINEAR,
        "armature": _NOT_NEGATIVE,
        "frictionloss": _NOT_NEGATIVE,
        "user": _Range(0.0, _LARGE, at_least=2, meaning="limit stiffness and limit damping"),
    },
    "geom": {
        "pos": _PLACE,
        "fromto": _PLACE,
        "size": _Range(0.0, _LENGTH),
        "mass": _NOT_NEGATIVE,
        "density": _NOT_NEGATIVE,
        "friction": _NOT_NEGATIVE,
        "user": _Range(0.0, _LARGE, at_least=4, meaning="ke, kd, kf and mu"),
    },
    "key": {"qpos": _ANY, "qvel": _ANY},
    **{tag: {"gear": _ANY} for tag in ("motor", "general", "position", "velocity")},
}
"""By element and attribute. Default classes write the same elements."""

_CHECKED = frozenset(_RANGES)
_TEXT = frozenset(("name", "class", "childclass", "model", "file", "prefix", "dclass"))
_NOT_A_NUMBER = re.compile(r"[+-]?(nan(\(\w*\))?|inf|infinity)", re.IGNORECASE)
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)


def check_finite(path: str | Path) -> None:
    """Refuses numbers of an MJCF file, and of those that it includes, that are not finite.

    Args:
        path: the file. One that is missing or is no XML is left to MuJoCo to refuse.

    Raises:
        ValueError: a number is NaN or infinite; the text names file, element and attribute.
    """
    for file, name, element in _elements(Path(path)):
        for attribute, value in element.attrib.items():
            _check_attribute(file, name, attribute, value, None)


def check_ranges(path: str | Path) -> None:
    """Does what `check_finite` does, and refuses what our own simulator cannot simulate.

    That is negative masses, sizes, stiffness, damping, armature and contact parameters, enormous
    numbers, and `user` data that is too short.

    Args:
        path: as of `check_finite`.

    Raises:
        ValueError: a number is not allowed; the text names file, element, attribute, value and
            what is allowed.

    Warns:
        UserWarning: `user` data is shorter than ours in the whole file, and so not for us.
    """
    elements = list(_elements(Path(path)))
    foreign = _foreign_user_data(path, [element for _, _, element in elements])
    for file, name, element in elements:
        ranges = _RANGES.get(element.tag, {})
        usual = _ANY if element.tag in _CHECKED else None
        for attribute, value in element.attrib.items():
            allowed = ranges.get(attribute, usual)
            if attribute == "user" and element.tag in foreign:
                allowed = usual
            _check_attribute(file, name, attribute, value, allowed)


def _foreign_user_data(path: str | Path, elements: Sequence[ElementTree.Element]) -> set[str]:
    """Names the elements whose user data is for others: shorter than ours, or so declared.

    A file in which some are as long as ours is meant for us; shorter ones are then mistakes.
    """
    found = set()
    for tag, attribute in (("geom", "nuser_geom"), ("joint", "nuser_jnt")):
        least = _RANGES[tag]["user"].at_least
        given = [len(e.get("user", "").split()) for e in elements if e.tag == tag]
        declared = [e.get(attribute, "") for e in elements if e.tag == "size"]
        short = any(count.isdecimal() and int(count) < least for count in declared)
        if short:
            found.add(tag)
        elif 0 < max(given, default=0) < least:
            found.add(tag)
            warnings.warn(
                f"{Path(path).name}: user data of {tag}s is taken for somebody else's, as it is "
                f"shorter than {_RANGES[tag]['user'].meaning}.",
                stacklevel=4,
            )
    return found


def check_compiled(m: mujoco.MjModel, path: Path) -> None:
    """Refuses a robot of which MuJoCo computed a number that is not finite, or enormous.

    Args:
        m: the robot.
        path: its file.

    Raises:
        ValueError: as `check_finite`.
    """
    # Each row belongs to the element of the same number; enormous sizes are checked as masses.
    of_bodies = ("pos", "quat", "ipos", "iquat", "mass", "inertia")
    tables = [("body", m.body, name, getattr(m, f"body_{name}")) for name in of_bodies]
    for name in ("pos", "axis", "range"):
        tables.append(("joint", m.joint, name, getattr(m, f"jnt_{name}")))
    for name in ("pos", "quat", "friction"):
        tables.append(("geom", m.geom, name, getattr(m, f"geom_{name}")))
    for name in ("gear", "gainprm", "biasprm", "ctrlrange", "forcerange"):
        tables.append(("actuator", m.actuator, name, getattr(m, f"actuator_{name}")))
    for name in ("stiffness", "damping", "frictionloss", "range"):
        tables.append(("tendon", m.tendon, name, getattr(m, f"tendon_{name}")))
    tables.append(("key", m.key, "qpos", m.key_qpos))
    for kind, accessor, name, values in tables:
        rows = np.atleast_2d(np.asarray(values, float).T).T
        for index in np.flatnonzero(~(np.abs(rows) <= _LARGE).all(1)):
            label = accessor(int(index)).name
            shown = repr(label) if label else f"number {index}"
            raise ValueError(
                f"{path}: {kind} {shown} gets {name} {rows[index].tolist()}; allowed are numbers "
                f"up to {_LARGE:g}. Correct its attributes."
            )
    for name, values in (("gravity", m.opt.gravity), ("reference pose qpos0", m.qpos0)):
        if not (np.abs(values) <= _LARGE).all():
            raise ValueError(
                f"{path}: {name} is {values.tolist()}; allowed are numbers up to {_LARGE:g}."
            )


def _check_attribute(
    file: Path, element: str, attribute: str, value: str, allowed: _Range | None
) -> None:
    if attribute in _TEXT:
        return
    words = value.split()
    problem = ""
    if any(_NOT_A_NUMBER.fullmatch(word) for word in words):
        problem = str(allowed) if allowed else "finite numbers"
    try:
        numbers = [float(word) for word in words]
    except ValueError:  # a word, or nonsense that MuJoCo refuses
        numbers = []
    if any(math.isinf(number) for number in numbers):
        problem = str(allowed) if allowed else "finite numbers"
    if allowed and numbers:
        inside = all(allowed.low <= number <= allowed.high for number in numbers)
        if not inside or any(numbers[allowed.at_most :]):
            problem = str(allowed)
        if len(numbers) < allowed.at_least:
            problem = f"{allowed.at_least} or more {allowed}"
    if problem:
        raise ValueError(f'{file}: {element} has {attribute}="{one_line(value)}"; give {problem}.')


def _elements(path: Path) -> Iterator[tuple[Path, str, ElementTree.Element]]:
    """Yields file, name and node of every element, of included files too."""
    if not path.is_file():
        return
    seen: set[Path] = set()
    files = [path]
    while files:
        file = files.pop(0)
        if file.resolve() in seen or not file.is_file():
            continue  # MuJoCo names a missing file
        seen.add(file.resolve())
        root = _parse(file)
        if root is None:
            continue
        referred = {node.get(key) for node in root.iter() for key in ("name", "class")}
        counts: Counter[str] = Counter()
        for node, owner in _walk(root, None):
            counts[node.tag] += 1
            if node.tag in ("include", "model") and node.get("file"):
                included = str(node.get("file"))
                files += [file.parent / included, path.parent / included]
            # An attribute that refers to an element by name is no number, whatever the name.
            rest = {key: text for key, text in node.attrib.items() if text not in referred}
            number = f"{node.tag} number {counts[node.tag] - 1}"
            name = node.get("name") or node.get("joint")
            label = f"{node.tag} {name!r}" if name else owner or number
            yield file, label, ElementTree.Element(node.tag, rest)


def _walk(
    node: ElementTree.Element, default: str | None
) -> Iterator[tuple[ElementTree.Element, str | None]]:
    """Yields elements in order, those of a default class with words that say so."""
    if node.tag == "default":
        default = f"default class {node.get('class', 'main')!r}"
        yield node, default
    else:
        yield node, f"{node.tag} of {default}" if default else None
    for child in node:
        yield from _walk(child, default)


def _parse(file: Path) -> ElementTree.Element | None:
    try:
        # MuJoCo allows more in comments than XML does.
        return ElementTree.fromstring(_COMMENT.sub(b"", file.read_bytes()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if file.suffix in (".xml", ".urdf"):
            compile_mjcf(file)  # usually says it better
            raise ValueError(f"{file} is not well-formed XML: {error}.") from error
        return None
