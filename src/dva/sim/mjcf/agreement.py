"""How far our simulator and MuJoCo differ on a robot's file."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import dataclasses
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np
import torch

from dva.sim.coordinates import to_mujoco
from dva.sim.mass import InitialPose
from dva.sim.mjcf.compiling import compile_spec, mujoco_warnings, read_spec
from dva.sim.mjcf.ground import touching_geoms
from dva.sim.mjcf.shapes import mesh_shortfall
from dva.sim.mjcf.terrain import field_geoms, treading_geoms
from dva.sim.mjcf.unsimulated import apply_flags
from dva.sim.model import BALL, FREE, Model
from dva.sim.quaternions import within_angle
from dva.sim.state import State
from dva.sim.warp.simulator import WarpSimulator

__all__ = [
    "acceleration_error",
    "compile_counterpart",
    "controls",
    "largest_mesh_shortfall",
    "limp",
    "mass_matrix_error",
    "mechanical_energy",
    "rest_coordinates",
    "start_within_limits",
    "unconstrained",
]

_Flag = mujoco.mjtDisableBit
_CONSTRAINTS = (
    _Flag.mjDSBL_CONTACT | _Flag.mjDSBL_LIMIT | _Flag.mjDSBL_FRICTIONLOSS | _Flag.mjDSBL_EQUALITY
)


def compile_counterpart(model: Model, floor: bool = False) -> mujoco.MjModel:
    """Compiles a robot's file for MuJoCo, without what `load_model` was told to ignore.

    Args:
        model: the robot.
        floor: whether its contacts matter: a file without ground gets the floor z = 0.
    """
    spec = read_spec(model.path)
    ground = {mujoco.mjtGeom.mjGEOM_PLANE}
    if model.height_fields is not None:
        ground.add(mujoco.mjtGeom.mjGEOM_HFIELD)
    if floor and not any(geom.type in ground for geom in spec.geoms):
        # What has a contype touches it, as in `dva.sim.mjcf.ground`.
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0], contype=0,
            conaffinity=2**31 - 1,
        )  # fmt: skip
    m = compile_spec(spec, model.path)
    apply_flags(m)
    if model.fluid is None:
        m.opt.density = m.opt.viscosity = 0.0
    for joint in np.flatnonzero(m.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE)):
        dofs = slice(m.jnt_dofadr[joint], m.jnt_dofadr[joint] + 6)
        m.dof_armature[dofs] = m.dof_frictionloss[dofs] = 0.0
        m.jnt_stiffness[joint] = 0.0
    for t in range(m.ntendon):
        if int(m.wrap_type[m.tendon_adr[t]]) != int(mujoco.mjtWrap.mjWRAP_JOINT):
            m.tendon_stiffness[t] = m.tendon_damping[t] = m.tendon_frictionloss[t] = 0.0
            m.tendon_limited[t] = 0
    scalar = (int(mujoco.mjtEq.mjEQ_JOINT), int(mujoco.mjtEq.mjEQ_TENDON))
    m.eq_active0[~np.isin(m.eq_type, scalar)] = 0
    if model.height_fields is None:
        fields = field_geoms(m)
        m.geom_contype[fields] = m.geom_conaffinity[fields] = 0
    m.dof_damping[:] += model.dof_limit_damping.reshape(m.dof_damping.shape)
    if floor and model.body_contacts is None:
        _keep_ground_only(m, model)
    return m


def _keep_ground_only(m: mujoco.MjModel, model: Model) -> None:
    touching, treading, fields = touching_geoms(m, model), treading_geoms(m, model), field_geoms(m)
    m.geom_contype[:] = 0
    m.geom_conaffinity[:] = 0
    m.geom_conaffinity[touching] = 1
    m.geom_conaffinity[treading] |= 2
    m.geom_contype[m.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)] = 1
    m.geom_contype[fields] = 2


def acceleration_error(model: Model, states: int = 8, seed: int = 0) -> float:
    """Compares accelerations in random states with MuJoCo's, without contacts, limits and friction.

    Returns:
        The largest difference over the largest acceleration, or over 1 where that is smaller.
    """
    seconds = 1e-7
    joint_q, joint_qd, action = _random_states(model, states, seed)
    with _few_substeps_allowed():
        simulator = WarpSimulator(
            unconstrained(model), states, dtype=torch.float64, control_dt=seconds, substeps=1,
            threads=1, capture=False,
        )  # fmt: skip
    after = simulator.step(State(joint_q, joint_qd), action)
    qpos, qvel = to_mujoco(model, joint_q, joint_qd)
    ours = (to_mujoco(model, after.joint_q, after.joint_qd)[1] - qvel).numpy() / seconds
    m = compile_counterpart(model)
    m.opt.disableflags |= _CONSTRAINTS
    d = mujoco.MjData(m)
    worst = 0.0
    with mujoco_warnings(model.path):
        for env in range(states):
            d.qpos, d.qvel = qpos[env], qvel[env]
            d.ctrl = controls(model, action[env].numpy())
            # An activation that is ignored has reached its control.
            for a in np.flatnonzero(m.actuator_actadr >= 0):
                d.act[m.actuator_actadr[a]] = d.ctrl[a]
            mujoco.mj_forward(m, d)
            scale = max(1.0, float(np.abs(d.qacc).max()))
            worst = max(worst, float(np.abs(ours[env] - d.qacc).max()) / scale)
    return worst


def controls(model: Model, action: np.ndarray) -> np.ndarray:
    """Turns actions (..., A) in [-1, 1] into MuJoCo's controls."""
    low, high = model.action_range.T
    return 0.5 * (low + high) + 0.5 * (high - low) * action


