"""A differentiable camera: the gradient of a picture by the joint positions.

It draws the scenes and views of `Camera`, but smooth in the poses of the bodies: silhouettes and
shadows have soft edges, the checks of the floor are averaged over a pixel, the edges of boxes and
cylinders are rounded. With less softness the picture tends to the hard one.

Source of the idea that a silhouette needs a soft cover to have a gradient: Liu et al., "Soft
Rasterizer", ICCV 2019. Distances of shapes to rays, and all adjoints, are our own.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import warp as wp
from torch.autograd.function import once_differentiable

from dva.compute import arguments
from dva.compute.device import indexed_device
from dva.compute.launches import LaunchSequence
from dva.compute.threads import run_side_by_side
from dva.compute.warp_runtime import start_warp
from dva.sensors.caster.intersections import BOX, CYLINDER
from dva.sensors.caster.renderer import light_arguments, pixel_rays
from dva.sensors.rendering import Setup
from dva.sensors.scene import CAMERA, Scene, View, compile_scene
from dva.sensors.soft import layers as soft_layers
from dva.sensors.soft.kernels import pull_back, soft_cast, soft_cast_adjoint
from dva.sensors.stage import Stage, launch
from dva.sim import Skeleton

__all__ = ["DifferentiableCamera"]

_BLUR = (0.01, 64.0)
"""Checks over which the floor is averaged at least and at most."""


class DifferentiableCamera:
    """Renders one picture per environment, with a gradient to the joint positions.

    Nothing but the joint positions is kept for the backward pass, which draws the picture again.

    Args:
        model: the robot, of which a `Skeleton` is enough; its MJCF file is rendered.
        view: where the camera stands.
        scene: what surrounds the robot.
        num_envs: number of environments N.
        image_size: side of a square picture, or (height, width) [pixels].
        device: torch device of joint positions and pictures.
        threads: shards rendered side by side; None: torch's thread count on the CPU, 1 on CUDA.
        softness: half width of soft edges, in pixels at the distance of the view's target.
        capture: replay the launches as one graph (a CUDA graph on CUDA).

    Raises:
        ValueError: an argument outside what is allowed, an unknown mount body, or a visible geom
            that is not an opaque sphere, capsule, cylinder or box.
    """

    def __init__(
        self,
        model: Skeleton,
        view: View,
        scene: Scene,
        num_envs: int,
        image_size: int | tuple[int, int] = 84,
        device: str | torch.device = "cpu",
        threads: int | None = None,
        softness: float = 1.0,
        capture: bool = True,
    ) -> None:
        self.num_envs = arguments.at_least_one("num_envs", num_envs)
        self.image_size = arguments.image_size(image_size)
        if not softness > 0.0:
            raise ValueError(f"softness is {softness}; give a width above 0 pixels.")
        start_warp()
        self.device = indexed_device(device)
        shards = arguments.shards(self.num_envs, threads, self.device)
        self.threads = len(shards)
        self.model, self.view, self.scene, self.softness = model, view, scene, softness
        mj_model = compile_scene(model.path, view, scene)
        setup = Setup(
            model, view, scene, mj_model, self.image_size, ("rgb",), 1, self.device, capture
        )  # fmt: skip
        self._shards = [_Shard(setup, envs, self.band, softness) for envs in shards]

    @property
    def band(self) -> float:
        """Half width of soft edges [m]."""
        distance = float(np.linalg.norm(np.subtract(self.view.eye, self.view.target)))
        half = np.tan(np.radians(self.view.fovy) / 2.0)
        return self.softness * distance * 2.0 * half / self.image_size[0]

    def render(self, joint_q: torch.Tensor) -> dict[str, torch.Tensor]:
        """Renders all environments.

        Args:
            joint_q: joint positions (N, num_coords) on the camera's device, float32.

        Returns:
            "rgb": float32 (N, 3, H, W) in [0, 255], a new tensor. Its gradient by a free joint's
            quaternion is that of turning; there is none by its length.

        Raises:
            ValueError: `joint_q` has another shape or device.
        """
        expected = (self.num_envs, self.model.num_coords)
        if tuple(joint_q.shape) != expected or joint_q.device != self.device:
            raise ValueError(
                f"joint_q is {tuple(joint_q.shape)} on {joint_q.device}; this camera renders "
                f"{expected} = (num_envs, num_coords) on {self.device}. Build a camera for another "
                "number of environments, or move one of them."
            )
        return {"rgb": _Picture.apply(self, joint_q)}  # type: ignore[dict-item]

    def _draw(self, joint_q: torch.Tensor) -> torch.Tensor:
        image = joint_q.new_empty(self.num_envs, 3, *self.image_size)
        run_side_by_side([functools.partial(shard.draw, joint_q, image) for shard in self._shards])
        return image

    def _pull_back(self, joint_q: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(joint_q)
        run_side_by_side(
            [
                functools.partial(shard.pull_back, joint_q, gradient, result)
                for shard in self._shards
            ]
        )
        return result


class _Picture(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, camera: DifferentiableCamera, joint_q: torch.Tensor) -> torch.Tensor:
        ctx.camera = camera
        ctx.save_for_backward(joint_q)
        return camera._draw(joint_q.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        (joint_q,) = ctx.saved_tensors
        return None, ctx.camera._pull_back(joint_q, gradients[0])


class _Shard:
    """A contiguous part of the environments, with its own memory."""

    def __init__(self, setup: Setup, envs: slice, band: float, softness: float) -> None:
        self._envs, self._setup = envs, setup
        self._device = wp.device_from_torch(setup.device)
        n = envs.stop - envs.start
        self._stage = Stage(setup, n)
        height, width = setup.image_size
        make = functools.partial(torch.zeros, device=setup.device)
        model, count = setup.model, len(self._stage.shapes.kind)
        self._image, self._gradient = make(n, 3, height, width), make(n, 3, height, width)
        self._joint_gradient = make(n, model.num_coords)
        self._sums = {
            "force": make(n, count, 3),
            "torque": make(n, count, 3),
            "eye_force": make(n, 3),
            "link_force": make(n, model.num_links, 3),
            "link_moment": make(n, model.num_links, 3),
        }
        self._arguments = {
            **self._stage.arguments,
            **_soft_arguments(setup, self._stage, band, softness, self._device),
            **{name: wp.from_torch(value, dtype=wp.vec3) for name, value in self._sums.items()},
        }
        self._draw = LaunchSequence(self._device, self._drawing(n, height * width), setup.capture)
        self._pull = LaunchSequence(self._device, self._pulling(n, height * width), setup.capture)

    def draw(self, joint_q: torch.Tensor, image: torch.Tensor) -> None:
        self._stage.set(joint_q[self._envs])
        self._draw.run(self._stream())
        image[self._envs].copy_(self._image)

    def pull_back(
        self, joint_q: torch.Tensor, gradient: torch.Tensor, result: torch.Tensor
    ) -> None:
        self._stage.set(joint_q[self._envs])
        self._gradient.copy_(gradient[self._envs])
        for value in self._sums.values():
            value.zero_()
        self._pull.run(self._stream())
        result[self._envs].copy_(self._joint_gradient)

    def _drawing(self, n: int, pixels: int) -> Iterator[dict[str, Any]]:
        yield from self._stage.launches()
        image = wp.from_torch(self._image.flatten(-2))
        yield launch(soft_cast, (n, pixels), {**self._arguments, "image": image})

    def _pulling(self, n: int, pixels: int) -> Iterator[dict[str, Any]]:
        yield from self._stage.launches()
        gradient = wp.from_torch(self._gradient.flatten(-2))
        yield launch(soft_cast_adjoint, (n, pixels), {**self._arguments, "gradient": gradient})
        gradient = wp.from_torch(self._joint_gradient)
        yield launch(pull_back, n, {**self._arguments, "gradient": gradient})

    def _stream(self) -> Any:
        return wp.stream_from_torch(self._setup.device) if self._device.is_cuda else None


def _soft_arguments(
    setup: Setup, stage: Stage, band: float, softness: float, device: Any
) -> dict[str, Any]:
    """Names what the soft kernels take beside the stage's arguments."""
    rays, cosines = pixel_rays(setup.view.fovy, setup.view.rotation, setup.image_size, 1)
    core, radius = _cores(stage.shapes.kind, stage.shapes.size, band)
    shapes, surroundings = soft_layers.Shapes(), soft_layers.Surroundings()
    shapes.count = len(radius)
    for name in ("kind", "reach", "color", "center", "rotation", "hull"):
        setattr(shapes, name, stage.arguments[name])
    shapes.core = wp.array(core, dtype=wp.vec3, device=device)
    shapes.radius = wp.array(radius, dtype=float, device=device)
    shapes.soft = wp.array(np.minimum(radius, band), dtype=float, device=device)
    for name, value in {**light_arguments(setup), "band": band}.items():
        setattr(surroundings, name, value)
    return {
        "s": shapes,
        "w": surroundings,
        "rays": wp.array(rays[0], dtype=wp.vec3, device=device),
        "cosines": wp.array(cosines[0], dtype=float, device=device),
        "blur": wp.array(_floor_blur(setup, softness), dtype=wp.vec2, device=device),
    }


