# type: ignore  (Warp reads annotations as types of its own)
# ruff: noqa: UP018  (a variable that a dynamic loop changes is declared so)
"""What a ray of the differentiable camera meets, how much of it is visible, and its colour.

A ray meets layers: floor, wall, and the shapes that it enters or passes within the soft edge. A
layer has a cover a in [0, 1], a depth t and a colour. Its cover hides the layers behind it, the
more so the farther behind they are: with the smooth step S and the soft edge's half width b,

    w_k = a_k prod_{j != k} (1 - a_j S((t_k - t_j) / b)),    a_k = S(-clearance_k / b_k),

with b_k the smaller of b and the shape's radius, so that the cover is 1 in the core. The pixel is
the mean of the colours weighted by w; the sky's weight is prod_k (1 - a_k).

Points are relative to the camera's eye, in world axes.
"""

import warp as wp

from dva.sensors.caster.intersections import may_meet
from dva.sensors.soft.shapes import (
    distance_and_normal,
    nearest_on_ray,
    pass_by,
    smooth_step,
    smooth_step_slope,
)

__all__ = [
    "FLOOR",
    "WALL",
    "Floats",
    "Layers",
    "Shapes",
    "Surroundings",
    "base_color",
    "clamped",
    "gather",
    "hull_of",
    "in_checks",
    "shade",
    "shadow_ray",
    "stripe",
    "stripe_slope",
    "weigh",
]

MOST = 16
"""The largest number of layers of one pixel; whatever else a ray meets is left out."""
_MOST = wp.constant(MOST)
FLOOR, WALL = wp.constant(-2), wp.constant(-3)
_NUDGE = wp.constant(1e-4)

Floats = wp.types.vector(length=MOST, dtype=float)
Ints = wp.types.vector(length=MOST, dtype=int)


@wp.struct
class Shapes:
    """Holds the robot's shapes in all environments."""

    count: int
    kind: wp.array(dtype=int)
    core: wp.array(dtype=wp.vec3)
    radius: wp.array(dtype=float)
    reach: wp.array(dtype=float)
    soft: wp.array(dtype=float)
    color: wp.array(dtype=wp.vec3)
    center: wp.array2d(dtype=wp.vec3)
    rotation: wp.array2d(dtype=wp.mat33)
    hull: wp.array(dtype=wp.vec4)


@wp.struct
class Surroundings:
    """Describes floor, wall, sky and light."""

    floor_height: float
    wall_y: float
    checker: float
    light_checks: wp.vec3
    dark_checks: wp.vec3
    wall_color: wp.vec3
    sky_color: wp.vec3
    to_light: wp.vec3
    light: float
    ambient: float
    shadow: float
    far: float
    band: float


@wp.struct
class Layers:
    """Holds what one ray meets."""

    count: int
    shape: Ints
    cover: Floats
    cover_slope: Floats
    closest: Floats
    depth: Floats
    level_slope: Floats


@wp.struct
class Shading:
    """Describes the light on one point."""

    brightness: float
    facing: float
    """Cosine of the angle to the light, 0 where the surface is turned away."""
    open: float
    """Share of the directional light that shapes let pass."""


@wp.func
def hull_of(shapes: Shapes, e: int, point: wp.vec3, direction: wp.vec3, band: float) -> bool:
    hull = shapes.hull[e]
    return may_meet(wp.vec3(hull[0], hull[1], hull[2]) - point, hull[3] + band, direction)


@wp.func
def gather(e: int, ray: wp.vec3, cosine: float, eye: wp.vec3, s: Shapes, w: Surroundings) -> Layers:
    layers = Layers()
    n = int(0)
    end = w.far / cosine
    if ray[2] < 0.0 and eye[2] > w.floor_height:
        t = (w.floor_height - eye[2]) / ray[2]
        if t < end:
            layers.shape[n] = FLOOR
            layers.cover[n] = 1.0
            layers.depth[n] = t
            n = n + 1
    if ray[1] > 0.0 and eye[1] < w.wall_y:
        t = (w.wall_y - eye[1]) / ray[1]
        if t < end:
            layers.shape[n] = WALL
            layers.cover[n] = 1.0
            layers.depth[n] = t
            n = n + 1
    if hull_of(s, e, wp.vec3(), ray, w.band):
        for g in range(s.count):
            soft = s.soft[g]
            if n < _MOST and may_meet(s.center[e, g], s.reach[g] + soft, ray):
                passage = pass_by(
                    s.kind[g], s.center[e, g], s.rotation[e, g], s.core[g], s.radius[g], s.reach[g],
                    ray, soft,
                )  # fmt: skip
                x = -passage.clearance / soft
                cover = smooth_step(x)
                if cover > 0.0 and passage.closest > 0.0:
                    layers.shape[n] = g
                    layers.cover[n] = cover
                    layers.cover_slope[n] = -smooth_step_slope(x) / soft
                    layers.closest[n] = passage.closest
                    layers.depth[n] = passage.depth
                    layers.level_slope[n] = passage.level_slope
                    n = n + 1
    layers.count = n
    return layers