def largest_mesh_shortfall(model: Model) -> tuple[str, float] | None:
    """Measures how far the vertices with which meshes touch fall short of the meshes.

    Returns:
        Name of the worst mesh, and how far at most [m]; None where no mesh touches anything.
    """
    m = compile_counterpart(model)
    meshes = {
        int(m.geom_dataid[geom]): int(geom)
        for geom in np.flatnonzero(m.geom_type == int(mujoco.mjtGeom.mjGEOM_MESH))
        if m.geom_contype[geom] or m.geom_conaffinity[geom]
    }
    found = [(m.mesh(mesh).name, mesh_shortfall(m, geom)) for mesh, geom in meshes.items()]
    return max(found, key=lambda entry: entry[1], default=None)


def mass_matrix_error(model: Model) -> float:
    """Compares the mass matrix in the initial pose with MuJoCo's.

    Returns:
        The largest difference over the largest entry.
    """
    joint_q = torch.tensor(model.initial_q)[None]
    count = model.num_dofs
    qpos, basis = to_mujoco(model, joint_q.repeat(count, 1), torch.eye(count, dtype=torch.float64))
    m = compile_counterpart(model)
    d = mujoco.MjData(m)
    d.qpos = qpos[0]
    theirs = np.zeros((count, count))
    with mujoco_warnings(model.path):
        mujoco.mj_forward(m, d)
        mujoco.mj_fullM(m, d, theirs)
    # Row i of `basis` is MuJoCo's velocity where ours is the unit vector i.
    theirs = basis.numpy() @ theirs @ basis.numpy().T
    ours = InitialPose(model).mass_matrix(model.dof_armature)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def unconstrained(model: Model) -> Model:
    """Takes contacts, limits, dry friction and couplings away."""
    rows, joints = model.transmissions, model.joint_forces
    unlimited = np.array([-np.inf, np.inf])
    if rows is not None:
        none = np.tile([0.0, 1.0], (len(rows), 1))
        rows = dataclasses.replace(
            rows, limit=np.tile(unlimited, (len(rows), 1)), friction=none,
            stiffness=rows.stiffness * ~rows.coupling, damping=rows.damping * ~rows.coupling,
        )  # fmt: skip
    if joints is not None:
        none = np.tile([0.0, 1.0], (model.num_dofs, 1))
        joints = dataclasses.replace(joints, friction=none)
    return dataclasses.replace(
        model, contact_link=model.contact_link[:0], plane_contacts=None, body_contacts=None,
        terrain_contacts=None, ball_limits=None, couplings=None, transmissions=rows,
        joint_forces=joints, dof_limit=np.tile(unlimited, (model.num_dofs, 1)),
    )  # fmt: skip


