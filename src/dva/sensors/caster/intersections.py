# type: ignore  (Warp reads annotations as types of its own)
"""Intersections of rays with spheres, capsules, cylinders and boxes, and the normals there.

All vectors are in world axes; a shape is given by its centre relative to the ray's origin, its
rotation (columns are its axes) and its size, as in MuJoCo: radius; radius and half length along z;
half lengths. Directions are unit vectors. A ray that starts inside a shape does not meet it.
"""

import mujoco
import warp as wp

__all__ = ["BOX", "CAPSULE", "CYLINDER", "MISS", "SPHERE", "may_meet", "meet", "normal_at"]

SPHERE = wp.constant(int(mujoco.mjtGeom.mjGEOM_SPHERE))
CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))
CYLINDER = wp.constant(int(mujoco.mjtGeom.mjGEOM_CYLINDER))
BOX = wp.constant(int(mujoco.mjtGeom.mjGEOM_BOX))

MISS = wp.constant(1e9)
"""The distance that stands for no intersection [m]."""


@wp.func
def may_meet(center: wp.vec3, radius: float, direction: wp.vec3) -> bool:
    """Tells whether a ray meets a bounding sphere: a cheap test, made before that of the shape."""
    along = wp.dot(center, direction)
    across = center - along * direction
    return wp.dot(across, across) < radius * radius and along > -radius


@wp.func
def meet_sphere(center: wp.vec3, radius: float, direction: wp.vec3) -> float:
    along = wp.dot(center, direction)
    across = center - along * direction  # not |center|^2 - along^2, where float32 would cancel
    depth = radius * radius - wp.dot(across, across)
    distance = float(MISS)
    if depth >= 0.0:
        t = along - wp.sqrt(depth)
        if t > 0.0:
            distance = t
    return distance


@wp.func
def meet_tube(center: wp.vec3, axis: wp.vec3, radius: float, direction: wp.vec3) -> wp.vec2:
    """Finds where a ray enters an infinite cylinder.

    Returns the distance, `MISS` if there is no intersection, and the height along the axis; a ray
    along the axis enters at the end that it comes from, infinitely far away.
    """
    slope = wp.dot(direction, axis)
    start = -wp.dot(center, axis)
    d = direction - slope * axis
    a = wp.dot(d, d)
    result = wp.vec2(MISS, 0.0)
    if a < 1e-12:
        apart = center + start * axis
        if wp.dot(apart, apart) < radius * radius:
            result = wp.vec2(-MISS, wp.where(slope > 0.0, -MISS, MISS))
    else:
        o = -center - start * axis
        closest = -wp.dot(o, d) / a
        across = o + closest * d
        depth = radius * radius - wp.dot(across, across)
        if depth >= 0.0:
            t = closest - wp.sqrt(depth / a)
            result = wp.vec2(t, start + t * slope)
    return result


@wp.func
def meet_capsule(
    center: wp.vec3, axis: wp.vec3, radius: float, half: float, direction: wp.vec3
) -> float:
    entry = meet_tube(center, axis, radius, direction)
    distance = float(MISS)
    if entry[0] < MISS:
        if wp.abs(entry[1]) <= half:
            if entry[0] > 0.0:
                distance = entry[0]
        else:
            end = wp.where(entry[1] > 0.0, half, -half)
            distance = meet_sphere(center + end * axis, radius, direction)
    return distance


@wp.func
def meet_cylinder(
    center: wp.vec3, axis: wp.vec3, radius: float, half: float, direction: wp.vec3
) -> float:
    entry = meet_tube(center, axis, radius, direction)
    distance = float(MISS)
    if entry[0] < MISS:
        if wp.abs(entry[1]) <= half:
            if entry[0] > 0.0:
                distance = entry[0]
        else:
            end = center + wp.where(entry[1] > 0.0, half, -half) * axis
            slope = wp.dot(direction, axis)
            if slope * entry[1] < 0.0:
                t = wp.dot(end, axis) / slope
                across = t * direction - end
                if t > 0.0 and wp.dot(across, across) <= radius * radius:
                    distance = t
    return distance


@wp.func
def meet_box(center: wp.vec3, rotation: wp.mat33, half: wp.vec3, direction: wp.vec3) -> float:
    o = wp.transpose(rotation) @ center
    d = wp.transpose(rotation) @ direction
    enter = float(-MISS)
    leave = float(MISS)
    for i in range(3):
        if wp.abs(d[i]) > 1e-9:
            reach = half[i] / wp.abs(d[i])
            middle = o[i] / d[i]
            enter = wp.max(enter, middle - reach)
            leave = wp.min(leave, middle + reach)
        elif wp.abs(o[i]) > half[i]:
            leave = -MISS
    return wp.where(enter <= leave and enter > 0.0, enter, MISS)


@wp.func
def meet(
    kind: int, center: wp.vec3, rotation: wp.mat33, size: wp.vec3, direction: wp.vec3
) -> float:
    """Returns the distance at which a ray meets a shape, or `MISS`."""
    distance = float(MISS)
    if kind == CAPSULE:
        axis = wp.vec3(rotation[0, 2], rotation[1, 2], rotation[2, 2])
        distance = meet_capsule(center, axis, size[0], size[1], direction)
    elif kind == SPHERE:
        distance = meet_sphere(center, size[0], direction)
    elif kind == BOX:
        distance = meet_box(center, rotation, size, direction)
    else:
        axis = wp.vec3(rotation[0, 2], rotation[1, 2], rotation[2, 2])
        distance = meet_cylinder(center, axis, size[0], size[1], direction)
    return distance


@wp.func
def normal_at(kind: int, offset: wp.vec3, rotation: wp.mat33, size: wp.vec3) -> wp.vec3:
    """Returns the outward unit normal of a shape at a point of its surface.

    Args:
        kind: MuJoCo's number of the geom type.
        offset: the point relative to the shape's centre [m].
        rotation, size: of the shape.
    """
    axis = wp.vec3(rotation[0, 2], rotation[1, 2], rotation[2, 2])
    normal = offset
    if kind == CAPSULE:
        normal = offset - wp.clamp(wp.dot(offset, axis), -size[1], size[1]) * axis
    elif kind == CYLINDER:
        height = wp.dot(offset, axis)
        across = offset - height * axis
        if wp.abs(wp.abs(height) - size[1]) < wp.abs(wp.length(across) - size[0]):
            normal = wp.where(height > 0.0, axis, -axis)
        else:
            normal = across
    elif kind == BOX:
        local = wp.transpose(rotation) @ offset
        x = wp.abs(wp.abs(local[0]) - size[0])
        y = wp.abs(wp.abs(local[1]) - size[1])
        z = wp.abs(wp.abs(local[2]) - size[2])
        face = wp.vec3(0.0, 0.0, wp.sign(local[2]))
        if x <= y and x <= z:
            face = wp.vec3(wp.sign(local[0]), 0.0, 0.0)
        elif y <= z:
            face = wp.vec3(0.0, wp.sign(local[1]), 0.0)
        normal = rotation @ face
    return wp.normalize(normal)
