"""Height fields, and contacts of a robot's geoms with them."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from dva.sim.features import HeightFields, TerrainContacts
from dva.sim.mjcf.contact_parameters import EffectiveMasses, mix, pair_parameters, probe_rows
from dva.sim.mjcf.pairs import collides, explicit_pairs
from dva.sim.mjcf.shapes import geom_frame
from dva.sim.mjcf.skeleton import element_name
from dva.sim.model import Skeleton

__all__ = ["field_geoms", "read_terrain", "treading_geoms"]


def field_geoms(m: mujoco.MjModel) -> list[int]:
    """Lists the geoms that are height fields and touch anything."""
    fields = np.flatnonzero(m.geom_type == int(mujoco.mjtGeom.mjGEOM_HFIELD))
    return [int(geom) for geom in fields if m.geom_contype[geom] or m.geom_conaffinity[geom]]


def treading_geoms(m: mujoco.MjModel, skeleton: Skeleton) -> list[int]:
    """Lists the moving geoms that filters let touch a height field."""
    return [
        geom for geom in range(m.ngeom)
        if skeleton.body_link[m.geom_bodyid[geom]] >= 0
        and any(collides(m, geom, field) for field in field_geoms(m))
    ]  # fmt: skip


def read_terrain(m: mujoco.MjModel, skeleton: Skeleton, ignore: Sequence[str]) -> dict[str, Any]:
    """Collects height fields and what touches them, by MuJoCo's contact parameters.

    Raises:
        ValueError: a geom's shape has no contact with the ground, or its `user` data gives it a law
            for the flat floor.
    """
    fields = [] if "terrain" in ignore else field_geoms(m)
    if not fields:
        return {"height_fields": None, "terrain_contacts": None}
    masses = EffectiveMasses(m, skeleton)
    pairs = {} if "contact-pairs" in ignore else explicit_pairs(m)
    rows: list[dict[str, Any]] = []
    for geom in range(m.ngeom):
        if skeleton.body_link[m.geom_bodyid[geom]] < 0:
            continue
        for number, field in enumerate(fields):
            pair = pairs.get((min(geom, field), max(geom, field)), -1)
            if pair >= 0 or collides(m, geom, field):
                _refuse_own_law(m, skeleton, geom, field)
                mixed = pair_parameters(m, pair) if pair >= 0 else mix(m, [geom, field])
                ground = {"field": number, "margin": mixed.margin}
                rows += probe_rows(m, skeleton, masses, geom, mixed, **ground)
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}
    return {
        "height_fields": _fields(m, skeleton, fields),
        "terrain_contacts": TerrainContacts(**table) if rows else None,
    }


def _refuse_own_law(m: mujoco.MjModel, skeleton: Skeleton, geom: int, field: int) -> None:
    if m.nuser_geom >= 4 and m.geom_user[geom][:4].any():
        raise ValueError(
            f"{skeleton.path}: geom {element_name(m.geom(geom))} has contact parameters in user "
            f"data, which are for the floor z = 0, but touches the height field "
            f'{element_name(m.geom(field))}. Remove its user data, or ignore "terrain".'
        )


def _fields(m: mujoco.MjModel, skeleton: Skeleton, geoms: Sequence[int]) -> HeightFields:
    rows, heights, first = [], [], 0
    for geom in geoms:
        number = int(m.geom_dataid[geom])
        shape = np.array([m.hfield_nrow[number], m.hfield_ncol[number]])
        start, count = int(m.hfield_adr[number]), int(shape.prod())
        width, depth, top, base = m.hfield_size[number]
        position, quaternion = geom_frame(m, skeleton, geom)
        rows.append((
            position, np.roll(quaternion, -1), np.array([width, depth]), base, shape, first,
        ))  # fmt: skip
        heights.append(top * m.hfield_data[start : start + count].astype(float))
        first += count
    columns = (np.array(column) for column in zip(*rows, strict=True))
    return HeightFields(*columns, heights=np.concatenate(heights))