def _cores(kind: np.ndarray, size: np.ndarray, band: float) -> tuple[np.ndarray, np.ndarray]:
    """Splits shapes (G,) into cores (G, 3) and the radius (G,) around them [m]."""
    core, radius = np.zeros_like(size), size[:, 0].copy()
    for g, (what, extent) in enumerate(zip(kind, size, strict=True)):
        if what == BOX:
            radius[g] = min(band, 0.5 * extent.min())
            core[g] = extent - radius[g]
        elif what == CYLINDER:
            radius[g] = min(band, 0.5 * extent[:2].min())
            core[g] = (extent[0] - radius[g], 0.0, extent[1] - radius[g])
        elif extent[1] > 0.0:  # a capsule; spheres have no second extent
            core[g, 2] = extent[1]
    return core, radius


def _floor_blur(setup: Setup, softness: float) -> np.ndarray:
    """Computes the widths in x and y over which the floor is averaged (H W, 2) [checks].

    They are what a pixel shows of it, times the softness.
    The eye's height is that of the robot's reference pose, so that the blur is a constant.
    """
    view, scene, (height, width) = setup.view, setup.scene, setup.image_size
    mj_model = setup.mj_model
    eye = mj_model.camera(CAMERA).pos
    above = max(float(eye[2]) - scene.floor_height, 1e-3)
    side = 2.0 * np.tan(np.radians(view.fovy) / 2.0) / height
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    x = side * (column + 0.5 - width / 2.0)
    y = side * (height / 2.0 - row - 0.5)
    ray = np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3) @ view.rotation.T
    down = np.where(ray[:, 2] < -1e-6, ray[:, 2], -1e-6)
    total = np.zeros((len(ray), 2))
    for step in (side * view.rotation[:, 0], side * view.rotation[:, 1]):
        total += np.abs((step[:2] * down[:, None] - ray[:, :2] * step[2]) / down[:, None] ** 2)
    return np.clip(softness * above * total / scene.checker_size, *_BLUR)
