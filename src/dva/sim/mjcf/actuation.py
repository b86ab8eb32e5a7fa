"""Actuators, tendons, joint limits, friction and couplings of a robot's file."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from dva.sim.features import (
    BallLimits,
    Couplings,
    GravityCompensation,
    JointForces,
    Transmissions,
)
from dva.sim.mjcf.constraints import friction_width, unit_law
from dva.sim.mjcf.poses import compose, from_xyzw
from dva.sim.mjcf.skeleton import element_name
from dva.sim.model import BALL, FREE, Skeleton

__all__ = [
    "read_actuation",
    "read_ball_limits",
    "read_couplings",
    "read_gravity_compensation",
    "read_joint_forces",
]

_UNLIMITED = np.array([-np.inf, np.inf])
_NO_LIMIT = np.array([0.0, 0.0, 1.0])
_Transmission = mujoco.mjtTrn
_ON_JOINT = (int(_Transmission.mjTRN_JOINT), int(_Transmission.mjTRN_JOINTINPARENT))
_ON_TENDON = int(_Transmission.mjTRN_TENDON)
_BALL = int(mujoco.mjtJoint.mjJNT_BALL)
_SCALAR = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
_FILTERS = (
    int(mujoco.mjtDyn.mjDYN_NONE),
    int(mujoco.mjtDyn.mjDYN_FILTER),
    int(mujoco.mjtDyn.mjDYN_FILTEREXACT),
)


@dataclass
class _Row:
    """One row of `Transmissions`."""

    coefficients: np.ndarray
    action: int = -1
    control: np.ndarray = field(default_factory=lambda: np.zeros(2))
    gain: np.ndarray = field(default_factory=lambda: np.zeros(3))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(3))
    force_range: np.ndarray = field(default_factory=lambda: _UNLIMITED)
    stiffness: float = 0.0
    rest: np.ndarray = field(default_factory=lambda: np.zeros(2))
    damping: float = 0.0
    limit: np.ndarray = field(default_factory=lambda: _UNLIMITED)
    limit_law: np.ndarray = field(default_factory=lambda: _NO_LIMIT)
    friction: np.ndarray = field(default_factory=lambda: np.array([0.0, 1.0]))
    period: float = 0.0
    coupling: bool = False


def read_actuation(m: mujoco.MjModel, skeleton: Skeleton) -> dict[str, Any]:
    """Reads actuators and fixed tendons.

    A motor whose control range is symmetric and whose force nothing bounds is a gear of its joint;
    all others are transmissions.

    Raises:
        ValueError: an actuator is of a kind that is not simulated.
    """
    action, gear = np.full(m.nv, -1, np.int32), np.zeros(m.nv)
    ranges = np.array([_control_range(m, a) for a in range(m.nu)]).reshape(-1, 2)
    rows = [_actuator(m, skeleton, a, ranges[a]) for a in range(m.nu)]
    driven = [int(row.coefficients.nonzero()[0][0]) if row.coefficients.any() else -1
              for row in rows]  # fmt: skip
    left = []
    for a, (row, dof) in enumerate(zip(rows, driven, strict=True)):
        if dof >= 0 and driven.count(dof) == 1 and _is_motor(m, a, row, dof):
            action[dof] = a
            gear[dof] = row.coefficients[dof] * m.actuator_gainprm[a, 0] * ranges[a, 1]
        else:
            left.append(row)
    left += [row for t in range(m.ntendon) if (row := _tendon(m, t)) is not None]
    left += [row for e in range(m.neq) if (row := _tendon_coupling(m, e)) is not None]
    names = Transmissions.__dataclass_fields__
    table = {name: np.array([getattr(row, name) for row in left]) for name in names}
    return {
        "dof_action": action,
        "dof_gear": gear,
        "action_range": ranges,
        "transmissions": Transmissions(**table) if left else None,
    }


def _control_range(m: mujoco.MjModel, a: int) -> np.ndarray:
    limited = m.actuator_ctrllimited[a]
    return m.actuator_ctrlrange[a].copy() if limited else np.array([-1.0, 1.0])


def _is_motor(m: mujoco.MjModel, a: int, row: _Row, dof: int) -> bool:
    """Says whether an actuator is a gear of one dof and no more."""
    joint = m.dof_jntid[dof]
    largest = abs(row.gain[0]) * row.control[1]
    bounds = [row.force_range]
    if m.jnt_actfrclimited[joint]:
        bounds.append(m.jnt_actfrcrange[joint] / max(abs(row.coefficients[dof]), 1e-12))
    return bool(
        int(m.actuator_trntype[a]) != _ON_TENDON
        and np.count_nonzero(row.coefficients) == 1
        and row.control[0] == 0.0
        and not row.gain[1:].any()
        and not row.bias.any()
        and all(low <= -largest and largest <= high for low, high in bounds)
    )


def _actuator(m: mujoco.MjModel, skeleton: Skeleton, a: int, span: np.ndarray) -> _Row:
    kind, number = int(m.actuator_trntype[a]), int(m.actuator_trnid[a, 0])
    coefficients = np.zeros(m.nv)
    if kind in _ON_JOINT and int(m.jnt_type[number]) in _SCALAR:
        coefficients[m.jnt_dofadr[number]] = m.actuator_gear[a, 0]
    elif kind == _ON_JOINT[0] and int(m.jnt_type[number]) == _BALL:
        # Along the vector of the joint's rotation; its rate is taken in the body's axes.
        start = m.jnt_dofadr[number]
        coefficients[start : start + 3] = m.actuator_gear[a, :3]
    elif kind == _ON_TENDON and _is_fixed(m, number):
        coefficients = m.actuator_gear[a, 0] * _tendon_coefficients(m, number)
    else:
        _refuse(m, skeleton, a, f"acts on {_target(m, a)}")
    gain_kind, bias_kind = int(m.actuator_gaintype[a]), int(m.actuator_biastype[a])
    gain, bias = m.actuator_gainprm[a, :3].copy(), m.actuator_biasprm[a, :3].copy()
    if gain_kind == int(mujoco.mjtGain.mjGAIN_FIXED):
        gain[1:] = 0.0
    elif gain_kind != int(mujoco.mjtGain.mjGAIN_AFFINE):
        _refuse(m, skeleton, a, f"has a gain of type {_word(mujoco.mjtGain, gain_kind)}")
    if bias_kind == int(mujoco.mjtBias.mjBIAS_NONE):
        bias[:] = 0.0
    elif bias_kind != int(mujoco.mjtBias.mjBIAS_AFFINE):
        _refuse(m, skeleton, a, f"has a bias of type {_word(mujoco.mjtBias, bias_kind)}")
    if int(m.actuator_dyntype[a]) not in _FILTERS:
        word = _word(mujoco.mjtDyn, m.actuator_dyntype[a])
        _refuse(m, skeleton, a, f"has a state of its own ({word})")
    ball = kind == _ON_JOINT[0] and int(m.jnt_type[number]) == _BALL
    serves = gain_kind == int(mujoco.mjtGain.mjGAIN_FIXED) and gain[0] == -bias[1] != 0.0
    forces = m.actuator_forcerange[a] if m.actuator_forcelimited[a] else _UNLIMITED
    return _Row(
        coefficients,
        action=a,
        control=np.array([span.mean(), 0.5 * (span[1] - span[0])]),
        gain=gain,
        bias=bias,
        force_range=forces.copy(),
        period=2.0 * np.pi * float(np.linalg.norm(coefficients)) if ball and serves else 0.0,
    )


def _refuse(m: mujoco.MjModel, skeleton: Skeleton, a: int, what: str) -> None:
    raise ValueError(
        f"{skeleton.path}: actuator {element_name(m.actuator(a))} {what}. Simulated are actuators "
        "of balls, hinges, slides and fixed tendons with fixed or affine gain and bias: motor, "
        "position, velocity, damper, general."
    )


def _word(enum: Any, value: int) -> str:
    return enum(int(value)).name.rpartition("_")[2].lower()


def _target(m: mujoco.MjModel, a: int) -> str:
    kind = int(m.actuator_trntype[a])
    if kind == _ON_TENDON:
        return "a spatial tendon"
    if kind in _ON_JOINT and int(m.jnt_type[m.actuator_trnid[a, 0]]) == _BALL:
        return "a ball joint in the axes of its parent (jointinparent); use joint"
    if kind in _ON_JOINT:
        return "a free joint"
    return f"a {_word(mujoco.mjtTrn, kind)}"


def _is_fixed(m: mujoco.MjModel, tendon: int) -> bool:
    return bool(int(m.wrap_type[m.tendon_adr[tendon]]) == int(mujoco.mjtWrap.mjWRAP_JOINT))


def _tendon_coefficients(m: mujoco.MjModel, tendon: int) -> np.ndarray:
    found = np.zeros(m.nv)
    start = m.tendon_adr[tendon]
    for wrap in range(start, start + m.tendon_num[tendon]):
        found[m.jnt_dofadr[m.wrap_objid[wrap]]] += m.wrap_prm[wrap]
    return found


def _tendon(m: mujoco.MjModel, t: int) -> _Row | None:
    """Reads the passive forces of a tendon; None if it has none."""
    loss, limited = float(m.tendon_frictionloss[t]), bool(m.tendon_limited[t])
    passive = m.tendon_stiffness[t] or m.tendon_damping[t] or loss or limited
    if not passive or not _is_fixed(m, t):
        return None
    row = _Row(
        _tendon_coefficients(m, t),
        stiffness=float(m.tendon_stiffness[t]),
        rest=m.tendon_lengthspring[t].copy(),
        damping=float(m.tendon_damping[t]),
    )
    inverse = float(m.tendon_invweight0[t])
    if limited:
        row.limit = m.tendon_range[t] + np.array([1.0, -1.0]) * m.tendon_margin[t]
        row.limit_law = _limit_law(m, m.tendon_solref_lim[t], m.tendon_solimp_lim[t], inverse)
    if loss:
        law = unit_law(m, m.tendon_solref_fri[t], m.tendon_solimp_fri[t])
        row.friction = np.array([loss, friction_width(loss, law, inverse)])
    return row


def _tendon_coupling(m: mujoco.MjModel, e: int) -> _Row | None:
    """Reads an equality of fixed tendons; None if it is of something else.

    L_1 - r_1 = c_0 + c_1 (L_2 - r_2) holds one linear combination of joints at one value.
    """
    if not m.eq_active0[e] or int(m.eq_type[e]) != int(mujoco.mjtEq.mjEQ_TENDON):
        return None
    one, other = int(m.eq_obj1id[e]), int(m.eq_obj2id[e])
    if not _is_fixed(m, one) or (other >= 0 and not _is_fixed(m, other)):
        return None
    coefficients, inverse = _tendon_coefficients(m, one), float(m.tendon_invweight0[one])
    rest = float(m.tendon_length0[one] + m.eq_data[e, 0])
    if other >= 0:
        slope = float(m.eq_data[e, 1])
        coefficients = coefficients - slope * _tendon_coefficients(m, other)
        inverse += slope**2 * float(m.tendon_invweight0[other])
        rest -= slope * float(m.tendon_length0[other])
    unit, ratio = unit_law(m, m.eq_solref[e], m.eq_solimp[e])
    mass = 1.0 / max(inverse, 1e-12)
    return _Row(
        coefficients, stiffness=unit * mass, rest=np.full(2, rest),
        damping=2.0 * ratio * np.sqrt(unit) * mass, coupling=True,
    )  # fmt: skip


def _limit_law(
    m: mujoco.MjModel, solref: np.ndarray, solimp: np.ndarray, inverse_mass: float
) -> np.ndarray:
    """Gives stiffness, damping and ramp (3,) of a limit."""
    unit, ratio = unit_law(m, solref, solimp)
    stiffness = unit / max(inverse_mass, 1e-12)
    damping = 2.0 * ratio * np.sqrt(unit) / max(inverse_mass, 1e-12)
    return np.array([stiffness, damping, max(float(solimp[2]), 1e-5)])


def read_joint_forces(
    m: mujoco.MjModel, skeleton: Skeleton, limit: np.ndarray, own_law: np.ndarray
) -> JointForces | None:
    """Reads limits that follow MuJoCo's parameters, dry friction, and ranges of actuator forces.

    Args:
        m: the robot.
        skeleton: its links.
        limit: (nd, 2) limits of all joints.
        own_law: (nd,) whether a joint's `user` data gives the law of its limit.
    """
    laws = np.tile(_NO_LIMIT, (m.nv, 1))
    friction = np.tile([0.0, 1.0], (m.nv, 1))
    ranges = np.tile(_UNLIMITED, (m.nv, 1))
    for dof in range(m.nv):
        joint = m.dof_jntid[dof]
        if skeleton.link_joint[skeleton.dof_link[dof]] == FREE:
            continue
        inverse = float(m.dof_invweight0[dof])
        if np.isfinite(limit[dof]).any() and not own_law[dof]:
            laws[dof] = _limit_law(m, m.jnt_solref[joint], m.jnt_solimp[joint], inverse)
        if loss := float(m.dof_frictionloss[dof]):
            law = unit_law(m, m.dof_solref[dof], m.dof_solimp[dof])
            friction[dof] = loss, friction_width(loss, law, inverse)
        if m.jnt_actfrclimited[joint]:
            ranges[dof] = m.jnt_actfrcrange[joint]
    if not (laws[:, 0].any() or friction[:, 0].any() or np.isfinite(ranges).any()):
        return None
    return JointForces(laws, friction, ranges)


def read_ball_limits(m: mujoco.MjModel, skeleton: Skeleton, laws: np.ndarray) -> BallLimits | None:
    """Reads the cones of ball joints.

    Args:
        m: the robot.
        skeleton: its links.
        laws: (nd, 2) stiffness and damping that a joint's `user` data gives, or 0.
    """
    rows = []
    for link in np.flatnonzero(skeleton.link_joint == BALL):
        dof = int(skeleton.link_dof[link])
        joint = int(m.dof_jntid[dof])
        if not m.jnt_limited[joint]:
            continue
        angle = float(m.jnt_range[joint].max())
        if laws[dof].any():  # whose damping acts at all times
            law = np.array([laws[dof, 0], 0.0, 1.0])
        else:
            angle -= float(m.jnt_margin[joint])
            inverse = float(m.dof_invweight0[dof])
            law = _limit_law(m, m.jnt_solref[joint], m.jnt_solimp[joint], inverse)
        rows.append((link, max(angle, 0.0), law))
    return BallLimits(*(np.array(column) for column in zip(*rows, strict=True))) if rows else None


def read_couplings(m: mujoco.MjModel, skeleton: Skeleton) -> Couplings | None:
    """Reads the equality constraints of joints.

    Raises:
        ValueError: one is of a joint that is no hinge or slide.
    """
    rows = []
    for e in range(m.neq):
        if not m.eq_active0[e] or int(m.eq_type[e]) != int(mujoco.mjtEq.mjEQ_JOINT):
            continue
        joints = [int(m.eq_obj1id[e]), int(m.eq_obj2id[e])]
        if any(j >= 0 and int(m.jnt_type[j]) not in _SCALAR for j in joints):
            raise ValueError(
                f"{skeleton.path}: the equality of joints {element_name(m.equality(e))} is of a "
                "free or ball joint. Allowed: hinges and slides."
            )
        dofs = np.array([int(m.jnt_dofadr[j]) if j >= 0 else -1 for j in joints])
        reference = np.array([m.qpos0[m.jnt_qposadr[j]] if j >= 0 else 0.0 for j in joints])
        polynomial = m.eq_data[e, :5].copy()
        if joints[1] < 0:
            polynomial[1:] = 0.0
        inverse = float(m.dof_invweight0[dofs[0]])
        if joints[1] >= 0:
            inverse += float(polynomial[1] ** 2 * m.dof_invweight0[dofs[1]])
        unit, ratio = unit_law(m, m.eq_solref[e], m.eq_solimp[e])
        law = np.array([unit, 2.0 * ratio * np.sqrt(unit)]) / max(inverse, 1e-12)
        rows.append((dofs, reference, polynomial, law))
    return Couplings(*(np.array(column) for column in zip(*rows, strict=True))) if rows else None


def read_gravity_compensation(m: mujoco.MjModel, skeleton: Skeleton) -> GravityCompensation | None:
    """Reads which part of each link's weight its bodies' `gravcomp` holds up."""
    if not np.any(m.body_gravcomp):
        return None
    mass, moment = np.zeros(skeleton.num_links), np.zeros((skeleton.num_links, 3))
    for body in np.flatnonzero(m.body_gravcomp):
        link = int(skeleton.body_link[body])
        if link < 0:
            continue
        frame = from_xyzw(skeleton.body_frame[body])
        center = compose(frame, (m.body_ipos[body], m.body_iquat[body]))[0]
        held = float(m.body_mass[body] * m.body_gravcomp[body])
        mass[link] += held
        moment[link] += held * center
    # What is held up has a centre only where its mass does not cancel; elsewhere it has a moment.
    center = np.divide(moment, mass[:, None], out=np.zeros_like(moment), where=mass[:, None] != 0)
    return GravityCompensation(mass, center)
