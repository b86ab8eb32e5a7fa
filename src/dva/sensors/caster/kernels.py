# type: ignore  (Warp reads annotations as types of its own)
# ruff: noqa: UP018  (a variable that a dynamic loop changes is declared so)
"""Kernels of the ray caster. Points are relative to the camera's eye, in world axes."""

import warp as wp

from dva.sensors.caster.intersections import MISS, may_meet, meet, normal_at

__all__ = ["cast", "enclose", "place", "stand"]

_NOTHING, _FLOOR, _WALL = wp.constant(-1), wp.constant(-2), wp.constant(-3)
_NUDGE = wp.constant(1e-4)
"""Height above a surface at which its shadow rays start [m]."""


@wp.kernel(enable_backward=False)
def stand(
    link_position: wp.array3d[wp.vec3], link_rotation: wp.array3d[wp.quat], mount: int,
    mount_offset: wp.vec3, view_eye: wp.vec3, follow: wp.vec3, eye: wp.array[wp.vec3],
):  # fmt: skip
    """Moves the camera's eye with its mount."""
    e = wp.tid()
    position = mount_offset
    if mount >= 0:
        position = link_position[e, 0, mount] + wp.quat_rotate(
            link_rotation[e, 0, mount], mount_offset
        )
    eye[e] = view_eye + wp.cw_mul(follow, position)


@wp.kernel(enable_backward=False)
def place(
    link_position: wp.array3d[wp.vec3], link_rotation: wp.array3d[wp.quat], link: wp.array[int],
    local_position: wp.array[wp.vec3], local_rotation: wp.array[wp.quat], eye: wp.array[wp.vec3],
    center: wp.array2d[wp.vec3], rotation: wp.array2d[wp.mat33],
):  # fmt: skip
    """Moves every shape with its link, relative to the eye."""
    e, g = wp.tid()
    position = local_position[g]
    turn = local_rotation[g]
    if link[g] >= 0:
        outer = link_rotation[e, 0, link[g]]
        position = link_position[e, 0, link[g]] + wp.quat_rotate(outer, position)
        turn = outer * turn
    center[e, g] = position - eye[e]
    rotation[e, g] = wp.quat_to_matrix(turn)


@wp.kernel(enable_backward=False)
def enclose(
    num_shapes: int, center: wp.array2d[wp.vec3], reach: wp.array[float], hull: wp.array[wp.vec4]
):
    """Computes the centre and radius of a sphere around all shapes of an environment."""
    e = wp.tid()
    middle = wp.vec3()
    for g in range(num_shapes):
        middle += center[e, g] / float(num_shapes)
    radius = float(0.0)
    for g in range(num_shapes):
        radius = wp.max(radius, wp.length(center[e, g] - middle) + reach[g])
    hull[e] = wp.vec4(middle[0], middle[1], middle[2], radius)


@wp.func
def shadowed(
    e: int, point: wp.vec3, to_light: wp.vec3, num_shapes: int, kind: wp.array[int],
    size: wp.array[wp.vec3], reach: wp.array[float], center: wp.array2d[wp.vec3],
    rotation: wp.array2d[wp.mat33], hull: wp.vec4,
) -> bool:  # fmt: skip
    """Tells whether a shape stands between a point and the light."""
    dark = bool(False)
    if may_meet(wp.vec3(hull[0], hull[1], hull[2]) - point, hull[3], to_light):
        for g in range(num_shapes):
            if not dark:
                from_point = center[e, g] - point
                if may_meet(from_point, reach[g], to_light):
                    if meet(kind[g], from_point, rotation[e, g], size[g], to_light) < MISS:
                        dark = True
    return dark


@wp.func
def stripe(position: float, checker: float, soft: float) -> float:
    """Tells in which of two alternating stripes a point lies: 1 or 0.

    As in a filtered, repeated texture, every second edge is a ramp `soft` checks wide.
    """
    phase = 0.5 * position / checker + 0.5
    phase = 2.0 * (phase - wp.floor(phase))  # in checks, 0 to 2
    return wp.clamp(0.5 + (1.0 - phase) / soft, 0.0, 1.0)


@wp.func
def first_hit(
    e: int, ray: wp.vec3, end: float, eye: wp.vec3, hull: wp.vec4, floor_height: float,
    wall_y: float, num_shapes: int, kind: wp.array[int], size: wp.array[wp.vec3],
    reach: wp.array[float], center: wp.array2d[wp.vec3], rotation: wp.array2d[wp.mat33],
):  # fmt: skip
    """Returns what a ray hits first (a shape, or a constant above) and the distance along it."""
    hit = int(_NOTHING)
    distance = float(end)
    if ray[2] < 0.0 and eye[2] > floor_height:
        t = (floor_height - eye[2]) / ray[2]
        if t < distance:
            distance = t
            hit = _FLOOR
    if ray[1] > 0.0 and eye[1] < wall_y:
        t = (wall_y - eye[1]) / ray[1]
        if t < distance:
            distance = t
            hit = _WALL
    if may_meet(wp.vec3(hull[0], hull[1], hull[2]), hull[3], ray):
        for g in range(num_shapes):
            if may_meet(center[e, g], reach[g], ray):
                t = meet(kind[g], center[e, g], rotation[e, g], size[g], ray)
                if t < distance:
                    distance = t
                    hit = g
    return hit, distance


