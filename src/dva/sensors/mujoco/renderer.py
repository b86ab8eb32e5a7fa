"""MuJoCo Warp's renderer, which draws all that MJCF can describe, meshes and textures too."""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from contextlib import nullcontext

import mujoco_warp as mjw
import torch
import warp as wp

from dva.compute.warp_runtime import COMPILING
from dva.sensors.mujoco.kernels import follow_mount, unpack_depth, unpack_rgb, unpack_segmentation
from dva.sensors.rendering import RenderRequest
from dva.sensors.scene import CAMERA, FLOOR, WALL
from dva.sensors.shapes import VISIBLE_GROUPS
from dva.sim import to_mujoco

__all__ = ["MujocoRenderer"]


class MujocoRenderer:
    """Renders n environments of any scene.

    Args:
        request: what to render.
        num_envs: number of environments n.
    """

    def __init__(self, request: RenderRequest, num_envs: int) -> None:
        self._request, self._num_envs = request, num_envs
        self._compiled = False
        with COMPILING:
            self._prepare(request, num_envs)

    def _prepare(self, request: RenderRequest, num_envs: int) -> None:
        mj_model, scene = request.mj_model, request.scene
        height, width = request.image_size
        if "model" not in request.shared:
            request.shared["model"] = mjw.put_model(mj_model)
        self._model = request.shared["model"]
        self._geom_body = wp.array(mj_model.geom_bodyid, dtype=int)
        self._data = mjw.make_data(mj_model, nworld=num_envs, nconmax=1, njmax=1)
        self._qpos = wp.to_torch(self._data.qpos)
        # Camera and light never turn, so their directions are set once.
        mjw.camlight(self._model, self._data)
        self._context = mjw.create_render_context(
            mj_model,
            nworld=num_envs,
            cam_res=(width, height),
            render_rgb="rgb" in request.outputs,
            render_depth="depth" in request.outputs,
            render_seg="segmentation" in request.outputs,
            use_shadows=scene.shadow > 0.0,
            enabled_geom_groups=list(VISIBLE_GROUPS),
            cam_active=[CAMERA],
            background_color=(*scene.sky_color, 1.0),
            shadow_light_fraction=1.0 - scene.shadow,
            samples_per_pixel=request.samples,
            enable_specular=False,
            enable_emission=False,
        )

    def render(self, joint_q: torch.Tensor, images: dict[str, torch.Tensor]) -> None:
        """Renders joint positions (n, nq) into images; see `Camera.render`."""
        with nullcontext() if self._compiled else COMPILING:
            self._render(joint_q, images)
        self._compiled = True

    def _render(self, joint_q: torch.Tensor, images: dict[str, torch.Tensor]) -> None:
        self._qpos.copy_(to_mujoco(self._request.model, joint_q))
        # Only positions of bodies and geoms: no centres of mass, no general camera modes.
        mjw.kinematics(self._model, self._data)
        self._place_view()
        mjw.refit_bvh(self._model, self._data, self._context)
        # The shards of a camera differ only in their number of environments: one kernel serves all.
        self._context._megakernel = self._request.shared.get("megakernel")
        mjw.render(self._model, self._data, self._context)
        self._request.shared["megakernel"] = self._context._megakernel
        self._unpack(images)

    def _place_view(self) -> None:
        view, mj_model, data = self._request.view, self._request.mj_model, self._data
        wp.launch(
            follow_mount,
            dim=self._num_envs,
            inputs=[
                data.xpos,
                mj_model.body(view.mount or "world").id,
                wp.vec3(*view.follow_mask),
                wp.vec3(*view.eye),
                2.0 * self._request.scene.checker_size,
                mj_model.camera(CAMERA).id,
                mj_model.geom(FLOOR).id,
                mj_model.geom(WALL).id if self._request.scene.wall_y is not None else -1,
            ],
            outputs=[data.cam_xpos, data.geom_xpos],
        )

    def _unpack(self, images: dict[str, torch.Tensor]) -> None:
        context = self._context
        sources = {
            "rgb": (unpack_rgb, [context.rgb_data]),
            "depth": (unpack_depth, [context.depth_data, self._request.scene.far]),
            "segmentation": (unpack_segmentation, [context.seg_data, self._geom_body]),
        }
        pixels = self._request.image_size[0] * self._request.image_size[1]
        for name, image in images.items():
            kernel, inputs = sources[name]
            wp.launch(
                kernel,
                dim=(self._num_envs, pixels),
                inputs=inputs,
                outputs=[wp.from_torch(image.flatten(-2))],
            )
