"""The sensors that every task has: its camera in colour, depth and segmentation, and the joints."""

from dataclasses import dataclass
from typing import Literal

import torch

from dva.compute import arguments
from dva.sensors.camera import Camera
from dva.sensors.scene import View
from dva.sensors.sensor import Sensor, SensorMaker, SensorRequest
from dva.sensors.soft.camera import DifferentiableCamera
from dva.sim import FREE, State
from dva.spec import Entry

__all__ = ["STANDARD_SENSORS", "CameraSensor", "JointAngles"]


@dataclass(frozen=True)
class CameraSensor:
    """A camera as a sensor; several may look at one robot.

    What is None is the task's view and the environment's image size and frame stack.
    """

    name: str = "pixels"
    output: Literal["rgb", "depth", "segmentation"] = "rgb"
    """"rgb" uint8 (3, H, W); "depth" float32 (1, H, W) [m]; "segmentation" int32 (1, H, W), number
    of the body, -1 for nothing."""
    view: View | None = None
    image_size: int | tuple[int, int] | None = None
    frame_stack: int | None = None

    def build(self, request: SensorRequest) -> Sensor:
        """Builds the camera that the request asks for.

        Raises:
            ValueError: the view's mount is no body of the robot, the size is not allowed, or a
                gradient is asked for that does not pass.
        """
        size = arguments.image_size(self.image_size or request.image_size)
        view = self.view or request.view
        where = (request.model, view, request.scene, request.num_envs)
        if request.camera == "differentiable":
            if self.output != "rgb":
                raise ValueError(
                    f"Sensor {self.name!r} gives {self.output!r}, which the camera "
                    '"differentiable" does not. Use camera="hard".'
                )
            camera = DifferentiableCamera(
                *where,
                image_size=size,
                device=request.device,
                threads=request.threads,
                capture=request.capture,
            )
        else:
            camera = Camera(
                *where,
                image_size=size,
                device=request.device,
                outputs=(self.output,),
                threads=request.threads,
                capture=request.capture,
            )
        stack = self.frame_stack or request.frame_stack
        gradient = request.image_gradient and self.output == "rgb"
        entry = self._entry(size, stack, request, gradient)
        return _CameraReading(entry, camera, self.output, gradient)

    def _entry(
        self, size: tuple[int, int], stack: int, request: SensorRequest, gradient: bool
    ) -> Entry:
        if self.output == "rgb":
            dtype = "float32" if gradient else "uint8"
            return Entry(
                self.name, "image", (3, *size), dtype, stack, "sRGB in 0..255", 0.0, 255.0
            )
        if self.output == "depth":
            far = request.scene.far
            return Entry(self.name, "image", (1, *size), "float32", stack, "m", 0.0, far)
        last = len(request.model.body_names) - 1
        return Entry(
            self.name, "image", (1, *size), "int32", stack, "number of a body", -1.0, float(last)
        )


class _CameraReading:
    """Pictures states with a camera."""

    def __init__(
        self, entry: Entry, camera: Camera | DifferentiableCamera, output: str, gradient: bool
    ) -> None:
        self.entry = entry
        self.differentiable = gradient
        self.recordable = True
        self._camera, self._output = camera, output

    def read(self, state: State) -> torch.Tensor:
        """Returns (N, C, H, W)."""
        joint_q = state.joint_q if self.differentiable else state.joint_q.detach()
        frame = self._camera.render(joint_q)[self._output]
        if self._output != "rgb":
            return frame[:, None]
        if frame.dtype != torch.uint8 and not self.differentiable:
            frame = frame.round().to(torch.uint8)
        return frame


@dataclass(frozen=True)
class JointAngles:
    """The positions of all hinges and slides, as encoders on the joints measure them."""

    name: str = "joint_angles"
    frame_stack: int = 1

    def build(self, request: SensorRequest) -> Sensor:
        """Picks the coordinates of joints that are not free.

        Raises:
            ValueError: the robot has none.
        """
        model = request.model
        columns = [
            int(coordinate)
            for coordinate, joint in zip(model.link_coordinate, model.link_joint, strict=True)
            if joint != FREE
        ]
        if not columns:
            raise ValueError(f"Sensor {self.name!r} measures joints, but this robot has none.")
        entry = Entry(
            self.name, "vector", (len(columns),), frame_stack=self.frame_stack, units="rad or m"
        )
        return _Columns(entry, torch.tensor(columns, device=request.device))


class _Columns:
    """Reads some columns of the joint positions."""

    differentiable = True
    recordable = True

    def __init__(self, entry: Entry, columns: torch.Tensor) -> None:
        self.entry, self._columns = entry, columns

    def read(self, state: State) -> torch.Tensor:
        """Returns (N, n)."""
        return state.joint_q.index_select(1, self._columns)


STANDARD_SENSORS: tuple[SensorMaker, ...] = (
    CameraSensor("pixels", "rgb"),
    CameraSensor("depth", "depth"),
    CameraSensor("segmentation", "segmentation"),
    JointAngles(),
)
"""What any task can be asked for; a task's own sensors of the same name replace them."""
