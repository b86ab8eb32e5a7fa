"""The words that all rooms share: what an observation and an action are made of.

A sensor produces an entry, an environment puts entries in order, a policy reads some of them, and
a saved policy carries them along, so that it can be rebuilt without a simulator or a camera.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from dva.compute.errors import closest_match

__all__ = [
    "STATE",
    "ActionSpec",
    "Entry",
    "Kind",
    "Observation",
    "ObservationSpec",
    "StateTensors",
]

Kind = Literal["image", "vector"]
STATE = "state"
"""Name of the entry that holds the task's description of the physics state."""
DTYPES = {"uint8": torch.uint8, "int32": torch.int32, "float32": torch.float32}

Observation = dict[str, torch.Tensor]
"""Tensors (N, ...) by the names of an `ObservationSpec`'s entries."""
StateTensors = Mapping[str, torch.Tensor]
"""The memory of a policy between steps, tensors (N, ...) by name; empty without memory."""

_TAKEN = frozenset(dir(nn.ModuleDict()))
"""Policies keep networks of entries in a ModuleDict, where its own words cannot be names."""


@dataclass(frozen=True)
class Entry:
    """One named part of an observation.

    Raises:
        ValueError: a field is outside its range.
    """

    name: str
    """Key in observations: a Python identifier, such as "pixels"; not a word of torch's ModuleDict,
    such as "values"."""
    kind: Kind
    """"image" (C, H, W) or "vector" (n,)."""
    shape: tuple[int, ...]
    """Of one reading of one robot, before stacking: (C, H, W) or (n,)."""
    dtype: str = "float32"
    """"uint8", "int32" or "float32"."""
    frame_stack: int = 1
    """Newest readings in one observation, oldest first, joined along the first axis."""
    units: str = ""
    """Physical units, such as "m", or a word on what the numbers mean."""
    low: float = float("-inf")
    """Smallest value that occurs."""
    high: float = float("inf")
    """Largest value that occurs. Encoders scale images by this range."""

    def __post_init__(self) -> None:
        def require(name: str, condition: bool, allowed: str) -> None:
            if not condition:
                value = getattr(self, name)
                raise ValueError(f"{name} of entry {self.name!r} is {value!r}; allowed: {allowed}.")

        require("name", self.name.isidentifier(), "a word of letters, digits and _")
        free = "another word, since torch.nn.ModuleDict, which keeps networks by name, has this one"
        require("name", self.name not in _TAKEN, free)
        require("kind", self.kind in ("image", "vector"), '"image" or "vector"')
        length = 3 if self.kind == "image" else 1
        axes = "(channels, height, width)" if self.kind == "image" else "(length,)"
        valid = len(self.shape) == length and all(side >= 1 for side in self.shape)
        require("shape", valid, f"{axes}, each at least 1, for kind {self.kind!r}")
        require("dtype", self.dtype in DTYPES, ", ".join(DTYPES))
        require("frame_stack", self.frame_stack >= 1, "1 or more")
        require("high", self.high > self.low, f"more than low, which is {self.low}")

    @property
    def channels(self) -> int:
        """Size of the first axis of one reading: channels of an image, length of a vector."""
        return self.shape[0]

    @property
    def stacked_shape(self) -> tuple[int, ...]:
        """Shape of one robot's observation: that of a reading, the first axis `frame_stack`-fold.
        """
        return (self.frame_stack * self.shape[0], *self.shape[1:])

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of observations as torch names it."""
        return DTYPES[self.dtype]


@dataclass(frozen=True)
class ObservationSpec(Mapping[str, Entry]):
    """An ordered set of entries, by name.

    Raises:
        ValueError: two entries have one name.
    """

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Two entries are named {twice[0]!r}. Give each sensor its own name.")

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def images(self) -> tuple[Entry, ...]:
        """The entries of kind "image"."""
        return tuple(entry for entry in self.entries if entry.kind == "image")

    @property
    def vectors(self) -> tuple[Entry, ...]:
        """The entries of kind "vector"."""
        return tuple(entry for entry in self.entries if entry.kind == "vector")

    def select(self, names: Sequence[str]) -> "ObservationSpec":
        """Returns the entries with these names, in this spec's order.

        Raises:
            ValueError: one of them is not there, or is named twice.
        """
        for name in names:
            if list(names).count(name) > 1:
                raise ValueError(f"{name!r} is named twice in {tuple(names)!r}. Name it once.")
            if name not in self:
                raise ValueError(
                    f"There is no observation {name!r}.{closest_match(name, self)} This "
                    f"environment has: {', '.join(self)}. Name it in the environment's observe."
                )
        return ObservationSpec(tuple(entry for entry in self.entries if entry.name in names))

    def check(self, observation: Mapping[str, torch.Tensor]) -> None:
        """Makes sure that an observation holds these entries, for any number of robots.

        Raises:
            ValueError: an entry is missing, or of another shape or dtype; the text says how to
                make an environment that fits.
        """
        for entry in self.entries:
            value = observation.get(entry.name)
            if value is None:
                raise ValueError(
                    f"The observation has no {entry.name!r}, which the policy reads; it has "
                    f"{', '.join(observation)}. Make the environment with "
                    f"observe={tuple(self)!r} (dva.runs.make_env(run) makes one that fits)."
                )
            found = tuple(value.shape[1:])
            # Gradients flow through float32 images only; a policy takes them for uint8 ones.
            dtypes = (entry.torch_dtype, torch.float32)
            if found != entry.stacked_shape or value.dtype not in dtypes:
                raise ValueError(
                    f"{entry.name!r} is {value.dtype} {found}, but the policy reads "
                    f"{entry.torch_dtype} {entry.stacked_shape}. Make the environment with the "
                    "image size and frame stack that it was trained with (dva.runs.make_env(run) "
                    "makes one that fits)."
                )

    def to_dict(self) -> list[dict[str, Any]]:
        """Returns plain values for JSON."""
        return [
            {
                **dataclasses.asdict(entry),
                "shape": list(entry.shape),
                "low": None if entry.low == float("-inf") else entry.low,
                "high": None if entry.high == float("inf") else entry.high,
            }
            for entry in self.entries
        ]

    @classmethod
    def from_dict(cls, values: Sequence[Mapping[str, Any]]) -> "ObservationSpec":
        """Rebuilds what `to_dict` returned.

        Raises:
            ValueError, TypeError: the values are none.
        """
        entries = []
        for value in values:
            fields = {name: x for name, x in value.items() if x is not None}
            entries.append(Entry(**{**fields, "shape": tuple(fields["shape"])}))
        return cls(tuple(entries))


@dataclass(frozen=True)
class ActionSpec:
    """Actions: one number in [-1, 1] for each actuator."""

    names: tuple[str, ...]
    """One per actuator, as in the robot's file."""
    control_dt: float
    """Seconds between two actions."""

    @property
    def size(self) -> int:
        """Number of actuators A."""
        return len(self.names)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {"names": list(self.names), "control_dt": self.control_dt}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ActionSpec":
        """Rebuilds what `to_dict` returned."""
        return cls(tuple(values["names"]), float(values["control_dt"]))
