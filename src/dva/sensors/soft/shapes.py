# type: ignore  (Warp reads annotations as types of its own)
# ruff: noqa: UP018  (a variable that a dynamic loop changes is declared so)
"""Shapes as distance fields: how near a ray passes, where it enters, and how the surface bends.

Every shape is a core and a radius around it: a sphere is a point, a capsule a segment, boxes and
cylinders are smaller boxes and cylinders, rounded. So the distance to a shape is smooth outside its
core, and its normal and curvature are those of the distance field. Points are in world axes.
"""

import warp as wp

from dva.sensors.caster.intersections import BOX, CYLINDER, MISS, meet_capsule

__all__ = ["Passage", "bend", "distance_and_normal", "pass_by", "smooth_step", "smooth_step_slope"]

_BISECTIONS = wp.constant(24)


@wp.struct
class Passage:
    """Describes how a ray passes a shape."""

    closest: float
    """Distance along the ray of the point nearest to the shape, deepest in it if the ray enters."""
    clearance: float
    """Distance of that point to the surface; negative inside [m]."""
    depth: float
    """Distance along the ray at which it is shaded: where it enters the surface, pushed out by
    `level`."""
    level: float
    """Height of the shaded point above the surface [m]."""
    level_slope: float
    """Derivative of the level with respect to the clearance."""


