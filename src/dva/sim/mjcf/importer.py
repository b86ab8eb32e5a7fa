"""Reads an MJCF file into a `Model`.

MuJoCo parses and compiles the file, so defaults, classes, angles and inertias are MuJoCo's. Limits
and contacts follow its `solref` and `solimp`, unless `user` data gives them our own laws:
`<joint user="limit_stiffness limit_damping">` and `<geom user="ke kd kf mu">`.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from dva.sim.mjcf.actuation import (
    read_actuation,
    read_ball_limits,
    read_couplings,
    read_gravity_compensation,
    read_joint_forces,
)
from dva.sim.mjcf.bodies import read_body_contacts
from dva.sim.mjcf.compiling import compile_mjcf
from dva.sim.mjcf.ground import read_contacts
from dva.sim.mjcf.media import read_fluid, read_free_damping
from dva.sim.mjcf.published import INERTIA_CHOICES, read_inertias
from dva.sim.mjcf.skeleton import build_skeleton
from dva.sim.mjcf.terrain import read_terrain
from dva.sim.mjcf.unsimulated import apply_flags, refuse_unsimulated
from dva.sim.mjcf.validation import check_compiled, check_ranges
from dva.sim.model import BALL, FREE, Model, Skeleton

__all__ = ["limit_laws", "load_model"]


def load_model(path: str | Path, inertia: str = "physical", ignore: Sequence[str] = ()) -> Model:
    """Reads an MJCF file into a `Model`.

    Joints are those of `read_skeleton`. Spheres, capsules, boxes, cylinders, ellipsoids and meshes
    touch planes and height fields of the world, each other and such geoms of the world where MuJoCo
    lets them; see `dva.sim.mjcf.ground`, `dva.sim.mjcf.terrain` and `dva.sim.mjcf.bodies`.

    Args:
        path: MJCF file.
        inertia: "physical" takes the bodies' inertias from the MJCF; "published" takes those of the
            file `<name>.inertia.json` beside it (masses and centres of mass stay).
        ignore: what the file asks for and is to be left out, by the names that an error gives.

    Raises:
        FileNotFoundError: there is no such MJCF file.
        ValueError: MuJoCo cannot compile the file, or it holds something that is not simulated
            and not ignored; a number is not finite, enormous or has the wrong sign; `inertia` or a
            name in `ignore` is unknown, or the robot has no published inertias; the file's name
            does not end in .xml or .urdf.

    Warns:
        UserWarning: something that the file asks for is ignored.
    """
    path = Path(path)
    if inertia not in INERTIA_CHOICES:
        raise ValueError(f"inertia is {inertia!r}; allowed: {', '.join(INERTIA_CHOICES)}.")
    check_ranges(path)
    compiled = compile_mjcf(path)
    check_compiled(compiled, path)
    apply_flags(compiled)
    published = read_inertias(path, compiled) if inertia == "published" else {}
    skeleton = build_skeleton(compiled, path, published)
    refuse_unsimulated(compiled, skeleton, ignore)
    _refuse_massless(skeleton)
    fields: dict[str, Any] = {
        **vars(skeleton),
        **_dof_parameters(compiled, skeleton),
        **read_actuation(compiled, skeleton),
        **read_contacts(compiled, skeleton, ignore),
        **read_terrain(compiled, skeleton, ignore),
        "body_contacts": read_body_contacts(compiled, skeleton, ignore),
        "fluid": None if "fluid" in ignore else read_fluid(compiled, skeleton),
        "free_damping": read_free_damping(compiled, skeleton),
        "couplings": read_couplings(compiled, skeleton),
        "gravity_compensation": read_gravity_compensation(compiled, skeleton),
    }
    return Model(gravity=compiled.opt.gravity.copy(), **fields)


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


def _dof_parameters(m: mujoco.MjModel, skeleton: Skeleton) -> dict[str, Any]:
    limit = np.tile([-np.inf, np.inf], (m.nv, 1))
    stiffness, target = np.zeros(m.nv), np.zeros(m.nv)
    laws = limit_laws(m, skeleton)
    own_law = np.asarray(laws.any(1))
    for dof in range(m.nv):
        joint = m.dof_jntid[dof]
        if skeleton.link_joint[skeleton.dof_link[dof]] == FREE:
            continue
        stiffness[dof] = np.ravel(m.jnt_stiffness[joint])[0]
        if skeleton.link_joint[skeleton.dof_link[dof]] == BALL:
            continue
        target[dof] = m.qpos_spring[m.jnt_qposadr[joint]]
        if m.jnt_limited[joint]:
            margin = 0.0 if own_law[dof] else m.jnt_margin[joint]
            limit[dof] = m.jnt_range[joint] + margin * np.array([1.0, -1.0])
    return {
        "dof_armature": m.dof_armature.copy(),
        "dof_stiffness": stiffness,
        "dof_damping": m.dof_damping.reshape(m.nv, -1)[:, 0].copy(),
        "dof_target": target,
        "dof_limit": limit,
        # Of ball joints it is in `ball_limits`.
        "dof_limit_stiffness": laws[:, 0] * (skeleton.link_joint[skeleton.dof_link] != BALL),
        "dof_limit_damping": laws[:, 1].copy(),
        "ball_limits": read_ball_limits(m, skeleton, laws),
        "joint_forces": read_joint_forces(m, skeleton, limit, own_law),
    }


def limit_laws(m: mujoco.MjModel, skeleton: Skeleton) -> np.ndarray:
    """Returns stiffness and damping of the limits, (nd, 2); the damping acts at all times.

    They are those of `user` data, and 0 without: such limits act only where they are passed.
    """
    laws = np.zeros((m.nv, 2))
    for dof in range(m.nv):
        if skeleton.link_joint[skeleton.dof_link[dof]] != FREE and m.nuser_jnt >= 2:
            laws[dof] = m.jnt_user[m.dof_jntid[dof]][:2]
    return laws