@wp.func
def light_checks_share(point: wp.vec3, eye: wp.vec3, checker: float, soft: float) -> float:
    """Returns how much of a point of the floor lies in light checks, 0 to 1."""
    # Moved by whole periods, so that float32 keeps its accuracy far from the origin.
    period = 2.0 * checker
    x = eye[0] - period * wp.floor(eye[0] / period + 0.5) + point[0]
    y = eye[1] - period * wp.floor(eye[1] / period + 0.5) + point[1]
    a = stripe(x, checker, soft)
    b = stripe(y, checker, soft)
    return a * (1.0 - b) + b * (1.0 - a)


@wp.func
def brightness_at(
    e: int, point: wp.vec3, normal: wp.vec3, eye: wp.vec3, hull: wp.vec4, wall_y: float,
    to_light: wp.vec3, light: float, ambient: float, shadow: float, num_shapes: int,
    kind: wp.array[int], size: wp.array[wp.vec3], reach: wp.array[float],
    center: wp.array2d[wp.vec3], rotation: wp.array2d[wp.mat33],
) -> float:  # fmt: skip
    """Returns the light on a point of a surface, shadows included."""
    facing = wp.dot(normal, to_light)
    direct = float(0.0)
    if facing > 0.0:
        direct = light * facing
        if shadow > 0.0:
            start = point + _NUDGE * normal
            dark = to_light[1] > 0.0 and eye[1] + start[1] < wall_y
            if not dark:
                dark = shadowed(
                    e, start, to_light, num_shapes, kind, size, reach, center, rotation, hull
                )
            if dark:
                direct = direct * (1.0 - shadow)
    return ambient + direct


@wp.func
def byte(value: float) -> wp.uint8:
    return wp.uint8(255.0 * wp.clamp(value, 0.0, 1.0))


@wp.kernel(enable_backward=False)
def cast(
    num_shapes: int, kind: wp.array[int], body: wp.array[int], size: wp.array[wp.vec3],
    reach: wp.array[float], color: wp.array[wp.vec3], rays: wp.array2d[wp.vec3],
    cosines: wp.array2d[float], samples: int, floor_height: float, wall_y: float, checker: float,
    soft: float, light_checks: wp.vec3, dark_checks: wp.vec3, wall_color: wp.vec3,
    sky_color: wp.vec3, to_light: wp.vec3, light: float, ambient: float, shadow: float, far: float,
    eye: wp.array[wp.vec3], center: wp.array2d[wp.vec3], rotation: wp.array2d[wp.mat33],
    hull: wp.array[wp.vec4], rgb: wp.array3d[wp.uint8], depth: wp.array2d[float],
    segmentation: wp.array2d[int],
):  # fmt: skip
    """Draws one pixel; an output that nobody asked for is a null array."""
    e, pixel = wp.tid()
    stand_at = eye[e]
    around = hull[e]
    total = wp.vec3()
    for s in range(samples):
        ray = rays[s, pixel]
        hit, distance = first_hit(
            e, ray, far / cosines[s, pixel], stand_at, around, floor_height, wall_y, num_shapes,
            kind, size, reach, center, rotation,
        )  # fmt: skip
        if s == 0:
            if depth:
                depth[e, pixel] = wp.where(hit == _NOTHING, far, distance * cosines[s, pixel])
            if segmentation:
                segmentation[e, pixel] = wp.where(
                    hit >= 0, body[wp.max(hit, 0)], wp.where(hit == _NOTHING, -1, 0)
                )
        if rgb:
            point = ray * distance
            base = sky_color
            normal = wp.vec3(0.0, 0.0, 1.0)
            if hit == _FLOOR:
                share = light_checks_share(point, stand_at, checker, soft)
                base = share * light_checks + (1.0 - share) * dark_checks
            elif hit == _WALL:
                base = wall_color
                normal = wp.vec3(0.0, -1.0, 0.0)
            elif hit >= 0:
                base = color[hit]
                normal = normal_at(kind[hit], point - center[e, hit], rotation[e, hit], size[hit])
            brightness = float(1.0)
            if hit != _NOTHING:
                brightness = brightness_at(
                    e, point, normal, stand_at, around, wall_y, to_light, light, ambient, shadow,
                    num_shapes, kind, size, reach, center, rotation,
                )  # fmt: skip
            shaded = brightness * base
            total += wp.vec3(
                wp.clamp(shaded[0], 0.0, 1.0),
                wp.clamp(shaded[1], 0.0, 1.0),
                wp.clamp(shaded[2], 0.0, 1.0),
            )
    if rgb:
        share = 1.0 / float(samples)
        rgb[e, 0, pixel] = byte(total[0] * share)
        rgb[e, 1, pixel] = byte(total[1] * share)
        rgb[e, 2, pixel] = byte(total[2] * share)