def limp(model: Model) -> Model:
    """Takes the actuators' forces away."""
    rows = model.transmissions
    if rows is not None:
        rows = dataclasses.replace(rows, gain=0.0 * rows.gain, bias=0.0 * rows.bias)
    return dataclasses.replace(model, dof_gear=0.0 * model.dof_gear, transmissions=rows)


def mechanical_energy(model: Model, states: list[State]) -> np.ndarray:
    """Computes kinetic and potential energy [J] of the first environment of each state."""
    m = compile_counterpart(model)
    m.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    m.opt.disableflags |= _CONSTRAINTS | _Flag.mjDSBL_ACTUATION
    d = mujoco.MjData(m)
    totals = []
    with mujoco_warnings(model.path):
        for state in states:
            qpos, qvel = to_mujoco(model, state.joint_q.double(), state.joint_qd.double())
            d.qpos, d.qvel = qpos[0], qvel[0]
            mujoco.mj_forward(m, d)
            totals.append(float(d.energy.sum()))
    return np.array(totals)


def rest_coordinates(model: Model, seconds: float, joint_q: np.ndarray | None = None) -> np.ndarray:
    """Lets MuJoCo drop a robot without actuation.

    Args:
        model: the robot.
        seconds: how long.
        joint_q: (nq,) where it starts; its initial pose by default.

    Returns:
        (nq,) the coordinates after that time, in MuJoCo's order.
    """
    m = compile_counterpart(model, floor=True)
    m.opt.disableflags |= _Flag.mjDSBL_ACTUATION
    d = mujoco.MjData(m)
    start = model.initial_q if joint_q is None else joint_q
    d.qpos = to_mujoco(model, torch.tensor(start)[None])[0]
    with mujoco_warnings(model.path):
        while d.time < seconds:
            mujoco.mj_step(m, d)
    return d.qpos.copy()


def start_within_limits(model: Model) -> np.ndarray:
    """Gives the initial pose (nq,) with the joints that are beyond their limits at them."""
    joint_q = model.initial_q.copy()
    for link in np.flatnonzero((model.link_joint != FREE) & (model.link_joint != BALL)):
        low, high = model.dof_limit[model.link_dof[link]]
        coordinate = model.link_coordinate[link]
        joint_q[coordinate] = np.clip(joint_q[coordinate], low, high)
    if model.ball_limits is not None:
        for link, angle in zip(model.ball_limits.link, model.ball_limits.angle, strict=True):
            part = slice(model.link_coordinate[link], model.link_coordinate[link] + 4)
            joint_q[part] = within_angle(joint_q[part], float(angle))
    return joint_q


def _random_states(
    model: Model, states: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(width: int) -> torch.Tensor:
        return torch.randn(states, width, generator=generator, dtype=torch.float64)

    joint_q = torch.tensor(model.initial_q) + 0.2 * normal(model.num_coords)
    for link in np.flatnonzero((model.link_joint == FREE) | (model.link_joint == BALL)):
        start = int(model.link_coordinate[link]) + (3 if model.link_joint[link] == FREE else 0)
        turn = torch.nn.functional.normalize(normal(4), dim=1)
        joint_q[:, start : start + 4] = turn
    return joint_q, normal(model.num_dofs), torch.tanh(normal(model.num_actions))


@contextmanager
def _few_substeps_allowed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*substeps is")
        yield
