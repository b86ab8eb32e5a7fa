"""What a robot's file asks for and ours does not simulate: refused, or ignored by name."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import warnings
from collections.abc import Callable, Sequence

import mujoco
import numpy as np

from dva.sim.mjcf.pairs import body_pairs, collides, explicit_pairs, is_solid
from dva.sim.mjcf.skeleton import element_name
from dva.sim.mjcf.terrain import field_geoms, treading_geoms
from dva.sim.model import Skeleton

__all__ = ["IGNORABLE", "UNSIMULATED", "apply_flags", "refuse_unsimulated"]

_Flag = mujoco.mjtDisableBit
_Joint, _Geom, _Equality = mujoco.mjtJoint, mujoco.mjtGeom, mujoco.mjtEq


def refuse_unsimulated(
    m: mujoco.MjModel, skeleton: Skeleton, ignore: Sequence[str], stacklevel: int = 3
) -> None:
    """Refuses a file that holds something that is not simulated and that `ignore` does not name.

    What `OPTIONAL` lists is simulated; `ignore` leaves it out, which saves time.

    Args:
        m: the robot.
        skeleton: its links.
        ignore: names of `IGNORABLE`.
        stacklevel: of the warning.

    Raises:
        ValueError: there is such a thing, or a name is unknown.

    Warns:
        UserWarning: something that the file asks for is ignored.
    """
    unknown = [name for name in ignore if name not in IGNORABLE]
    if unknown:
        raise ValueError(f"ignore names {unknown[0]!r}; allowed: {', '.join(IGNORABLE)}.")
    path = skeleton.path
    for condition, text in _never(m):
        if condition:
            raise ValueError(f"{path} has {text}")
    found = {name: find(m, skeleton) for name, find in IGNORABLE.items()}
    found = {name: text for name, text in found.items() if text}
    refused = {
        name: text for name, text in found.items() if name in UNSIMULATED and name not in ignore
    }
    if refused:
        listed = "; ".join(f"{name}: {text}" for name, text in refused.items())
        names = tuple(name for name in found if name in refused or name in ignore)
        raise ValueError(
            f"{path} asks for what is not simulated ({listed}). Change the file, or go on without: "
            f"ignore={names!r} of load_model or of the task, or --ignore {' '.join(names)}."
        )
    found = {name: text for name, text in found.items() if name in ignore}
    if found:
        listed = "; ".join(f"{name}: {text}" for name, text in found.items())
        warnings.warn(f"{path.name}: not simulated, as asked: {listed}.", stacklevel=stacklevel)


def apply_flags(m: mujoco.MjModel) -> None:
    """Takes out of a compiled robot what its `<flag>` elements disable."""
    disabled = m.opt.disableflags
    everything = disabled & _Flag.mjDSBL_CONSTRAINT
    arrays: tuple[tuple[int, tuple[np.ndarray, ...]], ...] = (
        (_Flag.mjDSBL_GRAVITY, (m.opt.gravity,)),
        (_Flag.mjDSBL_CONTACT, (m.geom_contype, m.geom_conaffinity)),
        (_Flag.mjDSBL_LIMIT, (m.jnt_limited, m.tendon_limited)),
        (_Flag.mjDSBL_FRICTIONLOSS, (m.dof_frictionloss, m.tendon_frictionloss)),
        (_Flag.mjDSBL_EQUALITY, (m.eq_active0,)),
        (_Flag.mjDSBL_SPRING, (m.jnt_stiffness, m.tendon_stiffness)),
        (_Flag.mjDSBL_DAMPER, (m.dof_damping, m.tendon_damping)),
    )
    constraints = (
        _Flag.mjDSBL_CONTACT, _Flag.mjDSBL_LIMIT, _Flag.mjDSBL_FRICTIONLOSS, _Flag.mjDSBL_EQUALITY
    )  # fmt: skip
    for flag, values in arrays:
        if disabled & flag or (everything and flag in constraints):
            for value in values:
                value[...] = 0


def _never(m: mujoco.MjModel) -> tuple[tuple[bool, str], ...]:
    """Lists what no name ignores: with it, the rest would mean something else."""
    polynomials = (m.jnt_stiffnesspoly, m.dof_dampingpoly, m.tendon_stiffnesspoly)
    switched = _Flag.mjDSBL_ACTUATION | _Flag.mjDSBL_CLAMPCTRL
    override = mujoco.mjtEnableBit.mjENBL_OVERRIDE
    return (
        (m.nflex > 0, "flexible bodies, which are not simulated. Remove <deformable>."),
        (m.nplugin > 0, "plugins, which are not simulated. Remove them."),
        (
            any(np.any(values) for values in (*polynomials, m.tendon_dampingpoly)),
            "springs or dampers with several coefficients; the law here is linear: give one.",
        ),
        (
            any(np.any(values) for values in (m.actuator_damping, m.actuator_armature)),
            "actuators with damping or armature: give them to the joint.",
        ),
        (bool(np.any(m.actuator_delay)), "actuators with a delay: remove it."),
        (bool(np.any(m.tendon_armature)), "tendons with armature: remove it."),
        (bool(np.any(m.tendon_actfrclimited)), "tendons with actuatorfrcrange: remove it."),
        (bool(m.opt.disableflags & switched), "disabled actuation or clampctrl: enable it."),
        (bool(m.opt.disableactuator), "disabled groups of actuators: enable or remove them."),
        (bool(m.opt.enableflags & override), "the flag override: give contacts their parameters."),
    )


def _fluid(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    if not (m.opt.density or m.opt.viscosity):
        return ""
    return f"forces of a fluid (density {m.opt.density:g}, viscosity {m.opt.viscosity:g})"


def _fluid_shape(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    count = int((m.geom_fluid[:, 0] > 0).sum()) if m.opt.density or m.opt.viscosity else 0
    return f"forces of a fluid on ellipsoids (fluidshape of {count} geoms)" if count else ""


def _links(m: mujoco.MjModel, skeleton: Skeleton) -> np.ndarray:
    return skeleton.body_link[m.geom_bodyid]


def _body_contact(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    links = _links(m, skeleton)
    pairs = [pair for pair in body_pairs(m, skeleton) if pair.explicit < 0]
    count = sum(min(links[pair.one], links[pair.other]) >= 0 for pair in pairs)
    return f"contact between bodies ({count} pairs of geoms)" if count else ""


def _world_geoms(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    links = _links(m, skeleton)
    pairs = [pair for pair in body_pairs(m, skeleton) if pair.explicit < 0]
    fixed = {
        geom for pair in pairs for geom in (pair.one, pair.other) if links[geom] < 0
    }  # fmt: skip
    if not fixed:
        return ""
    return f"contact with {len(fixed)} geoms of the world ({_kinds(m, fixed)}); planes stay solid"


def _terrain(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    if not treading_geoms(m, skeleton):
        return ""
    return f"contact with {len(field_geoms(m))} height fields"


def _shapes(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    moving = np.flatnonzero(_links(m, skeleton) >= 0)
    ground = (int(_Geom.mjGEOM_PLANE), int(_Geom.mjGEOM_HFIELD))
    found = [
        geom for geom in range(m.ngeom)
        if not is_solid(m, geom) and int(m.geom_type[geom]) not in ground
        and any(collides(m, geom, int(other)) for other in moving)
    ]  # fmt: skip
    return f"contact with {len(found)} geoms ({_kinds(m, set(found))})" if found else ""


def _kinds(m: mujoco.MjModel, geoms: set[int]) -> str:
    return ", ".join(sorted({_Geom(int(m.geom_type[geom])).name[7:].lower() for geom in geoms}))


def _pairs(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    count = len(explicit_pairs(m))
    return f"{count} contact pairs" if count else ""


def _constraints(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    kinds = [
        mujoco.mjtEq(int(kind)).name[5:].lower()
        for kind, active in zip(m.eq_type, m.eq_active0, strict=True)
        if active and int(kind) not in (int(_Equality.mjEQ_JOINT), int(_Equality.mjEQ_TENDON))
    ]
    kinds += ["tendon"] if _coupled_tendons(m) else []
    return f"equality constraints ({', '.join(sorted(set(kinds)))})" if kinds else ""


def _coupled_tendons(m: mujoco.MjModel) -> bool:
    """Says whether an equality of tendons is one that is not linear, or of spatial tendons."""
    for e in range(m.neq):
        if not m.eq_active0[e] or int(m.eq_type[e]) != int(_Equality.mjEQ_TENDON):
            continue
        tendons = [int(m.eq_obj1id[e]), int(m.eq_obj2id[e])]
        starts = [m.wrap_type[m.tendon_adr[t]] for t in tendons if t >= 0]
        spatial = any(int(kind) != int(mujoco.mjtWrap.mjWRAP_JOINT) for kind in starts)
        if spatial or (tendons[1] >= 0 and m.eq_data[e, 2:5].any()):
            return True
    return False


def _spatial_tendons(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    spatial = [
        t
        for t in range(m.ntendon)
        if int(m.wrap_type[m.tendon_adr[t]]) != int(mujoco.mjtWrap.mjWRAP_JOINT)
    ]
    acting = [
        t for t in spatial
        if m.tendon_stiffness[t] or m.tendon_damping[t] or m.tendon_limited[t]
        or m.tendon_frictionloss[t]
    ]  # fmt: skip
    return f"{len(acting)} spatial tendons" if acting else ""


def _activation(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    filters = (int(mujoco.mjtDyn.mjDYN_FILTER), int(mujoco.mjtDyn.mjDYN_FILTEREXACT))
    slow = [a for a in range(m.nu) if int(m.actuator_dyntype[a]) in filters]
    return f"activation of {len(slow)} actuators (their control acts at once)" if slow else ""


def _unlimited(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    free = [element_name(m.actuator(a)) for a in range(m.nu) if not m.actuator_ctrllimited[a]]
    if not free:
        return ""
    return f"actuators without ctrlrange, such as {free[0]}; if ignored, it is -1 to 1"


def _free_joint(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    found = set()
    for joint in np.flatnonzero(m.jnt_type == int(_Joint.mjJNT_FREE)):
        dofs = slice(m.jnt_dofadr[joint], m.jnt_dofadr[joint] + 6)
        named = (
            ("frictionloss", m.dof_frictionloss), ("armature", m.dof_armature),
        )  # fmt: skip
        found |= {name for name, values in named if np.any(values[dofs])}
        found |= {"stiffness"} if np.any(m.jnt_stiffness[joint]) else set()
    return f"{', '.join(sorted(found))} of a free joint" if found else ""


def _plastic(m: mujoco.MjModel, skeleton: Skeleton) -> str:
    return "springs that yield" if m.nplastic else ""


_Finder = Callable[[mujoco.MjModel, Skeleton], str]

UNSIMULATED: dict[str, _Finder] = {
    "shapes": _shapes,
    "constraints": _constraints,
    "spatial-tendons": _spatial_tendons,
    "activation": _activation,
    "ctrlrange": _unlimited,
    "free-joint": _free_joint,
    "fluid-shape": _fluid_shape,
    "plasticity": _plastic,
}
"""What is not simulated and may be ignored: by name, a function that says what a robot has of it,
or nothing."""

OPTIONAL: dict[str, _Finder] = {
    "body-contact": _body_contact,
    "world-geoms": _world_geoms,
    "terrain": _terrain,
    "contact-pairs": _pairs,
    "fluid": _fluid,
}
"""What is simulated and may be left out."""

IGNORABLE = {**OPTIONAL, **UNSIMULATED}