@wp.func
def weigh(layers: Layers, band: float) -> Floats:
    weights = Floats()
    for k in range(layers.count):
        weight = float(layers.cover[k])
        for j in range(layers.count):
            if j != k:
                behind = smooth_step((layers.depth[k] - layers.depth[j]) / band)
                weight = weight * (1.0 - layers.cover[j] * behind)
        weights[k] = weight
    return weights


@wp.func
def shadow_ray(s: Shapes, e: int, g: int, point: wp.vec3, to_light: wp.vec3) -> wp.vec3:
    """Returns how a shape covers the light of a point: the distance along the ray to the light at
    which it is nearest, the cover, and the cover's derivative with respect to the clearance."""
    result = wp.vec3()
    center = s.center[e, g] - point
    soft = s.soft[g]
    if may_meet(center, s.reach[g] + soft, to_light):
        closest = nearest_on_ray(
            s.kind[g], center, s.rotation[e, g], s.core[g], s.reach[g], to_light
        )
        field = distance_and_normal(
            s.kind[g], closest * to_light - center, s.rotation[e, g], s.core[g]
        )
        clearance = field[3] - s.radius[g]
        x = -clearance / soft
        result = wp.vec3(closest, smooth_step(x), -smooth_step_slope(x) / soft)
    return result


@wp.func
def shade(e: int, shape: int, point: wp.vec3, eye: wp.vec3, s: Shapes, w: Surroundings) -> Shading:
    result = Shading()
    normal = wp.vec3(0.0, 0.0, 1.0)
    if shape == WALL:
        normal = wp.vec3(0.0, -1.0, 0.0)
    elif shape >= 0:
        field = distance_and_normal(
            s.kind[shape], point - s.center[e, shape], s.rotation[e, shape], s.core[shape]
        )
        normal = wp.vec3(field[0], field[1], field[2])
    result.facing = wp.max(wp.dot(normal, w.to_light), 0.0)
    passing = float(1.0)
    if result.facing > 0.0 and w.shadow > 0.0:
        if w.to_light[1] > 0.0 and eye[1] + point[1] + _NUDGE * normal[1] < w.wall_y:
            passing = 0.0
        elif hull_of(s, e, point, w.to_light, w.band):
            for g in range(s.count):
                if g != shape and passing > 0.0:
                    found = shadow_ray(s, e, g, point, w.to_light)
                    passing = passing * (1.0 - found[1])
    result.open = passing
    result.brightness = w.ambient + w.light * result.facing * (1.0 - w.shadow * (1.0 - passing))
    return result


@wp.func
def wave_integral(x: float) -> float:
    """Integrates a wave that is 1/2 for x in [0, 1] and -1/2 for x in [1, 2], with period 2."""
    u = x - 2.0 * wp.floor(0.5 * x)
    return wp.where(u < 1.0, 0.5 * u - 0.25, 0.75 - 0.5 * u)


@wp.func
def wave_integral_2(x: float) -> float:
    """Integrates `wave_integral`."""
    u = x - 2.0 * wp.floor(0.5 * x)
    v = wp.where(u < 1.0, u, u - 1.0)
    return wp.where(u < 1.0, 0.25, -0.25) * v * (v - 1.0)


@wp.func
def stripe(x: float, blur: float) -> float:
    """Averages stripes, 1 for x in [0, 1] and 0 in [1, 2], over a tent that is `blur` wide at half
    its height: smooth in x."""
    around = wave_integral_2(x + blur) + wave_integral_2(x - blur) - 2.0 * wave_integral_2(x)
    return 0.5 + around / (blur * blur)


@wp.func
def stripe_slope(x: float, blur: float) -> float:
    around = wave_integral(x + blur) + wave_integral(x - blur) - 2.0 * wave_integral(x)
    return around / (blur * blur)


@wp.func
def in_checks(position: float, eye: float, checker: float) -> float:
    """Returns a floor coordinate in checks, moved by whole periods, so that float32 keeps its
    accuracy far from the origin."""
    period = 2.0 * checker
    return (eye - period * wp.floor(eye / period + 0.5) + position) / checker


@wp.func
def base_color(
    shape: int, point: wp.vec3, eye: wp.vec3, blur: wp.vec2, s: Shapes, w: Surroundings
) -> wp.vec3:
    base = w.wall_color
    if shape == FLOOR:
        a = stripe(in_checks(point[0], eye[0], w.checker), blur[0])
        b = stripe(in_checks(point[1], eye[1], w.checker), blur[1])
        share = a * (1.0 - b) + b * (1.0 - a)
        base = share * w.light_checks + (1.0 - share) * w.dark_checks
    elif shape >= 0:
        base = s.color[shape]
    return base


@wp.func
def clamped(color: wp.vec3) -> wp.vec3:
    return wp.vec3(wp.min(color[0], 1.0), wp.min(color[1], 1.0), wp.min(color[2], 1.0))
