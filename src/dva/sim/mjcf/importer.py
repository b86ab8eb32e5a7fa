"""Reads an MJCF file into a `Model`.

MuJoCo parses and compiles the file, so defaults, classes, angles and inertias are MuJoCo's. Two
things have no word in MJCF and stand in `user` data: `<joint user="limit_stiffness limit_damping">`
and `<geom user="ke kd kf mu">`.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from dva.sim.mjcf.compiling import compile_mjcf
from dva.sim.mjcf.poses import compose, from_xyzw, rotate
from dva.sim.mjcf.published import INERTIA_CHOICES, read_inertias
from dva.sim.mjcf.skeleton import build_skeleton, element_name
from dva.sim.mjcf.validation import check_compiled, check_ranges
from dva.sim.model import FREE, Model, Skeleton

__all__ = ["limit_laws", "load_model"]

DEFAULT_LIMIT = (1e3, 1.0)
"""Stiffness and damping of a limit without `user` data [N/m, N s/m or N m/rad, N m s/rad]."""
DEFAULT_MATERIAL = (1e4, 1e3, 1e3)
"""Contact ke, kd, kf of a geom without `user` data; mu is then its MuJoCo sliding friction."""


def load_model(path: str | Path, inertia: str = "physical") -> Model:
    """Reads an MJCF file into a `Model`.

    Joints are those of `read_skeleton`. Actuators are motors on hinges and slides. A geom whose
    `contype` is not 0 touches the ground: spheres with their centre, capsules with both end
    points, boxes with their corners.

    Args:
        path: MJCF file.
        inertia: "physical" takes the bodies' inertias from the MJCF; "published" takes those of the
            file `<name>.inertia.json` beside it (masses and centres of mass stay).

    Raises:
        FileNotFoundError: there is no such MJCF file.
        ValueError: MuJoCo cannot compile the file, or it holds something that is not simulated
            (ball joints, tendons, equality constraints, actuators other than motors, ...); a
            number is not finite, enormous or has the wrong sign; `inertia` is unknown, or the
            robot has no published ones; the file's name does not end in .xml or .urdf.
    """
    path = Path(path)
    if inertia not in INERTIA_CHOICES:
        raise ValueError(f"inertia is {inertia!r}; allowed: {', '.join(INERTIA_CHOICES)}.")
    check_ranges(path)
    compiled = compile_mjcf(path)
    check_compiled(compiled, path)
    _refuse_unsupported(compiled, path)
    published = read_inertias(path, compiled) if inertia == "published" else {}
    skeleton = build_skeleton(compiled, path, published)
    _refuse_massless(skeleton)
    fields: dict[str, Any] = {
        **vars(skeleton),
        **_dof_parameters(compiled, skeleton),
        **_contacts(compiled, skeleton),
    }
    return Model(gravity=compiled.opt.gravity.copy(), **fields)


def _refuse_unsupported(m: mujoco.MjModel, path: Path) -> None:
    for count, what in ((m.neq, "equality constraints"), (m.ntendon, "tendons")):
        if count:
            raise ValueError(f"{path} has {count} {what}, which are not simulated: remove them.")
    for values, what, fix in (
        (m.dof_frictionloss, "frictionloss", "Use damping"),
        (m.body_gravcomp, "gravcomp", "Remove it"),
        (m.jnt_actfrclimited, "actuatorfrcrange", "Remove it and choose the motors' gear"),
        (m.actuator_forcelimited, "forcerange", "Remove it and choose the motors' gear"),
    ):
        if np.any(values):
            raise ValueError(f"{path} has {what}, which is not simulated. {fix}.")


def _refuse_massless(skeleton: Skeleton) -> None:
    subtree = skeleton.link_mass.copy()
    for i in reversed(range(skeleton.num_links)):
        if skeleton.link_parent[i] >= 0:
            subtree[skeleton.link_parent[i]] += subtree[i]
    for name, mass in zip(skeleton.joint_names, subtree, strict=True):
        if mass <= 0:
            raise ValueError(
                f"{skeleton.path}: joint {name!r} moves no mass, so its acceleration is "
                "undefined. Give its body a geom with density or an <inertial>."
            )


def _contacts(m: mujoco.MjModel, skeleton: Skeleton) -> dict[str, np.ndarray]:
    links, points, radii, materials = [], [], [], []
    for geom in range(m.ngeom):
        body = m.geom_bodyid[geom]
        link = int(skeleton.body_link[body])
        if m.geom_contype[geom] == 0 or link < 0:
            continue
        frame = compose(from_xyzw(skeleton.body_frame[body]), (m.geom_pos[geom], m.geom_quat[geom]))
        local, radius = _touching_points(m, geom, skeleton.path)
        for point in local:
            links.append(link)
            points.append(frame[0] + rotate(frame[1], point))
            radii.append(radius)
            materials.append(_material(m, geom))
    return {
        "contact_link": np.array(links, np.int32),
        "contact_point": np.array(points).reshape(-1, 3),
        "contact_radius": np.array(radii, float),
        "contact_material": np.array(materials).reshape(-1, 4),
    }


def _touching_points(m: mujoco.MjModel, geom: int, path: Path) -> tuple[np.ndarray, float]:
    """Gives the points (P, 3) of a geom that touch the ground, in its frame, and their radius."""
    size, kind = m.geom_size[geom], m.geom_type[geom]
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return np.zeros((1, 3)), float(size[0])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return np.array([[0, 0, size[1]], [0, 0, -size[1]]]), float(size[0])
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        signs = [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
        return np.array(signs) * size, 0.0
    raise ValueError(
        f"{path}: geom {element_name(m.geom(geom))} of body {m.body(m.geom_bodyid[geom]).name!r} "
        f"is a {mujoco.mjtGeom(kind).name[7:].lower()}, which has no ground contact. "
        'Allowed: sphere, capsule, box. Set contype="0" if it is only to be seen.'
    )


def _material(m: mujoco.MjModel, geom: int) -> np.ndarray:
    user = m.geom_user[geom] if m.nuser_geom >= 4 else np.zeros(4)
    if user[:4].any():
        return np.array(user[:4])
    return np.array((*DEFAULT_MATERIAL, m.geom_friction[geom, 0]))


def _dof_parameters(m: mujoco.MjModel, skeleton: Skeleton) -> dict[str, np.ndarray]:
    limit = np.tile([-np.inf, np.inf], (m.nv, 1))
    stiffness, target = np.zeros(m.nv), np.zeros(m.nv)
    laws = limit_laws(m, skeleton)
    for dof in range(m.nv):
        joint = m.dof_jntid[dof]
        if skeleton.link_joint[skeleton.dof_link[dof]] == FREE:
            continue
        stiffness[dof] = np.ravel(m.jnt_stiffness[joint])[0]
        target[dof] = m.qpos_spring[m.jnt_qposadr[joint]]
        if m.jnt_limited[joint]:
            limit[dof] = m.jnt_range[joint]
    action, gear = _actuators(m, skeleton.path)
    return {
        "dof_armature": m.dof_armature.copy(),
        "dof_stiffness": stiffness,
        "dof_damping": m.dof_damping.reshape(m.nv, -1)[:, 0].copy(),
        "dof_target": target,
        "dof_limit": limit,
        "dof_limit_stiffness": laws[:, 0].copy(),
        "dof_limit_damping": laws[:, 1].copy(),
        "dof_action": action,
        "dof_gear": gear,
    }


def limit_laws(m: mujoco.MjModel, skeleton: Skeleton) -> np.ndarray:
    """Returns stiffness and damping of the limits, (nd, 2); the damping acts at all times."""
    laws = np.zeros((m.nv, 2))
    for dof in range(m.nv):
        joint = m.dof_jntid[dof]
        if skeleton.link_joint[skeleton.dof_link[dof]] == FREE:
            continue
        user = m.jnt_user[joint][:2] if m.nuser_jnt >= 2 else np.zeros(2)
        if user.any():
            laws[dof] = user
        elif m.jnt_limited[joint]:
            laws[dof] = DEFAULT_LIMIT
    return laws


def _actuators(m: mujoco.MjModel, path: Path) -> tuple[np.ndarray, np.ndarray]:
    action, gear = np.full(m.nv, -1, np.int32), np.zeros(m.nv)
    scalar_joints = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    for a in range(m.nu):
        name = element_name(m.actuator(a))
        joint = m.actuator_trnid[a, 0]
        is_motor = (
            m.actuator_trntype[a] == mujoco.mjtTrn.mjTRN_JOINT
            and m.actuator_gaintype[a] == mujoco.mjtGain.mjGAIN_FIXED
            and m.actuator_biastype[a] == mujoco.mjtBias.mjBIAS_NONE
            and m.actuator_dyntype[a] == mujoco.mjtDyn.mjDYN_NONE
            and int(m.jnt_type[joint]) in scalar_joints
        )
        if not is_motor:
            raise ValueError(
                f"{path}: actuator {name} is not a motor on a hinge or slide joint. "
                "Write it as <motor joint=... gear=.../>."
            )
        if not (m.actuator_ctrllimited[a] and np.allclose(m.actuator_ctrlrange[a], (-1, 1))):
            raise ValueError(
                f"{path}: actuator {name} has ctrlrange {m.actuator_ctrlrange[a]}. "
                'Actions are in [-1, 1]: write ctrlrange="-1 1"; gear holds the strength.'
            )
        dof = int(m.jnt_dofadr[joint])
        if action[dof] >= 0:
            raise ValueError(f"{path}: two actuators drive joint {element_name(m.joint(joint))}.")
        action[dof] = a
        gear[dof] = m.actuator_gear[a, 0] * m.actuator_gainprm[a, 0]
    return action, gear
