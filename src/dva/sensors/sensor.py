"""The contract of a sensor, and what one is built from."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from dva.sensors.scene import Scene, View
from dva.sim import Skeleton, State
from dva.spec import Entry

__all__ = ["CAMERA_KINDS", "CameraKind", "Sensor", "SensorMaker", "SensorRequest"]

CameraKind = Literal["hard", "differentiable"]
CAMERA_KINDS: tuple[CameraKind, ...] = ("hard", "differentiable")
"""Cameras by name: `dva.sensors.Camera` and `dva.sensors.DifferentiableCamera`."""


class Sensor(Protocol):
    """Reads one named tensor off the physics state, once a control step.

    `examples/heading_compass.py` is one, in one file.
    """

    @property
    def entry(self) -> Entry:
        """Name, kind, shape, dtype, frame stack and units of what `read` returns."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether `read` passes gradients to the state."""
        ...

    @property
    def recordable(self) -> bool:
        """Whether `read` is work on the device alone, so that a CUDA graph can hold it."""
        ...

    def read(self, state: State) -> torch.Tensor:
        """Returns one reading per robot, (N, *entry.shape), not stacked.

        A step in which an episode ends is read once more, after the restart.
        """
        ...


@dataclass(frozen=True)
class SensorRequest:
    """What an environment offers to the sensors that it asks for."""

    model: Skeleton
    """The robot, as the simulator imported it."""
    num_envs: int
    device: torch.device
    view: View
    """The task's own view."""
    scene: Scene
    """What surrounds the robot."""
    image_size: tuple[int, int]
    """(height, width) of images, unless a sensor has its own [pixels]."""
    frame_stack: int
    """Readings in one observation of an image, unless a sensor has its own."""
    camera: CameraKind = "hard"
    """Which camera pictures the images."""
    image_gradient: bool = False
    """Whether images shall be float32 and carry the graph to the state."""
    threads: int | None = None
    """CPU threads; None: as many as torch has."""
    capture: bool = True
    """Whether launches are captured and replayed as one graph, where that is possible."""


class SensorMaker(Protocol):
    """What a task lists: a small frozen dataclass that builds its sensor when it is asked for."""

    @property
    def name(self) -> str:
        """Name of the sensor's entry."""
        ...

    def build(self, request: SensorRequest) -> Sensor:
        """Builds the sensor.

        Raises:
            ValueError: the sensor does not fit the robot or the request.
        """
        ...
