"""Steps many environments at once, differentiably, from torch."""

import os
import warnings
from functools import partial
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from dva.compute.device import indexed_device
from dva.compute.threads import run_side_by_side, split_environments
from dva.compute.warp_runtime import start_warp
from dva.sim.mjcf.importer import load_model
from dva.sim.model import Model
from dva.sim.quaternions import multiply, rotate
from dva.sim.simulator import SimulatorRequest, StateStorage
from dva.sim.stability import stable_substeps
from dva.sim.state import State
from dva.sim.warp.shard import Lease, Shard, ShardSettings
from dva.sim.warp.workspace import (
    StepSize,
    origin_map,
    workspace_bytes,
)

__all__ = ["WarpSimulator"]


class WarpSimulator:
    """N copies of one robot, advanced by control steps that autograd can differentiate.

    Semi-implicit Euler with `substeps` steps a control step; the mass matrix is formed every
    `mass_matrix_interval` substeps and kept in between. Gradients are those of exactly this
    computation (its adjoint), the kept mass matrix included.

    On a CPU the environments are divided over `threads` threads, which does not change results.
    A state carries nothing but coordinates and velocities. See `dva.sim.Simulator`.
    """

    differentiable = True
    recordable = True

    def __init__(
        self,
        model: Model,
        num_envs: int,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        control_dt: float = 1 / 60,
        substeps: int = 16,
        mass_matrix_interval: int | None = None,
        state_storage: StateStorage = "full",
        threads: int | None = None,
        capture: bool = True,
    ):
        """Prepares the simulation and compiles its kernels if they are not in Warp's cache.

        Args:
            model: the robot.
            num_envs: number of environments N.
            device: "cpu" or a CUDA device.
            dtype: torch.float32, or torch.float64 to check gradients.
            control_dt: seconds that an action is held.
            substeps: integration steps a control step.
            mass_matrix_interval: substeps that share one mass matrix; all of them by default.
            state_storage: "full" keeps the intermediates of a step until its gradient is taken;
                "recompute" keeps only the state before the step and runs the step again.
            threads: CPU threads; torch's number by default.
            capture: replay a control step as one graph (a CUDA graph on CUDA) instead of launching
                its kernels one by one; the results are the same.

        Raises:
            ValueError: a number is out of range, or the robot's mass matrix is singular.

        Warns:
            UserWarning: `substeps` is below what `stable_substeps` computes.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; at least 1 is needed.")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype is {dtype}; allowed are torch.float32 and torch.float64.")
        if state_storage not in ("full", "recompute"):
            raise ValueError(f"state_storage is {state_storage!r}; allowed: 'full', 'recompute'.")
        self.model, self.num_envs, self.dtype = model, num_envs, dtype
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; at least 1 is needed, or None.")
        self.device = indexed_device(device)
        start_warp()
        self.step_size = StepSize(control_dt, substeps, mass_matrix_interval or substeps)
        needed = stable_substeps(model, control_dt)
        if substeps < needed:
            warnings.warn(
                f"{model.path.name}: substeps is {substeps}, but {needed} are needed for a stable "
                f"control step of {control_dt:.4g} s: raise substeps, or lower the damping, "
                "friction slope or stiffness that asks for them.",
                stacklevel=2,
            )
        self.state_storage = state_storage
        self._require_memory()
        threads = 1 if self.device.type == "cuda" else (threads or torch.get_num_threads())
        settings = ShardSettings(model, self.step_size, dtype, self.device, capture)
        self._shards = [Shard(settings, envs) for envs in split_environments(num_envs, threads)]
        self.threads = len(self._shards)
        point, directions = origin_map(model)
        self._origin_point = torch.tensor(point, dtype=dtype, device=self.device)
        self._origin_directions = torch.tensor(directions, dtype=dtype, device=self.device)
        self._body_link = torch.tensor(model.body_link, dtype=torch.long, device=self.device)
        self._body_frame = torch.tensor(model.body_frame, dtype=dtype, device=self.device)

    def _require_memory(self) -> None:
        """Refuses what cannot fit: the system ends a process that asks for more than there is."""
        if self.device.type == "cuda":
            return  # an allocation that fails there says so
        needed = self.num_envs * workspace_bytes(self.model, self.step_size, self.dtype)
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > installed:
            raise ValueError(
                f"num_envs is {self.num_envs:,}; one step of {self.model.path.name} then takes "
                f"{needed / 2**30:,.0f} GiB, and this machine has {installed / 2**30:,.0f}. Use "
                f"fewer than {self.num_envs * installed // needed:,}."
            )

    @classmethod
    def build(cls, request: SimulatorRequest) -> "WarpSimulator":
        """Imports a robot and prepares its simulation.

        Raises:
            ValueError: the robot cannot be simulated here, or a number is out of range.
        """
        return cls(
            load_model(request.robot, inertia=request.inertia, ignore=request.ignore),
            request.num_envs,
            device=request.device,
            control_dt=request.control_dt,
            substeps=request.substeps,
            mass_matrix_interval=request.mass_matrix_interval,
            state_storage=request.state_storage,
            threads=request.threads,
            capture=request.capture,
        )

    def new_state(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> State:
        """Makes a state of coordinates (N, nq) and velocities (N, nd), which are not copied."""
        return State(joint_q, joint_qd)

    def step(self, state: State, action: torch.Tensor) -> State:
        """Advances every environment by one control step; differentiable in all arguments.

        An environment whose state is not finite after the step passes no gradient through it.

        Args:
            state: joint_q (N, nq) and joint_qd (N, nd); see `State`.
            action: (N, A), clipped to [-1, 1].

        Returns:
            The state after the step.

        Raises:
            ValueError: a tensor has the wrong shape, dtype or device.
        """
        self._check(state.joint_q, "joint_q", self.model.num_coords)
        self._check(state.joint_qd, "joint_qd", self.model.num_dofs)
        self._check(action, "action", self.model.num_actions)
        joint_q, joint_qd = _ControlStep.apply(  # type: ignore[misc]
            self, state.joint_q, state.joint_qd, action
        )
        return State(joint_q, joint_qd)

    def body_poses(self, joint_q: torch.Tensor) -> torch.Tensor:
        """Computes the pose of every body of the MJCF, in MuJoCo's order (without gradient).

        Args:
            joint_q: (N, nq).

        Returns:
            (N, B, 7) position in m and quaternion (x, y, z, w), world frame; body 0 is the world.

        Raises:
            ValueError: joint_q has the wrong shape, dtype or device.
        """
        self._check(joint_q, "joint_q", self.model.num_coords)
        position = joint_q.new_zeros(self.num_envs, self.model.num_links + 1, 3)
        rotation = joint_q.new_zeros(self.num_envs, self.model.num_links + 1, 4)
        rotation[:, -1, 3] = 1.0  # the last entry is the world, which body_link calls -1
        origin = self.origins(joint_q.detach())
        for shard in self._shards:
            arrays = shard.poses(joint_q.detach(), origin)
            position[shard.envs, :-1] = arrays["position"][:, 0] + origin[shard.envs, None]
            rotation[shard.envs, :-1] = arrays["rotation"][:, 0]
        link_position, link_rotation = position[:, self._body_link], rotation[:, self._body_link]
        frame_position, frame_rotation = self._body_frame.split([3, 4], dim=-1)
        return torch.cat(
            [
                link_position + rotate(link_rotation, frame_position.expand_as(link_position)),
                multiply(link_rotation, frame_rotation.expand_as(link_rotation)),
            ],
            dim=-1,
        )

    def origins(self, joint_q: torch.Tensor) -> torch.Tensor:
        """Places the point about which an environment's twists and wrenches are taken.

        So float32 keeps its accuracy however far a robot walks. The motion does not depend on it.

        Args:
            joint_q: (N, nq).

        Returns:
            (N, 3) m.
        """
        return torch.addmm(self._origin_point, joint_q, self._origin_directions)

    def _check(self, tensor: torch.Tensor, name: str, width: int) -> None:
        if tensor.shape != (self.num_envs, width):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; expected (num_envs, {width}) = "
                f"({self.num_envs}, {width})."
            )
        if tensor.dtype != self.dtype or tensor.device != self.device:
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}; expected {self.dtype} on "
                f"{self.device}. Convert it with .to(device={str(self.device)!r}, "
                f"dtype={self.dtype})."
            )


class _ControlStep(torch.autograd.Function):
    """The bridge between autograd and the kernels' adjoint."""

    @staticmethod
    def forward(ctx: Any, sim: WarpSimulator, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        joint_q, joint_qd, action = (tensor.detach() for tensor in inputs)
        values = (joint_q, joint_qd, action, sim.origins(joint_q))
        keep = sim.state_storage == "full" and any(ctx.needs_input_grad)
        leases: dict[int, Lease | None] = {
            shard.envs.start: shard.lease() if keep else None for shard in sim._shards
        }
        next_q, next_qd = torch.empty_like(joint_q), torch.empty_like(joint_qd)

        def run(shard: Shard) -> None:
            lease = leases[shard.envs.start]
            arrays = shard.forward(values, lease.programs if lease else None)
            next_q[shard.envs] = arrays["next_q"]
            next_qd[shard.envs] = arrays["next_qd"]

        run_side_by_side([partial(run, shard) for shard in sim._shards])
        if any(ctx.needs_input_grad):
            finite = torch.cat([next_q, next_qd], 1).abs().amax(1) < torch.inf  # false for NaN
            ctx.sim, ctx.leases = sim, leases
            ctx.save_for_backward(finite, *(() if keep else values))
        return next_q, next_qd

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        sim: WarpSimulator = ctx.sim
        finite, *inputs = ctx.saved_tensors
        finite = finite[:, None]
        grad_q, grad_qd = (g.where(finite, 0.0) for g in gradients)
        action = grad_q.new_empty(sim.num_envs, sim.model.num_actions)
        results = (torch.empty_like(grad_q), torch.empty_like(grad_qd), action)
        for shard in sim._shards:
            shard.prepare_backward(recompute=bool(inputs))

        def run(shard: Shard) -> None:
            lease = ctx.leases[shard.envs.start]
            arrays = shard.backward(inputs, lease, grad_q, grad_qd)
            for result, name in zip(results, ("joint_q", "joint_qd", "action"), strict=True):
                result[shard.envs] = arrays[name][:, : result.shape[1]]

        run_side_by_side([partial(run, shard) for shard in sim._shards])
        return None, *(result.where(finite, 0.0) for result in results)
