"""The visible geoms of a scene as plain numbers, for renderers of our own."""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from dataclasses import dataclass

import mujoco
import numpy as np

from dva.sensors.scene import FLOOR, WALL
from dva.sim import Skeleton

__all__ = ["VISIBLE_GROUPS", "Shapes", "read_shapes", "unsupported_geoms"]

VISIBLE_GROUPS = (0, 1, 2)
"""Geom groups in the picture; group 3 carries mass and contact only and casts no shadow either."""

_KINDS = tuple(
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_SPHERE,
        mujoco.mjtGeom.mjGEOM_CAPSULE,
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        mujoco.mjtGeom.mjGEOM_BOX,
    )
)
_DEFAULT_COLOR = (0.5, 0.5, 0.5, 1.0)
"""MuJoCo's colour of a geom that names none: its material's counts then."""


@dataclass(frozen=True)
class Shapes:
    """G spheres, capsules, cylinders and boxes, each rigidly attached to a link or the world."""

    kind: np.ndarray
    """(G,) MuJoCo's number of the geom type."""
    link: np.ndarray
    """(G,) link of the robot that carries the shape; -1 is the world."""
    body: np.ndarray
    """(G,) MuJoCo body of the shape."""
    position: np.ndarray
    """(G, 3) centre in the link's frame [m]."""
    rotation: np.ndarray
    """(G, 4) quaternion (x, y, z, w) in the link's frame."""
    size: np.ndarray
    """(G, 3) radius; radius and half length; or half lengths [m]."""
    color: np.ndarray
    """(G, 3) RGB in [0, 1]."""

    @property
    def bounding_radius(self) -> np.ndarray:
        """(G,) of the sphere around each shape's centre that holds it [m]."""
        sphere, capsule, cylinder, _ = _KINDS
        x, y = self.size[:, 0], self.size[:, 1]
        return np.select(
            [self.kind == sphere, self.kind == capsule, self.kind == cylinder],
            [x, x + y, np.hypot(x, y)],
            np.linalg.norm(self.size, axis=1),
        )


def read_shapes(mj_model: mujoco.MjModel, model: Skeleton) -> Shapes:
    """Reads the visible geoms of a composed scene, but for its floor and wall.

    Raises:
        ValueError: one of them is not a plain shape; `unsupported_geoms` names it.
    """
    reasons = unsupported_geoms(mj_model)
    if reasons:
        raise ValueError(f"The caster cannot draw {'; '.join(reasons)}.")
    geoms = _visible(mj_model)
    bodies = mj_model.geom_bodyid[geoms]
    position, rotation = np.zeros((len(geoms), 3)), np.zeros((len(geoms), 4))
    for i, (geom, body) in enumerate(zip(geoms, bodies, strict=True)):
        x, y, z, w = model.body_frame[body][3:]
        frame, quaternion = np.array([w, x, y, z]), np.zeros(4)
        mujoco.mju_rotVecQuat(position[i], mj_model.geom_pos[geom], frame)
        position[i] += model.body_frame[body][:3]
        mujoco.mju_mulQuat(quaternion, frame, mj_model.geom_quat[geom])
        rotation[i] = np.roll(quaternion, -1)
    return Shapes(
        kind=mj_model.geom_type[geoms],
        link=model.body_link[bodies],
        body=bodies,
        position=position,
        rotation=rotation,
        size=mj_model.geom_size[geoms],
        color=np.array([_color(mj_model, geom)[:3] for geom in geoms]).reshape(-1, 3),
    )


def unsupported_geoms(mj_model: mujoco.MjModel) -> list[str]:
    """Lists the visible geoms that are not plain opaque shapes, each with the reason."""
    reasons = []
    for geom in _visible(mj_model):
        kind = mujoco.mjtGeom(int(mj_model.geom_type[geom])).name.removeprefix("mjGEOM_").lower()
        name = mj_model.geom(geom).name or str(geom)
        material = mj_model.geom_matid[geom]
        if mj_model.geom_type[geom] not in _KINDS:
            reasons.append(f"geom {name!r}, a {kind}")
        elif material >= 0 and (mj_model.mat_texid[material] >= 0).any():
            reasons.append(f"geom {name!r}, which has a texture")
        elif _color(mj_model, geom)[3] < 1.0:
            reasons.append(f"geom {name!r}, which is not opaque")
    return reasons


def _visible(mj_model: mujoco.MjModel) -> list[int]:
    surroundings = (FLOOR, WALL)
    return [
        geom
        for geom in range(mj_model.ngeom)
        if mj_model.geom_group[geom] in VISIBLE_GROUPS
        and mj_model.geom(geom).name not in surroundings
        and _color(mj_model, geom)[3] > 0.0
    ]


def _color(mj_model: mujoco.MjModel, geom: int) -> np.ndarray:
    own, material = mj_model.geom_rgba[geom], mj_model.geom_matid[geom]
    if material >= 0 and tuple(own) == _DEFAULT_COLOR:
        return mj_model.mat_rgba[material]
    return own
