"""The robot's shapes as the camera sees them, with which our own renderers begin."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import warp as wp

from dva.sensors.caster.kernels import enclose, place, stand
from dva.sensors.rendering import RenderRequest
from dva.sensors.shapes import Shapes, read_shapes
from dva.sim import LinkPoses

__all__ = ["Stage", "launch"]

_BLOCK = 128
"""Threads of a CUDA block. The slow launches have one thread per pixel; the others use the same
size, because a module is compiled for one."""


class Stage:
    """Computes where the shapes of n environments are, relative to each one's camera.

    Args:
        request: what to render.
        num_envs: number of environments n.

    Attributes:
        shapes: the robot's visible geoms.
        arguments: Warp arrays and numbers by the names of the kernels' arguments: the shapes'
            constants, their poses ("center", "rotation", "hull", "eye"), and what `LinkPoses` has.

    Raises:
        ValueError: the scene has a geom that is not a plain shape.
    """

    def __init__(self, request: RenderRequest, num_envs: int) -> None:
        device = wp.device_from_torch(request.device)
        self._num_envs = num_envs
        self._poses = LinkPoses(request.model, num_envs, request.device)
        self.shapes: Shapes = read_shapes(request.mj_model, request.model)
        view, model, shapes = request.view, request.model, self.shapes
        mount = model.body_names.index(view.mount) if view.mount is not None else 0
        constants = {
            "kind": (shapes.kind, int),
            "link": (shapes.link, int),
            "body": (shapes.body, int),
            "local_position": (shapes.position, wp.vec3),
            "local_rotation": (shapes.rotation, wp.quat),
            "size": (shapes.size, wp.vec3),
            "reach": (shapes.bounding_radius, float),
            "color": (shapes.color, wp.vec3),
        }
        count = len(shapes.kind)
        poses = {
            "eye": (num_envs, wp.vec3),
            "center": ((num_envs, count), wp.vec3),
            "rotation": ((num_envs, count), wp.mat33),
            "hull": (num_envs, wp.vec4),
        }
        self.arguments: dict[str, Any] = {
            **self._poses.arguments,
            "link_position": self._poses.position,
            "link_rotation": self._poses.rotation,
            **{
                name: wp.array(np.ascontiguousarray(array), dtype=dtype, device=device)
                for name, (array, dtype) in constants.items()
            },
            **{
                name: wp.zeros(shape, dtype=dtype, device=device)
                for name, (shape, dtype) in poses.items()
            },
            "num_shapes": count,
            "mount": int(model.body_link[mount]),
            "mount_offset": wp.vec3(*model.body_frame[mount][:3]),
            "view_eye": wp.vec3(*view.eye),
            "follow": wp.vec3(*view.follow_mask),
        }

    def set(self, joint_q: torch.Tensor) -> None:
        """Sets the joint positions (n, nq) that the launches read."""
        self._poses.joint_q[:, 0].copy_(joint_q)

    def launches(self) -> Iterator[dict[str, Any]]:
        """Yields the launches that move shapes and eye, for a `LaunchSequence`."""
        yield from self._poses.launches()
        yield launch(stand, self._num_envs, self.arguments)
        yield launch(place, (self._num_envs, self.arguments["num_shapes"]), self.arguments)
        yield launch(enclose, self._num_envs, self.arguments)


def launch(kernel: Any, dim: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Describes a launch whose inputs are found by name; a missing one is a null array."""
    inputs = [arguments.get(argument.label) for argument in kernel.adj.args]
    return {"kernel": kernel, "dim": dim, "inputs": inputs, "block_dim": _BLOCK}
