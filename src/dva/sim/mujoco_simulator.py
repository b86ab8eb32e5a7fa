"""MuJoCo itself behind the contract of a simulator: its contacts, its limits, its integrator."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from dva.sim.coordinates import from_mujoco, to_mujoco
from dva.sim.mjcf.compiling import compile_spec, mujoco_warnings, read_spec
from dva.sim.mjcf.importer import limit_laws
from dva.sim.mjcf.published import read_inertias
from dva.sim.mjcf.skeleton import build_skeleton
from dva.sim.simulator import SimulatorRequest
from dva.sim.state import State

__all__ = ["MujocoSimulator"]

_WARM_START, _ACTIVATION = "qacc_warmstart", "act"
_FLOOR_MIX = 1e-6
"""Weight of the floor's own contact parameters: the robot's geoms decide."""


class MujocoSimulator:
    """Steps N copies of a robot one after the other, on the CPU and without gradients.

    The MJCF file is taken as it is: its time step, integrator, solver and contacts, those between
    the robot's own bodies included. Where it has neither a plane nor a height field, a floor at
    z = 0 is added, which leaves friction and softness to the robot's geoms. Of the `user` data that
    our own simulator reads, only the damping that acts on joints at all times counts, since it is
    part of the robot. Actions in [-1, 1] span an actuator's control range.

    Args:
        request: what an environment asks for; of its substeps nothing is taken.

    Raises:
        ValueError: the file cannot be read, or another device than the CPU is asked for.
    """

    differentiable = False
    recordable = False

    def __init__(self, request: SimulatorRequest) -> None:
        if request.device.type != "cpu":
            raise ValueError(f"MuJoCo runs on the CPU, not on {request.device}: use --device cpu.")
        path = Path(request.robot)
        self._mj_model: Any = _compile(path)
        published = (
            read_inertias(path, self._mj_model) if request.inertia == "published" else {}
        )
        self.model = build_skeleton(self._mj_model, path, published)
        _set_inertias(self._mj_model, published)
        # Damping that acts at all times is part of a robot, as its masses are.
        damping = self._mj_model.dof_damping.reshape(self._mj_model.nv, -1)[:, 0]
        damping += limit_laws(self._mj_model, self.model)[:, 1]
        self.num_envs, self.device = request.num_envs, request.device
        self._steps = max(1, round(request.control_dt / self._mj_model.opt.timestep))
        self._mj_model.opt.timestep = request.control_dt / self._steps
        limited = self._mj_model.actuator_ctrllimited[:, None].astype(bool)
        ranges = np.where(limited, self._mj_model.actuator_ctrlrange, (-1.0, 1.0))
        self._middle, self._half = ranges.mean(1), (ranges[:, 1] - ranges[:, 0]) / 2
        self._data: Any = mujoco.MjData(self._mj_model)

    @property
    def timestep(self) -> float:
        """Seconds of one of MuJoCo's steps."""
        return float(self._mj_model.opt.timestep)

    def new_state(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> State:
        """Completes coordinates with a contact solver and muscles at rest."""
        rest = {_WARM_START: torch.zeros(len(joint_q), self._mj_model.nv)}
        if self._mj_model.na:
            rest[_ACTIVATION] = torch.zeros(len(joint_q), self._mj_model.na)
        return State(joint_q, joint_qd, rest)

    @torch.no_grad()
    def step(self, state: State, action: torch.Tensor) -> State:
        """Advances every robot by one control step; see `Simulator`."""
        qpos, qvel = to_mujoco(self.model, state.joint_q.double(), state.joint_qd.double())
        control = self._middle + self._half * action.clamp(-1.0, 1.0).double().numpy()
        warm = state.carried[_WARM_START].numpy()
        muscles = state.carried.get(_ACTIVATION, torch.zeros(len(warm), 0)).numpy()
        with mujoco_warnings(self.model.path):
            rows = [
                self._step_one(*row)
                for row in zip(qpos.numpy(), qvel.numpy(), warm, muscles, control, strict=True)
            ]
        q, qd, warm_after, muscles_after = (
            torch.from_numpy(np.array(column)) for column in zip(*rows, strict=True)
        )
        joint_q, joint_qd = from_mujoco(self.model, q, qd)
        carried = {_WARM_START: warm_after.float()}
        if self._mj_model.na:
            carried[_ACTIVATION] = muscles_after.float()
        return State(joint_q.float(), joint_qd.float(), carried)

    def _step_one(
        self,
        qpos: np.ndarray,
        qvel: np.ndarray,
        warm: np.ndarray,
        muscles: np.ndarray,
        control: np.ndarray,
    ) -> tuple[np.ndarray, ...]:
        data = self._data
        data.qpos[:], data.qvel[:], data.act[:], data.ctrl[:] = qpos, qvel, muscles, control
        data.qacc_warmstart[:] = warm
        mujoco.mj_step(self._mj_model, data, self._steps)
        found = (data.qpos, data.qvel, data.qacc_warmstart, data.act)
        return tuple(np.array(value) for value in found)


def _compile(path: Path) -> Any:
    """Compiles a robot's file, with a floor if it has no ground."""
    spec = read_spec(path)
    compiled: Any = compile_spec(spec, path)
    ground = (int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_HFIELD))
    if np.isin(compiled.geom_type, ground).any():
        return compiled
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0], friction=[0.0, 0.0, 0.0],
        solmix=_FLOOR_MIX, contype=1, conaffinity=1,
    )  # fmt: skip
    return compile_spec(spec, path)


def _set_inertias(m: Any, inertias: dict[int, np.ndarray]) -> None:
    """Replaces inertias by tensors in the axes of the bodies' frames [kg m^2]."""
    for body, tensor in inertias.items():
        moments, axes = np.linalg.eigh(tensor)
        if np.linalg.det(axes) < 0:
            axes[:, 0] = -axes[:, 0]
        m.body_inertia[body] = moments
        mujoco.mju_mat2Quat(m.body_iquat[body], np.ascontiguousarray(axes).ravel())
    if inertias:
        mujoco.mj_setConst(m, mujoco.MjData(m))
