"""Contacts of a robot's geoms with planes."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from dva.sim.features import PlaneContacts
from dva.sim.mjcf.contact_parameters import EffectiveMasses, mix, pair_parameters, probe_rows
from dva.sim.mjcf.pairs import collides, explicit_pairs
from dva.sim.mjcf.poses import rotate
from dva.sim.mjcf.shapes import geom_frame, probes
from dva.sim.mjcf.skeleton import element_name
from dva.sim.mjcf.terrain import field_geoms
from dva.sim.model import Skeleton

__all__ = ["read_contacts", "touching_geoms"]

_Geom = mujoco.mjtGeom


def read_contacts(
    m: mujoco.MjModel, skeleton: Skeleton, ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """Collects what touches planes.

    A robot's own `user` data says how it touches the flat floor at z = 0; everything else follows
    MuJoCo's parameters. A file without any ground stands on that floor too; there, a geom with
    `contype="0"` does not touch it.

    Raises:
        ValueError: a geom's shape has no contact with planes, or `user` data meets a plane other
            than z = 0.
    """
    planes = _planes(m, skeleton, "terrain" not in ignore)
    plain: dict[str, list[Any]] = {"link": [], "point": [], "radius": [], "material": []}
    rows: list[dict[str, Any]] = []
    masses = EffectiveMasses(m, skeleton)
    for geom in range(m.ngeom):
        link = int(skeleton.body_link[m.geom_bodyid[geom]])
        if link < 0:
            continue
        for plane, equation in planes:
            number = _explicit(m, geom, plane, ignore)
            if number < 0 and not _touches(m, geom, plane):
                continue
            user = m.geom_user[geom][:4] if m.nuser_geom >= 4 else np.zeros(4)
            if user.any():
                _require_flat(m, geom, equation, skeleton.path)
                frame = geom_frame(m, skeleton, geom)
                for probe in probes(m, geom, skeleton.path):
                    plain["link"].append(link)
                    plain["point"].append(frame[0] + rotate(frame[1], probe.center))
                    plain["radius"].append(probe.axes[0])
                    plain["material"].append(np.array(user))
            else:
                rows += _rows(m, skeleton, masses, geom, plane, equation, number)
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}
    return {
        "contact_link": np.array(plain["link"], np.int32),
        "contact_point": np.array(plain["point"]).reshape(-1, 3),
        "contact_radius": np.array(plain["radius"], float),
        "contact_material": np.array(plain["material"]).reshape(-1, 4),
        "plane_contacts": PlaneContacts(**table) if rows else None,
    }


def touching_geoms(m: mujoco.MjModel, skeleton: Skeleton) -> list[int]:
    """Lists the geoms that touch a plane, or the floor z = 0 if there is no ground."""
    planes = [plane for plane, _ in _planes(m, skeleton)]
    return [
        geom for geom in range(m.ngeom)
        if skeleton.body_link[m.geom_bodyid[geom]] >= 0
        and any(_touches(m, geom, plane) for plane in planes)
    ]  # fmt: skip


def _planes(
    m: mujoco.MjModel, skeleton: Skeleton, terrain: bool = True
) -> list[tuple[int, np.ndarray]]:
    """Lists the world's planes: geom, and unit normal and offset (4,).

    -1 is the floor z = 0, where there is neither a plane nor, if `terrain` counts, a height field.
    """
    found = []
    for geom in np.flatnonzero(m.geom_type == int(_Geom.mjGEOM_PLANE)):
        if not m.geom_contype[geom] and not m.geom_conaffinity[geom]:
            continue
        position, quaternion = geom_frame(m, skeleton, int(geom))
        normal = rotate(quaternion, np.array([0.0, 0.0, 1.0]))
        equation = np.append(normal, normal @ position)
        equation[np.abs(equation) < 1e-12] = 0.0
        found.append((int(geom), equation))
    if found or (terrain and field_geoms(m)):
        return found
    return [(-1, np.array([0.0, 0.0, 1.0, 0.0]))]


def _touches(m: mujoco.MjModel, geom: int, plane: int) -> bool:
    """Says whether filters let a geom touch a plane, or the floor z = 0."""
    if plane < 0:
        return bool(m.geom_contype[geom] != 0)
    return collides(m, geom, plane)


def _explicit(m: mujoco.MjModel, geom: int, plane: int, ignore: Sequence[str]) -> int:
    """Gives the number of the `<contact><pair>` of a geom and a plane; -1 without."""
    if "contact-pairs" in ignore:
        return -1
    return explicit_pairs(m).get((min(geom, plane), max(geom, plane)), -1)


def _require_flat(m: mujoco.MjModel, geom: int, equation: np.ndarray, path: Path) -> None:
    if not np.array_equal(equation, (0.0, 0.0, 1.0, 0.0)):
        raise ValueError(
            f"{path}: geom {element_name(m.geom(geom))} has contact parameters in user data, which "
            f"are for the floor z = 0, but touches the plane with normal {equation[:3].tolist()} "
            f"at {equation[3]:g} m. Remove its user data, or move the plane."
        )


def _rows(
    m: mujoco.MjModel, skeleton: Skeleton, masses: EffectiveMasses, geom: int, plane: int,
    equation: np.ndarray, number: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Gives a geom's rows of `PlaneContacts` with one plane."""
    geoms = [geom] if plane < 0 else [geom, plane]
    mixed = pair_parameters(m, number) if number >= 0 else mix(m, geoms)
    # MuJoCo's margin lets a contact act before it touches: as a thicker geom would.
    offset = equation + np.array([0.0, 0.0, 0.0, mixed.margin])
    return probe_rows(m, skeleton, masses, geom, mixed, plane=offset)
