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

__all__ = [
    "MESH_VERTICES",
    "Probe",
    "Solid",
    "geom_frame",
    "is_round",
    "mesh_shortfall",
    "probes",
    "solid",
    "spanning_vertices",
]

RIM_THICKNESS = 0.02
"""A cylinder's end touches as an ellipsoid, flat to this share of its radius: its deepest point
moves along the rim as the cylinder rolls, and inward where it stands on its end."""

_Geom = mujoco.mjtGeom
MESH_VERTICES = 26
"""A mesh touches with at most so many of its vertices."""
MESH_TOLERANCE = 1e-3
"""It has fewer where their hull keeps the mesh's reach up to this share of its largest extent."""
_ALLOWED = "sphere, capsule, box, cylinder, ellipsoid, mesh"


def _sphere(count: int) -> np.ndarray:
    """Spreads (count, 3) directions evenly, along a spiral from pole to pole."""
    z = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    turn = np.pi * (1.0 + math.sqrt(5.0)) * np.arange(count)
    across = np.sqrt(1.0 - z**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1)


_DIRECTIONS = np.concatenate([SLABS, -SLABS, _sphere(600)])


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
        for vertex in vertices[spanning_vertices(vertices)]:
            yield Probe(vertex, np.zeros(3))
    else:
        raise _unknown(m, geom, path)


def spanning_vertices(vertices: np.ndarray) -> list[int]:
    """Chooses few vertices whose hull reaches nearly as far as that of all, whatever the direction.

    One after the other, each where the hull of those before it falls furthest short.

    Args:
        vertices: (V, 3).

    Returns:
        Indices, at most `MESH_VERTICES`.
    """
    reach = vertices @ _DIRECTIONS.T
    furthest, whole = reach.argmax(0), reach.max(0)
    chosen = [int(furthest[0])]
    kept = reach[chosen[0]]
    tolerance = MESH_TOLERANCE * np.ptp(vertices, axis=0).max()
    while len(chosen) < MESH_VERTICES:
        worst = int((whole - kept).argmax())
        if whole[worst] - kept[worst] <= tolerance:
            break
        chosen.append(int(furthest[worst]))
        kept = np.maximum(kept, reach[chosen[-1]])
    return chosen


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


def mesh_shortfall(m: mujoco.MjModel, geom: int) -> float:
    """Measures how far the vertices with which a mesh touches fall short of it, at most [m]."""
    vertices = _vertices(m, geom)
    reach = vertices @ _DIRECTIONS.T
    return float((reach.max(0) - reach[spanning_vertices(vertices)].max(0)).max())


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
