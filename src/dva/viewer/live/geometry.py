"""The shape of a robot as meshes, and where its bodies are."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from dva.sensors.shapes import VISIBLE_GROUPS
from dva.sim import Skeleton, to_mujoco
from dva.sim.mjcf.compiling import compile_mjcf

__all__ = ["Geometry", "Part"]

_ROUND = 24
"""Sections of round shapes."""
_DEFAULT_COLOR = (0.5, 0.5, 0.5, 1.0)
"""MuJoCo's colour of a geom that sets none; the material's colour counts then."""
Mesh = tuple[np.ndarray, np.ndarray]
"""Vertices (V, 3) and the three vertices of each face (F, 3)."""


@dataclass(frozen=True)
class Part:
    """What one body shows in one colour."""

    body: int
    color: tuple[int, int, int]
    opacity: float
    vertices: np.ndarray
    """(V, 3) in the body's frame [m]."""
    faces: np.ndarray
    """(F, 3)."""


class Geometry:
    """Makes meshes of the visible geoms of a robot's file, and poses its bodies.

    Spheres, capsules, cylinders, ellipsoids, boxes, meshes and the tops of height fields are drawn,
    without textures; planes are not.

    Args:
        path: the robot's file.
        model: the robot, as its simulator imported it.

    Attributes:
        parts: the meshes.
    """

    def __init__(self, path: Path, model: Skeleton) -> None:
        self._model, self._compiled = model, compile_mjcf(path)
        self._data = mujoco.MjData(self._compiled)
        self.parts = self._collect()

    def poses(self, joint_q: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Places the bodies of N robots.

        Args:
            joint_q: (N, nq).

        Returns:
            Positions (N, B, 3) [m] and quaternions (w, x, y, z) (N, B, 4), world frame.
        """
        qpos = to_mujoco(self._model, joint_q.detach().cpu().double()).numpy()
        positions, quaternions = [], []
        for row in qpos:
            self._data.qpos[:] = row
            mujoco.mj_kinematics(self._compiled, self._data)
            positions.append(self._data.xpos.copy())
            quaternions.append(self._data.xquat.copy())
        return np.array(positions), np.array(quaternions)

    def ground_width(self) -> float:
        """Returns how wide the height fields are along y [m]; 0 where there are none."""
        m = self._compiled
        fields = np.flatnonzero(m.geom_type == mujoco.mjtGeom.mjGEOM_HFIELD)
        widths = 2.0 * m.hfield_size[m.geom_dataid[fields], 1]
        return float(widths.max(initial=0.0))

    def joint_ranges(self) -> dict[int, tuple[float, float]]:
        """Returns the limits of hinges and slides by their coordinate in `joint_q` [rad, m]."""
        m = self._compiled
        return {
            int(m.jnt_qposadr[j]): (float(m.jnt_range[j, 0]), float(m.jnt_range[j, 1]))
            for j in range(m.njnt)
            if m.jnt_limited[j]
        }

    def _collect(self) -> list[Part]:
        m = self._compiled
        found: dict[tuple[int, tuple[float, ...]], list[Mesh]] = {}
        for geom in range(m.ngeom):
            color = _color(m, geom)
            if m.geom_group[geom] not in VISIBLE_GROUPS or color[3] <= 0.0:
                continue
            mesh = _mesh(m, geom)
            if mesh is not None:
                key = int(m.geom_bodyid[geom]), tuple(float(x) for x in color)
                found.setdefault(key, []).append(_moved(mesh, m.geom_pos[geom], m.geom_quat[geom]))
        return [_part(body, color, meshes) for (body, color), meshes in found.items()]


def _part(body: int, color: Sequence[float], meshes: Sequence[Mesh]) -> Part:
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in meshes)])
    red, green, blue = (int(round(255 * x)) for x in color[:3])
    return Part(
        body=body,
        color=(red, green, blue),
        opacity=float(color[3]),
        vertices=np.concatenate([vertices for vertices, _ in meshes]),
        faces=np.concatenate([faces + a for (_, faces), a in zip(meshes, starts, strict=False)]),
    )


def _color(m: Any, geom: int) -> np.ndarray:
    own, material = m.geom_rgba[geom], m.geom_matid[geom]
    if material >= 0 and tuple(own) == _DEFAULT_COLOR:
        return m.mat_rgba[material]
    return own


def _mesh(m: Any, geom: int) -> Mesh | None:
    """Makes the mesh of a geom in its own frame; None where it is not drawn."""
    kind, (a, b, c) = m.geom_type[geom], m.geom_size[geom]
    kinds = mujoco.mjtGeom
    if kind == kinds.mjGEOM_SPHERE:
        return _capsule(a, 0.0)
    if kind == kinds.mjGEOM_CAPSULE:
        return _capsule(a, b)
    if kind == kinds.mjGEOM_ELLIPSOID:
        vertices, faces = _capsule(1.0, 0.0)
        return vertices * (a, b, c), faces
    if kind == kinds.mjGEOM_CYLINDER:
        return _cylinder(a, b)
    if kind == kinds.mjGEOM_BOX:
        return _box(a, b, c)
    if kind == kinds.mjGEOM_MESH:
        data = m.geom_dataid[geom]
        first, count = m.mesh_vertadr[data], m.mesh_vertnum[data]
        start, faces = m.mesh_faceadr[data], m.mesh_facenum[data]
        return _sharp(m.mesh_vert[first : first + count], m.mesh_face[start : start + faces])
    if kind == kinds.mjGEOM_HFIELD:
        return _height_field(m, m.geom_dataid[geom])
    return None


def _capsule(radius: float, half: float) -> Mesh:
    """Makes a capsule along z, or a sphere where its half length is 0."""
    bands = _ROUND // 2
    angles = np.linspace(-np.pi / 2, np.pi / 2, bands)  # even, so that none is at the equator
    rings = np.stack([radius * np.cos(angles), radius * np.sin(angles) + half * np.sign(angles)], 1)
    return _lathe(rings)


def _cylinder(radius: float, half: float) -> Mesh:
    return _sharp(*_lathe(np.array([(0, -half), (radius, -half), (radius, half), (0, half)])))


def _lathe(profile: np.ndarray) -> Mesh:
    """Turns a profile (P, 2) of radii and heights, upwards, about z."""
    turn = np.arange(_ROUND) * (2 * np.pi / _ROUND)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    rings = [np.column_stack([radius * circle, np.full(_ROUND, z)]) for radius, z in profile]
    here = np.arange(_ROUND)
    after = (here + 1) % _ROUND
    faces = []
    for ring in range(len(profile) - 1):
        low, high = ring * _ROUND, (ring + 1) * _ROUND
        faces.append(np.stack([low + here, low + after, high + after], 1))
        faces.append(np.stack([low + here, high + after, high + here], 1))
    return np.concatenate(rings), np.concatenate(faces)


def _box(x: float, y: float, z: float) -> Mesh:
    corners = np.array([(i, j, k) for i in (-x, x) for j in (-y, y) for k in (-z, z)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for p, q, r, s in quads for face in ((p, q, r), (p, r, s))]
    return _sharp(corners, np.array(faces))


def _height_field(m: Any, number: int) -> Mesh:
    """Makes the top of a height field, whose rows go along y and whose columns along x."""
    rows, columns = int(m.hfield_nrow[number]), int(m.hfield_ncol[number])
    half_x, half_y, top, _ = m.hfield_size[number]
    first = m.hfield_adr[number]
    heights = top * m.hfield_data[first : first + rows * columns]
    y, x = np.meshgrid(
        np.linspace(-half_y, half_y, rows), np.linspace(-half_x, half_x, columns), indexing="ij"
    )
    corner = (columns * np.arange(rows - 1)[:, None] + np.arange(columns - 1)).reshape(-1, 1)
    faces = [corner + (0, 1, columns + 1), corner + (0, columns + 1, columns)]
    return np.stack([x.ravel(), y.ravel(), heights], 1), np.concatenate(faces)


def _sharp(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Gives each face vertices of its own, so that its edges are not smoothed."""
    return vertices[faces].reshape(-1, 3), np.arange(3 * len(faces)).reshape(-1, 3)


def _moved(mesh: Mesh, position: np.ndarray, quaternion: np.ndarray) -> Mesh:
    """Moves a mesh from a geom's frame to its body's."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, quaternion)
    return mesh[0] @ rotation.reshape(3, 3).T + position, mesh[1]
