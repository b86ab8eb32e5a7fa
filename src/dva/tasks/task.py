"""The description of a task: what one file in this room has to say.

A task is a frozen dataclass without state: four functions of generalized coordinates and a handful
of numbers. The vector environment owns everything that changes.
"""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from dva import robots
from dva.compute.arguments import MAX_COUNT, require
from dva.sensors import Scene, SensorMaker, View

__all__ = ["Task", "check_sensor_names", "constant", "uniform"]


@dataclass(frozen=True)
class Task(ABC):
    """Says what a robot has to do: start, state observation, reward, termination and camera.

    A subclass gives the fields their defaults and writes the four functions. They receive and
    return torch tensors on the environment's device; `state_observation` and `reward` are
    differentiated through, so they use torch operations that have gradients. Shapes: `num_envs` N,
    generalized coordinates nq, velocities nd, actions A.

    Raises:
        ValueError: a number is outside its range, or two sensors have one name.
    """

    name: str = ""
    """What `dva.make` and the command line call the task: lower case, words joined by hyphens."""
    description: str = ""
    """One line for lists."""
    robot: str = ""
    """A robot of `dva.robots`, or the path of an MJCF file (ending in .xml); a relative path starts
    from the file that defines the task's class, or else from the working folder."""
    inertia: str = "physical"
    """The robot's inertia tensors: "physical", from its MJCF, or "published", from the file
    `<robot>.inertia.json` beside it (the tasks of the paper use these)."""
    ignore: tuple[str, ...] = ()
    """What the robot's file asks for, is not simulated, and is to be left out, by the names that
    `dva.sim.load_model` gives: such as ("body-contact",)."""
    episode_length: int = 1000
    """Control steps after which an episode is truncated, 1 or more."""
    control_dt: float = 1 / 60
    """Seconds between two actions."""
    substeps: int = 16
    """Simulation steps within one control step, 1 or more."""
    mass_matrix_interval: int = 16
    """Substeps for which a mass matrix is kept, 1 to `substeps`."""
    view: View = field(
        default_factory=lambda: View(eye=(0.0, -3.0, 1.0), target=(0.0, 0.0, 1.0), fovy=45.0)
    )
    """Where the camera stands; world axes, metres, full vertical angle in degrees."""
    scene: Scene = field(default_factory=Scene)
    """Floor, wall and light around the robot."""
    sensors: tuple[SensorMaker, ...] = ()
    """Sensors beside the standard ones (`dva.sensors.STANDARD_SENSORS`: "pixels", "depth",
    "segmentation", "joint_angles"); an environment builds those that it is asked to observe."""

    def __post_init__(self) -> None:
        check_sensor_names(f"Task {self.name!r}", self.sensors)
        self._require_count("episode_length", MAX_COUNT, f"1 to {MAX_COUNT:,}")
        finite = isinstance(self.control_dt, (int, float)) and math.isfinite(self.control_dt)
        self._require("control_dt", finite and self.control_dt > 0, "a time above 0 in seconds")
        self._require_count("substeps", MAX_COUNT, f"1 to {MAX_COUNT:,}")
        allowed = f"1 to its substeps, {self.substeps}"
        self._require_count("mass_matrix_interval", self.substeps, allowed)

    def _require_count(self, name: str, largest: int, allowed: str) -> None:
        value = getattr(self, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        self._require(name, whole and 1 <= value <= largest, f"a whole number from {allowed}")

    def _require(self, name: str, condition: bool, allowed: str) -> None:
        require(f"{name} of task {self.name!r}", getattr(self, name), condition, allowed)

    @property
    def mjcf(self) -> Path:
        """The robot's MJCF file.

        Raises:
            ValueError: `robot` names no robot of the package, or a file that does not exist.
        """
        if not self.robot.endswith(".xml"):
            return robots.mjcf_path(self.robot)
        try:
            return robots.find_mjcf(self.robot, _folders(type(self)))
        except ValueError as error:
            raise ValueError(f"Task {self.name!r}: {error}") from error

    @abstractmethod
    def start(
        self, n: int, generator: torch.Generator, device: torch.device, stochastic: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws the states in which episodes begin.

        Args:
            n: number of states.
            generator: the only source of randomness; it lives on `device`.
            device: where the tensors are made.
            stochastic: False gives the same middle state n times.

        Returns:
            joint_q (n, nq) [m, rad] and joint_qd (n, nd) [m/s, rad/s], float32.
        """

    @abstractmethod
    def state_observation(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Describes a state to a critic or a state policy.

        Args:
            joint_q: (N, nq).
            joint_qd: (N, nd).
            action: (N, A) in [-1, 1], the action that led here; zero at the start of an episode.

        Returns:
            (N, O), differentiable in all three.
        """

    @abstractmethod
    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Values the state after a control step and the action that led there.

        Args:
            joint_q: (N, nq).
            joint_qd: (N, nd).
            action: (N, A), already clipped to [-1, 1].

        Returns:
            (N,), differentiable in all three.
        """

    def terminated(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> torch.Tensor:
        """Says where the episode has failed; running out of time is the environment's part.

        Args:
            joint_q: (N, nq).
            joint_qd: (N, nd).

        Returns:
            bool (N,). A task that does not override this never terminates.
        """
        return torch.zeros(len(joint_q), dtype=torch.bool, device=joint_q.device)


def check_sensor_names(owner: str, sensors: Sequence[SensorMaker]) -> None:
    """Makes sure that no two sensors have one name, of which only one could be observed.

    Args:
        owner: what lists them, as the error calls it.
        sensors: their makers.

    Raises:
        ValueError: two have one name.
    """
    names = [maker.name for maker in sensors]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{owner} lists two sensors named {name!r}. Give each its own name.")


def _folders(kind: type[Task]) -> list[Path]:
    """Lists the folders of the user's files that define a task's class and its base classes."""
    modules = [base.__module__ for base in kind.__mro__ if issubclass(base, Task)]
    own = [name for name in modules if name.partition(".")[0] != "dva"]
    files = [getattr(sys.modules.get(name), "__file__", None) for name in own]
    return [Path(file).absolute().parent for file in files if file]


def uniform(
    n: int,
    middle: tuple[float, ...],
    half_range: float,
    generator: torch.Generator,
    device: torch.device,
) -> torch.Tensor:
    """Draws each entry uniformly from `middle` - `half_range` to `middle` + `half_range`.

    Args:
        n: number of rows.
        middle: the centre of each column; its length is the number of columns.
        half_range: half the width, the same for all columns; 0 gives the centre.
        generator: source of randomness, on `device`.
        device: where the tensor is made.

    Returns:
        (n, len(middle)) float32.
    """
    unit = torch.rand((n, len(middle)), generator=generator, device=device)
    return constant(middle, device) + half_range * (2.0 * unit - 1.0)


@cache
def constant(
    values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Makes a vector (len(values),) once and keeps it; do not write to it.

    Kept, because a copy to a CUDA device makes the host wait.
    """
    return torch.tensor(values, device=device, dtype=dtype)
