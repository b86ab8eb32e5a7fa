"""Geoms as probes, which touch, and as solids, which are touched."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import mujoco
import numpy as np

from dva.sim.features import BOX, CYLINDER, ELLIPSOID, POLYTOPE, ROUND, SLABS
from dva.sim.mjcf.poses import Pose, compose, from_xyzw
from dva.sim.mjcf.skeleton import element_name
from dva.sim.model import Skeleton

__all__ = ["Probe", "Solid", "geom_frame", "is_round", "probes", "solid"]

RIM_THICKNESS = 0.02
"""A cylinder's end touches as an ellipsoid, flat to this share of its radius: its deepest point
moves along the rim as the cylinder rolls, and inward where it stands on its end."""

_Geom = mujoco.mjtGeom
_DIRECTIONS = np.concatenate([SLABS, -SLABS])
"""A mesh touches with at most 26 of its vertices: those that lie furthest in these directions."""
_ALLOWED = "sphere, capsule, box, cylinder, ellipsoid, mesh"


@dataclass(frozen=True)
class Probe:
    """An ellipsoid of a geom, in the geom's frame."""

    center: np.ndarray
    axes: np.ndarray
    span: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """Way along which the centre may slide."""
    share: float = 1.0
    """Of a contact: where many points stand for the four corners of a box's side."""


@dataclass(frozen=True)
class Solid:
    """A geom as `BodyContacts` describes it."""

    shape: int
    size: np.ndarray
    slab: np.ndarray
    radius: float
    """Of the sphere around the geom's frame that holds all of it."""
    extent: np.ndarray
    """(3,) how far it reaches along its axes."""


def geom_frame(m: mujoco.MjModel, skeleton: Skeleton, geom: int) -> Pose:
    """Gives a geom's pose in the frame of its link, or of the world."""
    frame = from_xyzw(skeleton.body_frame[m.geom_bodyid[geom]])
    return compose(frame, (m.geom_pos[geom], m.geom_quat[geom]))


def is_round(m: mujoco.MjModel, geom: int) -> bool:
    """Says whether a geom is a sphere or a capsule."""
    return int(m.geom_type[geom]) in (int(_Geom.mjGEOM_SPHERE), int(_Geom.mjGEOM_CAPSULE))


def probes(
    m: mujoco.MjModel, geom: int, path: Path, against: str = "ground", spacing: float = math.inf
) -> Iterator[Probe]:
    """Yields the ellipsoids and points with which a geom touches.

    Args:
        m: the robot.
        geom: which.
        path: its file.
        against: "ground" for planes, on which only a capsule's ends touch; "solid" for solids that
            are not round, which each half of a capsule touches where it is nearest; "round" for
            the others, which a capsule touches once.
        spacing: largest distance of points of a box's sides [m], so that what is thinner than the
            box does not slip between its corners; it has at most 4 by 4 on a side.

    Raises:
        ValueError: a shape is none of those that are simulated.
    """
    size, kind = m.geom_size[geom], int(m.geom_type[geom])
    if kind == int(_Geom.mjGEOM_SPHERE):
        yield Probe(np.zeros(3), np.full(3, size[0]))
    elif kind == int(_Geom.mjGEOM_CAPSULE):
        slide = {"ground": 0.0, "solid": 1.0, "round": 2.0}[against]
        for end in (size[1], -size[1])[: 1 if against == "round" else 2]:
            axis = np.array([0.0, 0.0, end])
            yield Probe(axis, np.full(3, size[0]), -slide * axis)
    elif kind == int(_Geom.mjGEOM_BOX):
        yield from _grid(size.astype(float), spacing)
    elif kind == int(_Geom.mjGEOM_CYLINDER):
        thickness = min(RIM_THICKNESS * size[0], size[1])
        for end in (size[1] - thickness, thickness - size[1]):
            yield Probe(np.array([0.0, 0.0, end]), np.array([size[0], size[0], thickness]))
    elif kind == int(_Geom.mjGEOM_ELLIPSOID):
        yield Probe(np.zeros(3), size.copy())
    elif kind == int(_Geom.mjGEOM_MESH):
        vertices = _vertices(m, geom)
        for vertex in np.unique((vertices @ _DIRECTIONS.T).argmax(0)):
            yield Probe(vertices[vertex], np.zeros(3))
    else:
        raise _unknown(m, geom, path)


def _grid(size: np.ndarray, spacing: float) -> Iterator[Probe]:
    """Yields points of the sides of a box with these half sizes, its corners among them."""
    counts = np.clip(np.ceil(2.0 * size / spacing), 1, 3).astype(int) + 1
    ticks = [np.linspace(-half, half, count) for half, count in zip(size, counts, strict=True)]
    share = 4.0 / max(counts[0] * counts[1], counts[0] * counts[2], counts[1] * counts[2])
    for point in product(*ticks):
        if np.any(np.abs(point) >= size):
            yield Probe(np.array(point), np.zeros(3), share=share)


def solid(m: mujoco.MjModel, geom: int, path: Path) -> Solid:
    """Gives a geom as a solid; a mesh as the polytope around it that has 26 sides.

    Raises:
        ValueError: a shape is none of those that are simulated.
    """
    size, kind = m.geom_size[geom].astype(float), int(m.geom_type[geom])
    slab = np.zeros(2 * len(SLABS))
    if kind in (int(_Geom.mjGEOM_SPHERE), int(_Geom.mjGEOM_CAPSULE)):
        half = size[1] if kind == int(_Geom.mjGEOM_CAPSULE) else 0.0
        extent = size[0] + np.array([0.0, 0.0, half])
        return Solid(ROUND, np.array([size[0], half, 0.0]), slab, float(size[0] + half), extent)
    if kind == int(_Geom.mjGEOM_BOX):
        return Solid(BOX, size, slab, float(np.linalg.norm(size)), size)
    if kind == int(_Geom.mjGEOM_CYLINDER):
        extent = size[[0, 0, 1]]
        return Solid(CYLINDER, np.array([*size[:2], 0.0]), slab, float(np.hypot(*size[:2])), extent)
    if kind == int(_Geom.mjGEOM_ELLIPSOID):
        return Solid(ELLIPSOID, size, slab, float(size.max()), size)
    if kind == int(_Geom.mjGEOM_MESH):
        vertices = _vertices(m, geom)
        along = vertices @ SLABS.T
        slab = np.concatenate([along.max(0), along.min(0)])
        # The corners of the polytope lie further out than the mesh, at most as those of a cube.
        radius = float(np.sqrt(3.0) * np.linalg.norm(vertices, axis=1).max())
        return Solid(POLYTOPE, np.zeros(3), slab, radius, np.abs(vertices).max(0))
    raise _unknown(m, geom, path)


def _vertices(m: mujoco.MjModel, geom: int) -> np.ndarray:
    mesh = m.geom_dataid[geom]
    start = m.mesh_vertadr[mesh]
    return m.mesh_vert[start : start + m.mesh_vertnum[mesh]].astype(float)


def _unknown(m: mujoco.MjModel, geom: int, path: Path) -> ValueError:
    kind = _Geom(int(m.geom_type[geom])).name[7:].lower()
    return ValueError(
        f"{path}: geom {element_name(m.geom(geom))} of body "
        f"{m.body(m.geom_bodyid[geom]).name!r} is a {kind}, which has no ground contact. Allowed: "
        f'{_ALLOWED}. Set contype="0" conaffinity="0" if it is only to be seen.'
    )
