"""A part of the environments with its own memory and launches: what one CPU thread steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import warp as wp

from dva.compute.launches import LaunchSequence
from dva.sim.model import Model
from dva.sim.warp.kernels import build_kernels
from dva.sim.warp.schedule import backward_program, forward_program, pose_program
from dva.sim.warp.workspace import StepSize, Workspace, feature_kernel_names, model_arguments

__all__ = ["Lease", "Shard", "ShardSettings"]


@dataclass(frozen=True)
class ShardSettings:
    """What the shards of one simulator share."""

    model: Model
    step_size: StepSize
    dtype: torch.dtype
    device: torch.device
    capture: bool
    """Whether a control step is replayed as one graph."""


class Programs:
    """A workspace with the launch sequences that use it."""

    def __init__(self, shard: "Shard", adjoint: Workspace | None):
        self.workspace = shard.new_workspace()
        arrays, actions = self.workspace.arrays, shard.num_actions
        # A robot without actions has room for one.
        self.inputs = (
            arrays["joint_q"], arrays["joint_qd"], arrays["action"][:, :actions], arrays["origin"]
        )  # fmt: skip
        self.forward = shard.plan_forward(self.workspace)
        self.backward = shard.plan_backward(self.workspace, adjoint) if adjoint else None


class Lease:
    """Holds a workspace for one step and gives it back when autograd drops the step."""

    def __init__(self, pool: list[Programs], programs: Programs):
        self.pool, self.programs = pool, programs

    def __del__(self) -> None:
        self.pool.append(self.programs)


class Shard:
    """A contiguous part of the environments, with its own memory."""

    def __init__(self, settings: ShardSettings, envs: slice):
        self.envs, self.num_envs = envs, envs.stop - envs.start
        self._settings = settings
        model = settings.model
        self.num_actions = model.num_actions
        real = wp.dtype_from_torch(settings.dtype)
        self._device = wp.device_from_torch(settings.device)
        self._kernels = build_kernels(real, model.has_balls)
        self._model = model_arguments(model, real, self._device)
        self._features = feature_kernel_names(model)
        self._h = real(settings.step_size.control_dt / settings.step_size.substeps)
        self._sizes = {
            "envs": self.num_envs,
            "links": model.num_links,
            "dofs": model.num_dofs,
            "pairs": len(model.dof_pairs()),
            "contacts": len(model.body_contacts or ()),
        }
        self._free: list[Programs] = []
        self._scratch = Programs(self, None)
        arguments = self._model | self._scratch.workspace.arguments
        self._poses = pose_program(
            self._device, self._kernels, self._sizes, arguments, settings.capture
        )

    def new_workspace(self, adjoint: bool = False) -> Workspace:
        sim = self._settings
        return Workspace(sim.model, sim.step_size, self.num_envs, sim.dtype, sim.device, adjoint)

    def plan_forward(self, workspace: Workspace) -> LaunchSequence:
        arguments = self._model | workspace.arguments
        step, capture = self._settings.step_size, self._settings.capture
        return forward_program(
            self._device,
            self._kernels,
            self._sizes,
            arguments,
            step,
            self._h,
            self._features,
            capture,
        )

    def plan_backward(self, workspace: Workspace, adjoint: Workspace) -> LaunchSequence:
        arguments, adjoints = self._model | workspace.arguments, adjoint.arguments
        step, capture = self._settings.step_size, self._settings.capture
        return backward_program(
            self._device,
            self._kernels,
            self._sizes,
            arguments,
            adjoints,
            step,
            self._h,
            self._features,
            capture,
        )

    @cached_property
    def _adjoint(self) -> Workspace:
        return self.new_workspace(adjoint=True)

    @cached_property
    def _recompute(self) -> Programs:
        return Programs(self, self._adjoint)

    def prepare_backward(self, recompute: bool) -> None:
        """Builds what a backward pass needs in the caller's thread: Warp captures one graph at a
        time."""
        _ = self._recompute if recompute else self._adjoint

    def lease(self) -> Lease:
        """Takes a workspace that stays untouched until the lease ends."""
        programs = self._free.pop() if self._free else Programs(self, self._adjoint)
        return Lease(self._free, programs)

    def forward(
        self, inputs: Sequence[torch.Tensor], programs: Programs | None = None
    ) -> dict[str, torch.Tensor]:
        programs = programs or self._scratch
        for place, value in zip(programs.inputs, inputs, strict=True):
            place.copy_(value[self.envs])
        programs.forward.run(self._stream())
        return programs.workspace.arrays

    def backward(
        self,
        inputs: Sequence[torch.Tensor],
        lease: Lease | None,
        grad_q: torch.Tensor,
        grad_qd: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        if lease is None:
            self.forward(inputs, self._recompute)
        programs = lease.programs if lease else self._recompute
        assert programs.backward is not None
        self._adjoint.block.zero_()
        self._adjoint.arrays["next_q"].copy_(grad_q[self.envs])
        self._adjoint.arrays["next_qd"].copy_(grad_qd[self.envs])
        programs.backward.run(self._stream())
        return self._adjoint.arrays

    def poses(self, joint_q: torch.Tensor, origin: torch.Tensor) -> dict[str, torch.Tensor]:
        arrays = self._scratch.workspace.arrays
        arrays["joint_q"].copy_(joint_q[self.envs])
        arrays["origin"].copy_(origin[self.envs])
        self._poses.run(self._stream())
        return arrays

    def _stream(self) -> Any:
        return wp.stream_from_torch(self._settings.device) if self._device.is_cuda else None
