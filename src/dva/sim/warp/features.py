"""Which kernels beyond the plain ones a robot needs, and their arguments."""

from typing import Any

import numpy as np
import warp as wp

from dva.sim.features import (
    SLABS,
    BodyContacts,
    Fluid,
    HeightFields,
    PlaneContacts,
    TerrainContacts,
    Transmissions,
)
from dva.sim.model import Model

__all__ = ["copy_arrays", "feature_arguments", "feature_kernel_names"]

Arrays = dict[str, tuple[np.ndarray, Any]]
"""By name, values and the type of their elements."""


def feature_kernel_names(model: Model) -> frozenset[str]:
    """Names the kernels that this robot needs beyond those of every robot."""
    driven = model.joint_forces is not None or model.transmissions is not None
    wanted = {
        "compensate": model.gravity_compensation is not None,
        "immerse": model.fluid is not None,
        "brake": model.free_damping is not None,
        "touch": model.plane_contacts is not None,
        "tread_terrain": model.terrain_contacts is not None,
        "collide": model.body_contacts is not None,
        "transmit": model.transmissions is not None,
        "resist": driven,
        "confine": model.ball_limits is not None,
        "couple": model.couplings is not None,
    }
    return frozenset(name for name, needed in wanted.items() if needed)


def feature_arguments(model: Model, real: Any, device: Any) -> dict[str, Any]:
    """Copies a model's features to the device, as the kernels' arguments by name."""
    vec2, vec3 = wp.types.vector(2, real), wp.types.vector(3, real)
    arrays: Arrays = {}
    sizes: dict[str, int] = {}
    if model.gravity_compensation is not None:
        held = model.gravity_compensation
        arrays |= {"held_mass": (held.mass, real), "held_center": (held.center, vec3)}
    if model.plane_contacts is not None:
        arrays |= _contacts(model.plane_contacts, model.num_links, real)
    if model.terrain_contacts is not None and model.height_fields is not None:
        arrays |= _terrain(model.terrain_contacts, model.height_fields, model.num_links, real)
    if model.body_contacts is not None:
        arrays |= _body_contacts(model.body_contacts, real)
    if model.fluid is not None:
        arrays |= _fluid(model.fluid, model.num_links, real)
    if model.free_damping is not None:
        arrays["free_damping"] = (model.free_damping, real)
    if model.transmissions is not None:
        arrays |= _transmissions(model.transmissions, real)
        sizes["num_rows"] = len(model.transmissions)
    if "resist" in feature_kernel_names(model):
        arrays |= _joints(model, real)
    if model.ball_limits is not None:
        cones = model.ball_limits
        sizes["num_cones"] = len(cones)
        arrays |= {
            "cone_link": (cones.link, int),
            "cone_angle": (cones.angle, real),
            "cone_law": (cones.law, vec3),
        }
    if model.couplings is not None:
        table = model.couplings
        sizes["num_couplings"] = len(table)
        arrays |= {
            "first_dof_of": (table.dof[:, 0], int),
            "second_dof_of": (table.dof[:, 1], int),
            "reference": (table.reference, vec2),
            "polynomial": (table.polynomial, real),
            "coupling_law": (table.law, vec2),
        }
    return copy_arrays(arrays, device) | sizes


def _contacts(table: PlaneContacts, num_links: int, real: Any) -> Arrays:
    vec3, vec4 = wp.types.vector(3, real), wp.types.vector(4, real)
    order = np.argsort(table.link, kind="stable")
    first = np.searchsorted(table.link[order], np.arange(num_links + 1))
    return {
        "first_touch": (first, int),
        "touch_point": (table.point[order], vec3),
        "touch_rotation": (table.rotation[order], wp.types.quaternion(real)),
        "touch_axes": (table.axes[order], vec3),
        "touch_plane": (table.plane[order], vec4),
        "touch_material": (table.material[order], vec4),
        "touch_ramp": (table.ramp[order], real),
        "touch_spin": (table.spin[order], vec4),
    }


