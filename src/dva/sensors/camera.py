"""A camera per environment, rendered for all environments in one pass.

On the CPU a Warp launch uses one core and releases the GIL, so the environments are split into
shards, each with its own renderer, and threads run these side by side.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import warp as wp

from dva.compute import arguments
from dva.compute.device import indexed_device
from dva.compute.threads import run_side_by_side
from dva.compute.warp_runtime import start_warp
from dva.sensors.caster.renderer import CasterRenderer
from dva.sensors.rendering import Renderer, RenderRequest
from dva.sensors.scene import Scene, View, compile_scene
from dva.sensors.shapes import unsupported_geoms
from dva.sim import Skeleton

__all__ = ["OUTPUTS", "RENDERERS", "Camera", "RendererName"]

OUTPUTS = ("rgb", "depth", "segmentation")
"""What a camera can render."""

RendererName = Literal["auto", "caster", "mujoco"]
RENDERERS: tuple[RendererName, ...] = ("auto", "caster", "mujoco")
"""Our ray caster for plain shapes, MuJoCo Warp's for everything else, or whichever fits."""


class Camera:
    """Renders one picture per environment.

    A picture depends on the joint positions alone: the same positions give the same pixels, bit for
    bit, whatever the environment's index, the number of environments or the number of threads.

    Args:
        model: the robot, of which a `Skeleton` is enough; its MJCF file is rendered.
        view: where the camera stands.
        scene: what surrounds the robot.
        num_envs: number of environments N.
        image_size: side of a square picture, or (height, width) [pixels].
        device: torch device of joint positions and pictures.
        outputs: which of `OUTPUTS` to render; nothing else is computed.
        threads: number of shards; None: torch's thread count on the CPU, 1 on CUDA.
        samples: rays per pixel along each axis, averaged in "rgb"; 1 for learning, 2 for smooth
            videos (four times the cost). "depth" and "segmentation" keep one ray per pixel.
        renderer: "caster" draws spheres, capsules, cylinders and boxes, several times faster than
            "mujoco", which draws meshes and textures too; "auto" takes the caster where it can.
        capture: replay the caster's launches as one graph (a CUDA graph on CUDA).

    Raises:
        ValueError: an argument is not allowed, or the robot has no body named `view.mount`.
    """

    def __init__(
        self,
        model: Skeleton,
        view: View,
        scene: Scene,
        num_envs: int,
        image_size: int | tuple[int, int] = 84,
        device: str | torch.device = "cpu",
        outputs: Sequence[str] = ("rgb",),
        threads: int | None = None,
        samples: int = 1,
        renderer: RendererName = "auto",
        capture: bool = True,
    ) -> None:
        self.num_envs = arguments.count("num_envs", num_envs)
        self.image_size = arguments.image_size(image_size)
        self.outputs = _outputs(outputs)
        start_warp()
        self.device = indexed_device(device)
        shards = arguments.shards(self.num_envs, threads, self.device)
        self.threads = len(shards)
        if arguments.count("samples", samples) > 1 and "rgb" not in self.outputs:
            raise ValueError(
                f'samples is {samples}, but only "rgb" is averaged: use 1 or add "rgb" to outputs.'
            )
        self.model = model
        self.view = view
        self.scene = scene
        request = RenderRequest(
            model,
            view,
            scene,
            compile_scene(model.path, view, scene),
            self.image_size,
            self.outputs,
            samples,
            self.device,
            capture,
        )
        self.renderer = _choose(renderer, request)
        """Which renderer draws: "caster" or "mujoco"."""
        self._request = request
        draws = _renderer_class(self.renderer)
        with self._warp_scope():
            self._shards = [
                _Shard(envs, draws(request, envs.stop - envs.start)) for envs in shards
            ]
        self._compiled = False

    @torch.no_grad()
    def render(self, joint_q: torch.Tensor) -> dict[str, torch.Tensor]:
        """Renders all environments.

        Args:
            joint_q: joint positions (N, num_coords) on the camera's device.

        Returns:
            The outputs asked for, new tensors on the camera's device: "rgb" uint8 (N, 3, H, W);
            "depth" float32 (N, H, W), metres along the optical axis, `scene.far` where the ray hits
            nothing; "segmentation" int32 (N, H, W), number of the MuJoCo body, 0 for the world with
            its floor and wall, -1 where the ray hits nothing.

        Raises:
            ValueError: `joint_q` has another shape or device.
        """
        expected = (self.num_envs, self.model.num_coords)
        if tuple(joint_q.shape) != expected:
            raise ValueError(
                f"joint_q has shape {tuple(joint_q.shape)}; this camera renders {expected} = "
                "(num_envs, num_coords). Build another camera for another number of environments."
            )
        if joint_q.device != self.device:
            raise ValueError(
                f"joint_q is on {joint_q.device}, the camera on {self.device}: move one of them."
            )
        joint_q = joint_q.detach()
        images = self._request.allocate(self.num_envs)
        jobs = [functools.partial(shard.render, joint_q, images) for shard in self._shards]
        with self._warp_scope():
            # The first pass compiles kernels, and threads must not compile side by side.
            if self._compiled:
                run_side_by_side(jobs)
            else:
                for job in jobs:
                    job()
                self._compiled = True
        return images

    @contextlib.contextmanager
    def _warp_scope(self) -> Iterator[None]:
        """Makes Warp use the camera's device and, on CUDA, torch's stream, which saves a sync."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(wp.ScopedDevice(wp.device_from_torch(self.device)))
            if self.device.type == "cuda":
                stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
                # A stream that is recording a graph must not wait for another stream.
                stack.enter_context(wp.ScopedStream(stream, sync_enter=False))
            yield


@dataclass(frozen=True)
class _Shard:
    """Renders a contiguous slice of the environments."""

    envs: slice
    renderer: Renderer

    def render(self, joint_q: torch.Tensor, images: dict[str, torch.Tensor]) -> None:
        own = {name: image[self.envs] for name, image in images.items()}
        self.renderer.render(joint_q[self.envs], own)


def _renderer_class(
    renderer: Literal["caster", "mujoco"],
) -> Callable[[RenderRequest, int], Renderer]:
    if renderer == "caster":
        return CasterRenderer
    # Here, because few need it and MuJoCo Warp takes a quarter of a command's start.
    from dva.sensors.mujoco.renderer import MujocoRenderer

    return MujocoRenderer


def _choose(renderer: RendererName, request: RenderRequest) -> Literal["caster", "mujoco"]:
    if renderer not in RENDERERS:
        raise ValueError(f"renderer is {renderer!r}; allowed: {', '.join(RENDERERS)}.")
    if renderer == "auto":
        return "mujoco" if unsupported_geoms(request.mj_model) else "caster"
    return renderer


def _outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or not names or len(set(names)) != len(names):
        raise ValueError(
            f"outputs is {outputs!r}; name at least one of {', '.join(OUTPUTS)}, each at most once."
        )
    return names