@wp.func
def smooth_step(x: float) -> float:
    """Rises from 0 at x = -1 to 1 at x = 1 with zero slope at both ends."""
    u = wp.clamp(0.5 + 0.5 * x, 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


@wp.func
def smooth_step_slope(x: float) -> float:
    u = wp.clamp(0.5 + 0.5 * x, 0.0, 1.0)
    return 3.0 * u * (1.0 - u)


@wp.func
def excess(kind: int, local: wp.vec3, core: wp.vec3) -> wp.vec3:
    """Returns how far a point lies beyond the core along each of its directions.

    The directions are x, y, z; for cylinders outward, none, z.
    """
    beyond = wp.vec3(
        wp.abs(local[0]) - core[0], wp.abs(local[1]) - core[1], wp.abs(local[2]) - core[2]
    )
    if kind == CYLINDER:
        radial = wp.sqrt(local[0] * local[0] + local[1] * local[1])
        beyond = wp.vec3(radial - core[0], -MISS, wp.abs(local[2]) - core[2])
    return beyond


@wp.func
def spread(kind: int, local: wp.vec3, direction: wp.vec3) -> wp.vec3:
    """Turns components along the directions of `excess` into a vector in the shape's axes."""
    result = wp.vec3(
        wp.sign(local[0]) * direction[0],
        wp.sign(local[1]) * direction[1],
        wp.sign(local[2]) * direction[2],
    )
    if kind == CYLINDER:
        radial = wp.max(wp.sqrt(local[0] * local[0] + local[1] * local[1]), 1e-9)
        result = wp.vec3(
            local[0] / radial * direction[0],
            local[1] / radial * direction[0],
            wp.sign(local[2]) * direction[2],
        )
    return result


@wp.func
def distance_and_normal(kind: int, offset: wp.vec3, rotation: wp.mat33, core: wp.vec3) -> wp.vec4:
    """Returns the distance field of a shape's core at a point: its gradient, then its value.

    Args:
        kind: MuJoCo's number of the geom type.
        offset: the point relative to the shape's centre [m].
        rotation, core: of the shape; the core's half lengths, for cylinders (radius, -, half).
    """
    local = wp.transpose(rotation) @ offset
    beyond = excess(kind, local, core)
    outside = wp.vec3(wp.max(beyond[0], 0.0), wp.max(beyond[1], 0.0), wp.max(beyond[2], 0.0))
    distance = wp.length(outside)
    direction = outside
    if distance > 0.0:
        direction = outside / distance
    else:
        distance = wp.max(beyond[0], wp.max(beyond[1], beyond[2]))
        direction = wp.vec3(0.0, 0.0, 1.0)
        if beyond[0] >= distance:
            direction = wp.vec3(1.0, 0.0, 0.0)
        elif beyond[1] >= distance:
            direction = wp.vec3(0.0, 1.0, 0.0)
    normal = rotation @ spread(kind, local, direction)
    return wp.vec4(normal[0], normal[1], normal[2], distance)


@wp.func
def bend(kind: int, offset: wp.vec3, rotation: wp.mat33, core: wp.vec3, vector: wp.vec3) -> wp.vec3:
    """Multiplies a vector by the distance field's second derivative at a point outside the core."""
    local = wp.transpose(rotation) @ offset
    along = wp.transpose(rotation) @ vector
    beyond = excess(kind, local, core)
    outside = wp.vec3(wp.max(beyond[0], 0.0), wp.max(beyond[1], 0.0), wp.max(beyond[2], 0.0))
    distance = wp.max(wp.length(outside), 1e-9)
    normal = outside / distance
    parts = wp.vec3(
        wp.sign(local[0]) * along[0], wp.sign(local[1]) * along[1], wp.sign(local[2]) * along[2]
    )
    around = wp.vec3()
    if kind == CYLINDER:
        radial = wp.max(wp.sqrt(local[0] * local[0] + local[1] * local[1]), 1e-9)
        outward = wp.vec3(local[0] / radial, local[1] / radial, 0.0)
        tangent = wp.vec3(-outward[1], outward[0], 0.0)
        parts = wp.vec3(wp.dot(outward, along), 0.0, wp.sign(local[2]) * along[2])
        around = normal[0] / radial * wp.dot(tangent, along) * tangent
    active = wp.vec3(
        wp.where(outside[0] > 0.0, parts[0], 0.0),
        wp.where(outside[1] > 0.0, parts[1], 0.0),
        wp.where(outside[2] > 0.0, parts[2], 0.0),
    )
    change = (active - wp.dot(normal, active) * normal) / distance
    return rotation @ (spread(kind, local, change) + around)


@wp.func
def core_distance(kind: int, local: wp.vec3, core: wp.vec3) -> float:
    """Returns the distance of a point to a core, both in the shape's axes; negative inside."""
    beyond = excess(kind, local, core)
    outside = wp.vec3(wp.max(beyond[0], 0.0), wp.max(beyond[1], 0.0), wp.max(beyond[2], 0.0))
    inside = wp.min(wp.max(beyond[0], wp.max(beyond[1], beyond[2])), 0.0)
    return wp.length(outside) + inside


@wp.func
def recedes(kind: int, local: wp.vec3, core: wp.vec3, direction: wp.vec3) -> bool:
    """Tells whether the distance to a core grows along a direction, in the shape's axes."""
    beyond = excess(kind, local, core)
    outside = wp.vec3(wp.max(beyond[0], 0.0), wp.max(beyond[1], 0.0), wp.max(beyond[2], 0.0))
    if outside[0] + outside[1] + outside[2] == 0.0:
        if beyond[0] >= beyond[1] and beyond[0] >= beyond[2]:
            outside = wp.vec3(1.0, 0.0, 0.0)
        elif beyond[1] >= beyond[2]:
            outside = wp.vec3(0.0, 1.0, 0.0)
        else:
            outside = wp.vec3(0.0, 0.0, 1.0)
    return wp.dot(spread(kind, local, outside), direction) > 0.0


@wp.func
def nearest_on_ray(
    kind: int, center: wp.vec3, rotation: wp.mat33, core: wp.vec3, reach: float, direction: wp.vec3
) -> float:
    """Returns the distance along a ray, not below 0, of its point nearest to a core."""
    along = wp.dot(center, direction)
    result = float(along)
    if kind == BOX or kind == CYLINDER:
        # The distance along the ray is convex: bisect on the sign of its slope.
        start = wp.transpose(rotation) @ -center
        step = wp.transpose(rotation) @ direction
        low = along - reach
        high = along + reach
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            if recedes(kind, start + middle * step, core, step):
                high = middle
            else:
                low = middle
        result = 0.5 * (low + high)
    elif core[2] > 0.0:
        axis = wp.vec3(rotation[0, 2], rotation[1, 2], rotation[2, 2])
        slope = wp.dot(axis, direction)
        across = axis - slope * direction
        square = wp.dot(across, across)
        s = -wp.sign(slope) * core[2]
        if square > 1e-9:
            s = wp.clamp(-wp.dot(center, across) / square, -core[2], core[2])
        result = along + s * slope
    return wp.max(result, 0.0)


@wp.func
def pass_by(
    kind: int, center: wp.vec3, rotation: wp.mat33, core: wp.vec3, radius: float, reach: float,
    direction: wp.vec3, band: float,
) -> Passage:  # fmt: skip
    """Follows a ray past a shape.

    Where the ray enters has an infinite slope at the silhouette. So the shaded point lies on a
    surface pushed out by a level that lets the ray in: band (x + 1)^2 / 4 with x = clearance / band
    between -1 and 1, and 0 below. Beyond 1 the ray does not see the shape.

    Args:
        kind, center, rotation, core, radius: the shape; centre relative to the ray's origin [m].
        reach: radius of a sphere around the centre that holds the shape [m].
        direction: of the ray, unit.
        band: half width of soft edges [m].
    """
    result = Passage()
    result.closest = nearest_on_ray(kind, center, rotation, core, reach, direction)
    field = distance_and_normal(kind, result.closest * direction - center, rotation, core)
    m = field[3] - radius
    x = wp.max(m / band + 1.0, 0.0)
    result.clearance = m
    result.level = 0.25 * band * x * x
    result.level_slope = 0.5 * x
    height = radius + result.level
    result.depth = result.closest
    if kind == BOX or kind == CYLINDER:
        start = wp.transpose(rotation) @ -center
        step = wp.transpose(rotation) @ direction
        low = result.closest - 2.0 * (reach + height)
        high = result.closest
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            if core_distance(kind, start + middle * step, core) > height:
                low = middle
            else:
                high = middle
        result.depth = 0.5 * (low + high)
    else:
        axis = wp.vec3(rotation[0, 2], rotation[1, 2], rotation[2, 2])
        entry = meet_capsule(center, axis, height, core[2], direction)
        if entry < MISS:
            result.depth = wp.min(entry, result.closest)
    return result
