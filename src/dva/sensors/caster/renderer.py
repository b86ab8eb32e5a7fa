"""A ray caster for scenes of plain shapes, of which our robots are made.

It draws what MuJoCo Warp's renderer draws, several times faster: the camera never turns, so a
pixel's ray is a constant; floor and wall take one division each; a ray is tested against the
robot's bounding sphere first, then against those of its shapes; and the floor's checks are computed
rather than looked up.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import warp as wp

from dva.compute.launches import LaunchSequence
from dva.sensors.caster.kernels import cast
from dva.sensors.rendering import RenderRequest
from dva.sensors.scene import TEXTURE_PIXELS
from dva.sensors.stage import Stage, launch

__all__ = ["CasterRenderer", "light_arguments", "pixel_rays"]


class CasterRenderer:
    """Renders n environments of a scene of plain shapes.

    Args:
        request: what to render.
        num_envs: number of environments n.

    Raises:
        ValueError: the scene has a geom that is not a plain shape.
    """

    def __init__(self, request: RenderRequest, num_envs: int) -> None:
        self._request, self._num_envs = request, num_envs
        self._device = wp.device_from_torch(request.device)
        self._stage = Stage(request, num_envs)
        self._images = request.allocate(num_envs)
        # Kept alive here: captured launches hold addresses, not arrays.
        self._arguments = self._name_arguments()
        self._program = LaunchSequence(self._device, self._launches(), request.capture)

    def render(self, joint_q: torch.Tensor, images: dict[str, torch.Tensor]) -> None:
        """Renders joint positions (n, nq) into images; see `Camera.render`."""
        self._stage.set(joint_q)
        stream = wp.stream_from_torch(self._request.device) if self._device.is_cuda else None
        self._program.run(stream)
        for name, image in images.items():
            image.copy_(self._images[name])

    def _launches(self) -> Iterator[dict[str, Any]]:
        yield from self._stage.launches()
        pixels = self._request.image_size[0] * self._request.image_size[1]
        yield launch(cast, (self._num_envs, pixels), self._arguments)

    def _name_arguments(self) -> dict[str, Any]:
        request = self._request
        rays, cosines = pixel_rays(
            request.view.fovy, request.view.rotation, request.image_size, request.samples
        )
        return {
            **self._stage.arguments,
            **light_arguments(request),
            "rays": wp.array(rays, dtype=wp.vec3, device=self._device),
            "cosines": wp.array(cosines, dtype=float, device=self._device),
            "samples": request.samples * request.samples,
            "soft": 2.0 / TEXTURE_PIXELS,
            **{name: wp.from_torch(image.flatten(-2)) for name, image in self._images.items()},
        }


def light_arguments(request: RenderRequest) -> dict[str, Any]:
    """Returns floor, wall, sky and light by the names of the kernels' arguments."""
    scene = request.scene
    light = np.asarray(scene.light_direction) / np.linalg.norm(scene.light_direction)
    return {
        "floor_height": float(scene.floor_height),
        "wall_y": float(scene.wall_y) if scene.wall_y is not None else 1e9,
        "checker": float(scene.checker_size),
        "light_checks": wp.vec3(*_as_bytes(scene.floor_color)),
        "dark_checks": wp.vec3(*_as_bytes(scene.floor_color2)),
        "wall_color": wp.vec3(*scene.wall_color),
        "sky_color": wp.vec3(*scene.sky_color),
        "to_light": wp.vec3(*-light),
        "light": float(scene.light),
        "ambient": float(scene.ambient),
        "shadow": float(scene.shadow),
        "far": float(scene.far),
    }


def pixel_rays(
    fovy: float, rotation: np.ndarray, image_size: tuple[int, int], samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the rays through the pixels of a pinhole camera.

    Args:
        fovy: full vertical field of view [degrees].
        rotation: (3, 3), columns are the camera's right, up and backward axes in the world frame.
        image_size: (height, width).
        samples: rays per pixel along each axis, evenly spaced.

    Returns:
        Unit directions in the world frame (samples^2, H W, 3), and their cosines with the optical
        axis (samples^2, H W).
    """
    height, width = image_size
    offsets = (np.arange(samples) + 0.5) / samples
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    half = np.tan(np.radians(fovy) / 2.0)
    rays = []
    for down in offsets:
        for right in offsets:
            x = (2.0 * (column + right) / width - 1.0) * half * width / height
            y = (1.0 - 2.0 * (row + down) / height) * half
            rays.append(np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3))
    local = np.stack(rays)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return local @ rotation.T, -local[..., 2]


def _as_bytes(color: tuple[float, float, float]) -> np.ndarray:
    """Rounds a colour down to the bytes of a texture."""
    return np.floor(np.asarray(color) * 255.0) / 255.0
