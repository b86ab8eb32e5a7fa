"""The sensors that every task has: its camera in colour, depth and segmentation, and the joints."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from dva.compute import arguments
from dva.sensors.camera import Camera
from dva.sensors.scene import View
from dva.sensors.sensor import Sensor, SensorMaker, SensorRequest
from dva.sensors.soft.camera import DifferentiableCamera
from dva.sim import BALL, FREE, State
from dva.spec import Entry

__all__ = ["STANDARD_SENSORS", "CameraSensor", "JointAngles"]


@dataclass(frozen=True)
class CameraSensor:
    """Offers a camera as a sensor; one robot may have several.

    None stands for the task's view, or the environment's image size or frame stack.
    """

    name: str = "pixels"
    output: Literal["rgb", "depth", "segmentation"] = "rgb"
    """"rgb" uint8 (3, H, W); "depth" float32 (1, H, W) [m], up to `depth_range`;
    "segmentation" int32 (1, H, W), number of the body, -1 where there is none."""
    view: View | None = None
    image_size: int | tuple[int, int] | None = None
    frame_stack: int | None = None
    depth_range: float = 10.0
    """Distance at which "depth" is cut off [m]: what a policy reads is scaled by it."""
    softness: float = 1.0
    """Half width of the soft edges of the camera "differentiable" [pixels]."""

    def build(self, request: SensorRequest) -> Sensor:
        """Builds the camera that the request asks for.

        Raises:
            ValueError: the robot has no body named by the view's mount, the image size or the
                softness is not allowed, or the camera "differentiable" does not render the output.
        """
        size = arguments.image_size(self.image_size or request.image_size)
        view = self.view or request.view
        gradient = request.image_gradient and self.output == "rgb"
        entry = self._entry(size, self.frame_stack or request.frame_stack, request, gradient)
        if request.camera == "hard":
            camera = _share_camera(view, size, self.output, request)
            return _CameraReading(entry, partial(camera.render, output=self.output), False)
        if self.output != "rgb":
            raise ValueError(
                f"Sensor {self.name!r} needs {self.output!r} images, which the camera "
                '"differentiable" does not render. Use camera="hard".'
            )
        soft = DifferentiableCamera(
            request.model,
            view,
            request.scene,
            request.num_envs,
            image_size=size,
            device=request.device,
            threads=request.threads,
            softness=self.softness,
            capture=request.capture,
        )

        def render(state: State) -> torch.Tensor:
            return soft.render(state.joint_q if gradient else state.joint_q.detach())["rgb"]

        return _CameraReading(entry, render, gradient)

    def _entry(
        self, size: tuple[int, int], stack: int, request: SensorRequest, gradient: bool
    ) -> Entry:
        if self.output == "rgb":
            dtype = "float32" if gradient else "uint8"
            return Entry(self.name, "image", (3, *size), dtype, stack, "sRGB in 0..255", 0.0, 255.0)
        if self.output == "depth":
            far = self.depth_range
            return Entry(self.name, "image", (1, *size), "float32", stack, "m", 0.0, far)
        last = len(request.model.body_names) - 1
        return Entry(
            self.name, "image", (1, *size), "int32", stack, "number of a body", -1.0, float(last)
        )


class _SharedCamera:
    """Renders all outputs that an environment's sensors want of one view in a single pass.

    What a pass renders beside the output asked for waits for the sensors that read the same state
    next; each image is handed out once.
    """

    def __init__(self, view: View, size: tuple[int, int]) -> None:
        self.view, self.size = view, size
        self.outputs: tuple[str, ...] = ()
        self._state: State | None = None
        self._waiting: dict[str, torch.Tensor] = {}

    def add(self, output: str, request: SensorRequest) -> None:
        """Adds an output, for which the camera is built anew."""
        self.outputs = (*self.outputs, output)
        self._camera = Camera(
            request.model,
            self.view,
            request.scene,
            request.num_envs,
            image_size=self.size,
            device=request.device,
            outputs=self.outputs,
            threads=request.threads,
            capture=request.capture,
        )

    def render(self, state: State, output: str) -> torch.Tensor:
        """Returns one output for a state, rendered now or in the pass of another output."""
        if state is not self._state or output not in self._waiting:
            self._state, self._waiting = state, self._camera.render(state.joint_q)
        image = self._waiting.pop(output)
        if not self._waiting:
            self._state = None
        return image


def _share_camera(
    view: View, size: tuple[int, int], output: str, request: SensorRequest
) -> _SharedCamera:
    """Finds the environment's camera of this view and size that lacks the output, or adds one."""
    cameras: list[_SharedCamera] = request.shared.setdefault("cameras", [])
    for camera in cameras:
        if camera.view is view and camera.size == size and output not in camera.outputs:
            break
    else:
        camera = _SharedCamera(view, size)
        cameras.append(camera)
    camera.add(output, request)
    return camera


class _CameraReading:
    """Reads the images of a camera."""

    recordable = True

    def __init__(
        self, entry: Entry, render: Callable[[State], torch.Tensor], gradient: bool
    ) -> None:
        self.entry, self.differentiable, self._render = entry, gradient, render

    def read(self, state: State) -> torch.Tensor:
        """Returns (N, C, H, W)."""
        frame = self._render(state)
        if frame.dim() == 3:  # depth and segmentation have no axis for channels
            frame = frame[:, None]
        if self.entry.units == "m":
            frame = frame.clamp(max=self.entry.high)
        if self.entry.dtype == "uint8" and frame.dtype != torch.uint8:
            frame = frame.round().to(torch.uint8)
        return frame


@dataclass(frozen=True)
class JointAngles:
    """Measures the positions of all hinges and slides, as encoders on the joints do."""

    name: str = "joint_angles"
    frame_stack: int = 1

    def build(self, request: SensorRequest) -> Sensor:
        """Builds a sensor of the coordinates of all hinges and slides.

        Raises:
            ValueError: the robot has no such joint.
        """
        model = request.model
        columns = [
            int(coordinate)
            for coordinate, joint in zip(model.link_coordinate, model.link_joint, strict=True)
            if joint not in (FREE, BALL)
        ]
        if not columns:
            raise ValueError(
                f"Sensor {self.name!r} measures hinges and slides, but this robot has none."
            )
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
"""The sensors that every task offers; a task's own sensors of the same name replace them."""
