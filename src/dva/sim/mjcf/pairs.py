"""Which geoms may touch which, by MuJoCo's rules."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from dataclasses import dataclass

import mujoco
import numpy as np

from dva.sim.model import Skeleton

__all__ = ["GeomPair", "body_pairs", "collides", "explicit_pairs", "is_solid"]

_Flag, _Geom = mujoco.mjtDisableBit, mujoco.mjtGeom
_SOLID = tuple(
    int(kind)
    for kind in (
        _Geom.mjGEOM_SPHERE, _Geom.mjGEOM_CAPSULE, _Geom.mjGEOM_ELLIPSOID, _Geom.mjGEOM_CYLINDER,
        _Geom.mjGEOM_BOX, _Geom.mjGEOM_MESH,
    )
)  # fmt: skip


@dataclass(frozen=True)
class GeomPair:
    """Two geoms that may touch."""

    one: int
    other: int
    explicit: int = -1
    """Number of their `<contact><pair>`; -1 if filters let them touch."""


def is_solid(m: mujoco.MjModel, geom: int) -> bool:
    """Says whether a geom's shape is one that others can touch; planes are apart."""
    return int(m.geom_type[geom]) in _SOLID


def collides(m: mujoco.MjModel, one: int, other: int) -> bool:
    """Says whether contype, conaffinity and `<exclude>` let two geoms touch."""
    a, b = m.geom_contype, m.geom_conaffinity
    bodies = sorted((int(m.geom_bodyid[one]), int(m.geom_bodyid[other])))
    allowed = (a[one] & b[other]) | (a[other] & b[one])
    return bool(allowed) and (bodies[0] << 16) + bodies[1] not in m.exclude_signature


def explicit_pairs(m: mujoco.MjModel) -> dict[tuple[int, int], int]:
    """Numbers the `<contact><pair>` of geoms, the smaller geom first."""
    if m.opt.disableflags & _Flag.mjDSBL_CONTACT:
        return {}
    geoms = zip(m.pair_geom1, m.pair_geom2, strict=True)
    return {(min(int(a), int(b)), max(int(a), int(b))): n for n, (a, b) in enumerate(geoms)}


def body_pairs(m: mujoco.MjModel, skeleton: Skeleton) -> list[GeomPair]:
    """Lists pairs of geoms that may touch, planes apart.

    Geoms whose `user` data gives our own contact law touch the floor only.
    """
    links = skeleton.body_link[m.geom_bodyid]
    weld = m.body_weldid
    explicit = explicit_pairs(m)
    filter_parent = not m.opt.disableflags & _Flag.mjDSBL_FILTERPARENT
    own_law = m.geom_user[:, :4].any(1) if m.nuser_geom >= 4 else np.zeros(m.ngeom, bool)
    able = [
        geom for geom in range(m.ngeom)
        if is_solid(m, geom) and not own_law[geom]
        and (m.geom_contype[geom] or m.geom_conaffinity[geom])
    ]  # fmt: skip
    found = []
    for index, one in enumerate(able):
        for other in able[index + 1 :]:
            if (one, other) in explicit or max(links[one], links[other]) < 0:
                continue
            a, b = (int(weld[m.geom_bodyid[geom]]) for geom in (one, other))
            if a == b or not collides(m, one, other):
                continue
            # MuJoCo lets children of the world touch it.
            parents = [int(weld[m.body_parentid[body]]) for body in (a, b)]
            if filter_parent and a and b and (parents[0] == b or parents[1] == a):
                continue
            found.append(GeomPair(one, other))
    for (one, other), number in explicit.items():
        if is_solid(m, one) and is_solid(m, other) and links[one] != links[other]:
            found.append(GeomPair(one, other, number))
    return found
