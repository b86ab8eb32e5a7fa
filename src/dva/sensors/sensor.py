"""The contract of a sensor, and the request that one is built from."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from dva.sensors.scene import Scene, View
from dva.sim import Skeleton, State
from dva.spec import Entry

__all__ = ["CAMERA_KINDS", "CameraKind", "Sensor", "SensorMaker", "SensorRequest"]

CameraKind = Literal["hard", "differentiable"]
CAMERA_KINDS: tuple[CameraKind, ...] = ("hard", "differentiable")
"""Cameras by name: `dva.sensors.Camera` and `dva.sensors.DifferentiableCamera`."""


class Sensor(Protocol):
    """Computes one named tensor from the physics state, once per control step.

    `examples/heading_compass.py` is a complete example.
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
        """Whether `read` works on the device alone, so that a CUDA graph can hold it."""
        ...

    def read(self, state: State) -> torch.Tensor:
        """Returns one reading per robot, (N, *entry.shape), not stacked.

        In a step that ends an episode it is called again after the restart.
        """
        ...


@dataclass(frozen=True)
class SensorRequest:
    """Holds what an environment gives to the sensors that it builds."""

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
    """Which camera renders images."""
    image_gradient: bool = False
    """Whether images are float32 and carry the graph to the state."""
    threads: int | None = None
    """CPU threads; None: as many as torch has."""
    capture: bool = True
    """Whether launches are captured and replayed as one graph, if the sensor can do so."""
    shared: dict[str, Any] = field(default_factory=dict, compare=False)
    """What the sensors of one environment share, by name."""


class SensorMaker(Protocol):
    """Builds a sensor on request. A task lists makers, each a small frozen dataclass."""

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
