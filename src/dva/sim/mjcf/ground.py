"""Contacts of a robot's geoms with planes."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from dva.sim.features import PlaneContacts
from dva.sim.mass import InitialPose
from dva.sim.mjcf.constraints import UnitLaw, unit_law
from dva.sim.mjcf.poses import Pose, compose, from_xyzw, rotate
from dva.sim.mjcf.skeleton import element_name
from dva.sim.mjcf.unsimulated import collides
from dva.sim.model import Skeleton

__all__ = ["MESH_POINTS", "read_contacts", "touching_geoms"]

MESH_POINTS = 26
"""A mesh touches with at most as many of its vertices: those that lie furthest in as many
directions, towards the faces, edges and corners of a cube."""
RIM_THICKNESS = 0.02
"""A cylinder's end touches as an ellipsoid, flat to this share of its radius: its deepest point
moves along the rim as the cylinder rolls, and inward where it stands on its end."""

HEAVIEST = 5.0
"""A body's effective mass counts up to as many times that of the point that touches. A body whose
centre of mass lies on its joint's axis would otherwise be as stiff as an immovable one."""

_Geom = mujoco.mjtGeom
_DIRECTIONS = np.array([side for side in product((-1, 0, 1), repeat=3) if any(side)], float)
_ALLOWED = "sphere, capsule, box, cylinder, ellipsoid, mesh"


@dataclass(frozen=True)
class _Solid:
    """An ellipsoid of a geom that touches planes, in the geom's frame."""

    center: np.ndarray
    axes: np.ndarray


def read_contacts(m: mujoco.MjModel, skeleton: Skeleton) -> dict[str, Any]:
    """Collects what touches planes.

    A robot's own `user` data says how it touches the flat floor at z = 0; everything else follows
    MuJoCo's parameters. A file without a plane stands on that floor too; there, a geom with
    `contype="0"` does not touch it.

    Raises:
        ValueError: a geom's shape has no contact with planes, or `user` data meets a plane other
            than z = 0.
    """
    planes = _planes(m, skeleton)
    plain: dict[str, list[Any]] = {"link": [], "point": [], "radius": [], "material": []}
    rows: list[tuple[Any, ...]] = []
    stiffness = _ContactLaws(m, skeleton)
    for geom in range(m.ngeom):
        link = int(skeleton.body_link[m.geom_bodyid[geom]])
        if link < 0:
            continue
        for plane, equation in planes:
            if not _touches(m, geom, plane):
                continue
            solids, frame = list(_solids(m, geom, skeleton.path)), _geom_frame(m, skeleton, geom)
            user = m.geom_user[geom][:4] if m.nuser_geom >= 4 else np.zeros(4)
            if user.any():
                _require_flat(m, geom, equation, skeleton.path)
                for solid in solids:
                    plain["link"].append(link)
                    plain["point"].append(frame[0] + rotate(frame[1], solid.center))
                    plain["radius"].append(solid.axes[0])
                    plain["material"].append(np.array(user))
            else:
                rows += stiffness.rows(geom, plane, equation, link, solids, frame)
    columns = tuple(np.array(column) for column in zip(*rows, strict=True)) if rows else None
    return {
        "contact_link": np.array(plain["link"], np.int32),
        "contact_point": np.array(plain["point"]).reshape(-1, 3),
        "contact_radius": np.array(plain["radius"], float),
        "contact_material": np.array(plain["material"]).reshape(-1, 4),
        "plane_contacts": PlaneContacts(*columns) if columns else None,
    }


def touching_geoms(m: mujoco.MjModel, skeleton: Skeleton) -> list[int]:
    """Lists the geoms that touch a plane, or the floor z = 0 if there is none."""
    planes = [plane for plane, _ in _planes(m, skeleton)]
    return [
        geom for geom in range(m.ngeom)
        if skeleton.body_link[m.geom_bodyid[geom]] >= 0
        and any(_touches(m, geom, plane) for plane in planes)
    ]  # fmt: skip


def _planes(m: mujoco.MjModel, skeleton: Skeleton) -> list[tuple[int, np.ndarray]]:
    """Lists the world's planes: geom, and unit normal and offset (4,); -1 is the floor z = 0."""
    found = []
    for geom in np.flatnonzero(m.geom_type == int(_Geom.mjGEOM_PLANE)):
        if not m.geom_contype[geom] and not m.geom_conaffinity[geom]:
            continue
        position, quaternion = _geom_frame(m, skeleton, int(geom))
        normal = rotate(quaternion, np.array([0.0, 0.0, 1.0]))
        equation = np.append(normal, normal @ position)
        equation[np.abs(equation) < 1e-12] = 0.0
        found.append((int(geom), equation))
    return found or [(-1, np.array([0.0, 0.0, 1.0, 0.0]))]


def _geom_frame(m: mujoco.MjModel, skeleton: Skeleton, geom: int) -> Pose:
    frame = from_xyzw(skeleton.body_frame[m.geom_bodyid[geom]])
    return compose(frame, (m.geom_pos[geom], m.geom_quat[geom]))


def _touches(m: mujoco.MjModel, geom: int, plane: int) -> bool:
    if plane < 0:
        return bool(m.geom_contype[geom] != 0)
    bodies = sorted((int(m.geom_bodyid[geom]), int(m.geom_bodyid[plane])))
    return collides(m, geom, plane) and (bodies[0] << 16) + bodies[1] not in m.exclude_signature