def _terrain(table: TerrainContacts, fields: HeightFields, num_links: int, real: Any) -> Arrays:
    vec2, vec3, vec4 = (wp.types.vector(length, real) for length in (2, 3, 4))
    quat = wp.types.quaternion(real)
    order = np.argsort(table.link, kind="stable")
    return {
        "first_tread": (np.searchsorted(table.link[order], np.arange(num_links + 1)), int),
        "tread_point": (table.point[order], vec3),
        "tread_rotation": (table.rotation[order], quat),
        "tread_axes": (table.axes[order], vec3),
        "tread_field": (table.field[order], int),
        "tread_margin": (table.margin[order], real),
        "tread_material": (table.material[order], vec4),
        "tread_ramp": (table.ramp[order], real),
        "tread_spin": (table.spin[order], vec4),
        "field_place": (fields.place, vec3),
        "field_turn": (fields.turn, quat),
        "field_half": (fields.half, vec2),
        "field_base": (fields.base, real),
        "field_rows": (fields.shape[:, 0], int),
        "field_columns": (fields.shape[:, 1], int),
        "field_first": (fields.first, int),
        "field_heights": (fields.heights, real),
    }


def _body_contacts(table: BodyContacts, real: Any) -> Arrays:
    vec3, vec4, quat = wp.types.vector(3, real), wp.types.vector(4, real), wp.types.quaternion(real)
    return {
        "slab": (SLABS, vec3),
        "probe_link": (table.link, int),
        "probe_point": (table.point, vec3),
        "probe_rotation": (table.rotation, quat),
        "probe_axes": (table.axes, vec3),
        "probe_span": (table.span, vec3),
        "solid_link": (table.solid_link, int),
        "solid_place": (table.place, vec3),
        "solid_turn": (table.turn, quat),
        "solid_shape": (table.shape, int),
        "solid_size": (table.size, vec3),
        "solid_slab": (table.slab, real),
        "body_material": (table.material, vec4),
        "body_ramp": (table.ramp, real),
        "body_spin": (table.spin, vec4),
        "body_margin": (table.margin, real),
        "body_reach": (table.reach, real),
    }


def _fluid(table: Fluid, num_links: int, real: Any) -> Arrays:
    vec3 = wp.types.vector(3, real)
    order = np.argsort(table.link, kind="stable")
    return {
        "first_body": (np.searchsorted(table.link[order], np.arange(num_links + 1)), int),
        "fluid_point": (table.point[order], vec3),
        "fluid_turn": (table.turn[order], wp.types.quaternion(real)),
        "fluid_box": (table.box[order], vec3),
        "fluid": (np.append(table.medium, 0.0)[None], vec3),
        "wind": (table.wind[None], vec3),
    }


def _transmissions(table: Transmissions, real: Any) -> Arrays:
    vec2, vec3 = wp.types.vector(2, real), wp.types.vector(3, real)
    row, dof = np.nonzero(table.coefficients)
    return {
        "first_entry": (np.searchsorted(row, np.arange(len(table) + 1)), int),
        "entry_dof": (dof, int),
        "entry_coefficient": (table.coefficients[row, dof], real),
        "row_action": (table.action, int),
        "row_control": (table.control, vec2),
        "row_gain": (table.gain, vec3),
        "row_bias": (table.bias, vec3),
        "row_force": (table.force_range, vec2),
        "row_stiffness": (table.stiffness, real),
        "row_rest": (table.rest, vec2),
        "row_damping": (table.damping, real),
        "row_limit": (table.limit, vec2),
        "row_limit_law": (table.limit_law, vec3),
        "row_friction": (table.friction, vec2),
        "row_period": (table.period, real),
    }


def _joints(model: Model, real: Any) -> Arrays:
    vec2, vec3 = wp.types.vector(2, real), wp.types.vector(3, real)
    table, count = model.joint_forces, model.num_dofs
    if table is None:
        laws, friction = np.tile([0.0, 0.0, 1.0], (count, 1)), np.tile([0.0, 1.0], (count, 1))
        ranges = np.tile([-np.inf, np.inf], (count, 1))
    else:
        laws, friction, ranges = table.limit_law, table.friction, table.actuator_range
    return {
        "stop_law": (laws, vec3),
        "joint_friction": (friction, vec2),
        "drive_range": (ranges, vec2),
    }


def copy_arrays(values: Arrays, device: Any) -> dict[str, Any]:
    """Copies arrays to the device, by name."""
    return {
        name: wp.array(np.ascontiguousarray(array), dtype=dtype, device=device)
        for name, (array, dtype) in values.items()
    }
