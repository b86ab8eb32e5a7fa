"""A camera per environment, rendered for all environments in one pass by MuJoCo Warp's ray caster.

Together with `kernels.py` this is all that knows the renderer. On the CPU a Warp launch uses one
core and releases the GIL, so the environments are split into shards, each with its own buffers,
which threads render side by side.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco_warp as mjw
import torch
import warp as wp

from dva.sensors import arguments
from dva.sensors.kernels import follow_mount, unpack_depth, unpack_rgb, unpack_segmentation
from dva.sensors.scene import CAMERA, FLOOR, WALL, Scene, View, compose_scene
from dva.sim import Model, indexed_device, run_side_by_side, start_warp, to_mujoco

OUTPUTS = ("rgb", "depth", "segmentation")
"""What a camera can give."""

_VISIBLE_GROUPS = [0, 1, 2]
"""Geom groups in the picture; group 3 carries mass and contact only and casts no shadow either."""


class Camera:
    """Renders one picture per environment.

    The pictures are functions of the joint positions alone: same positions, same pixels, bit for
    bit, whatever the environment's index, the number of environments or the number of threads.

    Args:
        model: the robot; its MJCF file is rendered.
        view: where the camera stands.
        scene: what surrounds the robot.
        num_envs: number of environments N.
        image_size: side of a square picture, or (height, width) [pixels].
        device: torch device of joint positions and pictures.
        outputs: what to render, out of `OUTPUTS`; nothing else is computed.
        threads: shards rendered side by side; None: torch's thread count on the CPU, 1 on CUDA.
        samples: rays per pixel along each axis, averaged in "rgb"; 1 for learning, 2 for smooth
            videos (four times the cost). "depth" and "segmentation" keep one ray per pixel.

    Raises:
        ValueError: an argument outside what is allowed, or an unknown mount body.
    """

    def __init__(
        self,
        model: Model,
        view: View,
        scene: Scene,
        num_envs: int,
        image_size: int | tuple[int, int] = 84,
        device: str | torch.device = "cpu",
        outputs: Sequence[str] = ("rgb",),
        threads: int | None = None,
        samples: int = 1,
    ) -> None:
        self.num_envs = arguments.at_least_one("num_envs", num_envs)
        self.image_size = arguments.image_size(image_size)
        self.outputs = _outputs(outputs)
        start_warp()
        self.device = indexed_device(device)
        if threads is None:
            threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.threads = min(arguments.at_least_one("threads", threads), self.num_envs)
        if arguments.at_least_one("samples", samples) > 1 and "rgb" not in self.outputs:
            raise ValueError(
                f'samples is {samples}, but only "rgb" is averaged: use 1 or add "rgb" to outputs.'
            )
        self.model = model
        self.view = view
        self.scene = scene
        self._mj_model = compose_scene(model.path, view, scene).compile()
        with self._warp_scope():
            self._build(samples)
        self._compiled = False

    @torch.no_grad()
    def render(self, joint_q: torch.Tensor) -> dict[str, torch.Tensor]:
        """Renders all environments.

        Args:
            joint_q: joint positions (N, num_coords) on the camera's device.

        Returns:
            The outputs asked for, new tensors on the camera's device: "rgb" uint8 (N, 3, H, W);
            "depth" float32 (N, H, W), metres along the optical axis, `scene.far` where nothing is
            met; "segmentation" int32 (N, H, W), number of the MuJoCo body, 0 for the world with its
            floor and wall, -1 where nothing is met.

        Raises:
            ValueError: `joint_q` has another shape or device.
        """
        expected = (self.num_envs, self.model.num_coords)
        if tuple(joint_q.shape) != expected:
            raise ValueError(
                f"joint_q has shape {tuple(joint_q.shape)}; this camera renders {expected} = "
                "(num_envs, num_coords). Build a camera with another num_envs to render another "
                "number of environments."
            )
        if joint_q.device != self.device:
            raise ValueError(
                f"joint_q is on {joint_q.device}, the camera on {self.device}: move one of them."
            )
        qpos = to_mujoco(self.model, joint_q.detach())
        images = self._allocate()
        jobs = [
            functools.partial(self._render_shard, shard, qpos, images) for shard in self._shards
        ]
        with self._warp_scope():
            # the first pass compiles kernels, which threads must not do side by side
            if self._compiled:
                run_side_by_side(jobs)
            else:
                for job in jobs:
                    job()
                self._compiled = True
        return images

    def _build(self, samples: int) -> None:
        """Puts the scene on the device and gives every shard its buffers."""
        self._mjw_model = mjw.put_model(self._mj_model)
        self._geom_body = wp.array(self._mj_model.geom_bodyid, dtype=int)
        bounds = [self.num_envs * i // self.threads for i in range(self.threads + 1)]
        height, width = self.image_size
        self._shards: list[_Shard] = []
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
            context = mjw.create_render_context(
                self._mj_model,
                nworld=stop - start,
                cam_res=(width, height),
                render_rgb="rgb" in self.outputs,
                render_depth="depth" in self.outputs,
                render_seg="segmentation" in self.outputs,
                use_shadows=self.scene.shadow > 0.0,
                enabled_geom_groups=_VISIBLE_GROUPS,
                cam_active=[CAMERA],
                background_color=(*self.scene.sky_color, 1.0),
                shadow_light_fraction=1.0 - self.scene.shadow,
                samples_per_pixel=samples,
                enable_specular=False,
                enable_emission=False,
            )
            data = mjw.make_data(self._mj_model, nworld=stop - start, nconmax=1, njmax=1)
            # camera and light never turn: their directions are set once
            mjw.camlight(self._mjw_model, data)
            self._shards.append(_Shard(start, stop, data, context, wp.to_torch(data.qpos)))

    def _render_shard(
        self, shard: "_Shard", qpos: torch.Tensor, images: dict[str, torch.Tensor]
    ) -> None:
        shard.qpos.copy_(qpos[shard.start : shard.stop])
        # positions of bodies and geoms only: no centres of mass, no general camera modes
        mjw.kinematics(self._mjw_model, shard.data)
        self._place_view(shard)
        mjw.refit_bvh(self._mjw_model, shard.data, shard.context)
        # all shards differ in their number of environments alone and share one compiled kernel
        shard.context._megakernel = self._shards[0].context._megakernel
        mjw.render(self._mjw_model, shard.data, shard.context)
        self._unpack(shard, images)

    def _place_view(self, shard: "_Shard") -> None:
        view, mj_model, data = self.view, self._mj_model, shard.data
        wp.launch(
            follow_mount,
            dim=shard.stop - shard.start,
            inputs=[
                data.xpos,
                mj_model.body(view.mount or "world").id,
                wp.vec3(*view.follow_mask),
                wp.vec3(*view.eye),
                2.0 * self.scene.checker_size,
                mj_model.camera(CAMERA).id,
                mj_model.geom(FLOOR).id,
                mj_model.geom(WALL).id if self.scene.wall_y is not None else -1,
            ],
            outputs=[data.cam_xpos, data.geom_xpos],
        )

    def _allocate(self) -> dict[str, torch.Tensor]:
        shape = (self.num_envs, *self.image_size)
        kinds = {
            "rgb": ((self.num_envs, 3, *self.image_size), torch.uint8),
            "depth": (shape, torch.float32),
            "segmentation": (shape, torch.int32),
        }
        return {
            name: torch.empty(kinds[name][0], dtype=kinds[name][1], device=self.device)
            for name in self.outputs
        }

    def _unpack(self, shard: "_Shard", images: dict[str, torch.Tensor]) -> None:
        context = shard.context
        sources = {
            "rgb": (unpack_rgb, [context.rgb_data]),
            "depth": (unpack_depth, [context.depth_data, self.scene.far]),
            "segmentation": (unpack_segmentation, [context.seg_data, self._geom_body]),
        }
        pixels = self.image_size[0] * self.image_size[1]
        for name, image in images.items():
            kernel, inputs = sources[name]
            flat = image[shard.start : shard.stop].flatten(-2)
            wp.launch(
                kernel,
                dim=(shard.stop - shard.start, pixels),
                inputs=inputs,
                outputs=[wp.from_torch(flat)],
            )

    @contextlib.contextmanager
    def _warp_scope(self) -> Iterator[None]:
        """Makes the camera's device Warp's default, on CUDA with torch's stream: no sync needed."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(wp.ScopedDevice(wp.device_from_torch(self.device)))
            if self.device.type == "cuda":
                stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
                stack.enter_context(wp.ScopedStream(stream))
            yield


@dataclass
class _Shard:
    """The buffers of environments start..stop-1."""

    start: int
    stop: int
    data: Any
    context: Any
    qpos: torch.Tensor


def _outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or not names or len(set(names)) != len(names):
        raise ValueError(
            f"outputs is {outputs!r}; name each of {', '.join(OUTPUTS)} at most once, and at "
            "least one of them."
        )
    return names