def _require_flat(m: mujoco.MjModel, geom: int, equation: np.ndarray, path: Path) -> None:
    if not np.array_equal(equation, (0.0, 0.0, 1.0, 0.0)):
        raise ValueError(
            f"{path}: geom {element_name(m.geom(geom))} has contact parameters in user data, which "
            f"are for the floor z = 0, but touches the plane with normal {equation[:3].tolist()} "
            f"at {equation[3]:g} m. Remove its user data, or move the plane."
        )


def _solids(m: mujoco.MjModel, geom: int, path: Path) -> Iterator[_Solid]:
    """Yields the ellipsoids and points with which a geom touches planes.

    Raises:
        ValueError: a shape is none of those that are simulated.
    """
    size, kind = m.geom_size[geom], int(m.geom_type[geom])
    if kind == int(_Geom.mjGEOM_SPHERE):
        yield _Solid(np.zeros(3), np.full(3, size[0]))
    elif kind == int(_Geom.mjGEOM_CAPSULE):
        for end in (size[1], -size[1]):
            yield _Solid(np.array([0.0, 0.0, end]), np.full(3, size[0]))
    elif kind == int(_Geom.mjGEOM_BOX):
        for x, y, z in product((-1, 1), repeat=3):
            yield _Solid(np.array([x, y, z]) * size, np.zeros(3))
    elif kind == int(_Geom.mjGEOM_CYLINDER):
        thickness = min(RIM_THICKNESS * size[0], size[1])
        for end in (size[1] - thickness, thickness - size[1]):
            yield _Solid(np.array([0.0, 0.0, end]), np.array([size[0], size[0], thickness]))
    elif kind == int(_Geom.mjGEOM_ELLIPSOID):
        yield _Solid(np.zeros(3), size.copy())
    elif kind == int(_Geom.mjGEOM_MESH):
        start, mesh = m.mesh_vertadr[m.geom_dataid[geom]], m.geom_dataid[geom]
        vertices = m.mesh_vert[start : start + m.mesh_vertnum[mesh]].astype(float)
        for vertex in np.unique((vertices @ _DIRECTIONS.T).argmax(0)):
            yield _Solid(vertices[vertex], np.zeros(3))
    else:
        raise ValueError(
            f"{path}: geom {element_name(m.geom(geom))} of body "
            f"{m.body(m.geom_bodyid[geom]).name!r} is a {_Geom(kind).name[7:].lower()}, which has "
            f'no ground contact. Allowed: {_ALLOWED}. Set contype="0" conaffinity="0" if it is '
            "only to be seen."
        )


class _ContactLaws:
    """Contact parameters from MuJoCo's, with the effective masses of the initial pose."""

    def __init__(self, m: mujoco.MjModel, skeleton: Skeleton):
        self._m = m
        self._pose = InitialPose(skeleton)
        try:
            self._inverse = np.linalg.inv(self._pose.mass_matrix(m.dof_armature))
        except np.linalg.LinAlgError:
            self._inverse = None  # which `stable_substeps` reports

    def rows(
        self, geom: int, plane: int, equation: np.ndarray, link: int, solids: list[_Solid],
        frame: Pose,
    ) -> list[tuple[Any, ...]]:  # fmt: skip
        """Gives a geom's rows of `PlaneContacts` with one plane."""
        m = self._m
        law, friction, margin = _mixed(m, geom, plane)
        orientation = np.roll(frame[1], -1)
        gravity = float(np.linalg.norm(m.opt.gravity)) or 9.81
        found = []
        for solid in solids:
            point = frame[0] + rotate(frame[1], solid.center)
            mobility = self._mobility(link, point)
            of_body = float(m.body_invweight0[m.geom_bodyid[geom], 0])
            inverse_mass = max(of_body, mobility / HEAVIEST)
            if inverse_mass <= 0 or law[0] <= 0:
                continue
            ke = law[0] / inverse_mass
            # A point on a joint's axis hardly moves: it is no heavier than its body.
            mass = 1.0 / max(mobility, inverse_mass)
            damping = 2.0 * law[1] * np.sqrt(ke * mass)
            # MuJoCo's margin lets a contact act before it touches: as a thicker geom would.
            offset = equation + np.array([0.0, 0.0, 0.0, margin])
            found.append(
                (link, point, orientation, solid.axes, offset,
                 np.array([ke, damping, damping, friction]), gravity * mass / ke)
            )  # fmt: skip
        return found

    def _mobility(self, link: int, point: np.ndarray) -> float:
        """Acceleration of a link's point by a unit force, averaged over directions [1/kg]."""
        if self._inverse is None:
            return 0.0
        jacobian = self._pose.jacobian(link, self._pose.place(link, point))[0]
        return float(np.trace(jacobian @ self._inverse @ jacobian.T)) / 3.0


def _mixed(m: mujoco.MjModel, geom: int, plane: int) -> tuple[UnitLaw, float, float]:
    """Combines the parameters of two geoms as MuJoCo does: law, friction coefficient, margin."""
    rows = [geom] if plane < 0 else [geom, plane]
    margin = float(m.geom_margin[rows].sum())
    best = max(m.geom_priority[rows])
    rows = [row for row in rows if m.geom_priority[row] == best]
    weight = m.geom_solmix[rows].astype(float)
    weight = weight / weight.sum() if weight.sum() > 0 else np.full(len(rows), 1.0 / len(rows))
    references = m.geom_solref[rows]
    mixed = references.min(0) if (references[:, 0] <= 0).any() else weight @ references
    friction = float(m.geom_friction[rows, 0].max()) if max(m.geom_condim[rows]) > 1 else 0.0
    return unit_law(m, mixed, weight @ m.geom_solimp[rows]), friction, margin
