# type: ignore  (Warp reads annotations as types of its own)
# ruff: noqa: UP018  (a variable that a dynamic loop changes is declared so)
"""Kernels of the differentiable camera: a soft picture, and its adjoint written by hand.

What a ray meets are layers: floor, wall, and the shapes that it enters or passes within the soft
edge. A layer has a cover a in [0, 1], a depth t and a colour; a layer behind another is hidden by
its cover, as far as it is behind: with the smooth step S and the soft edge's half width b,

    w_k = a_k prod_{j != k} (1 - a_j S((t_k - t_j) / b)),    a_k = S(-clearance_k / b_k),

with b_k the smaller of b and the shape's radius, so that the cover is 1 in the core. The pixel is
the mean of the colours weighted by w, the sky's weight being prod_k (1 - a_k).

The adjoint rests on two facts. A shape moves rigidly, so the distance field at a point x changes by
-n . v with the shape's velocity v at x, and its normal by w x n + H (dx - v) with the curvature H.
And the clearance is a minimum along the ray, so the change of the place where it is taken does not
count. Each pixel adds a force and a torque to its shapes; nothing is kept from the forward pass.

Points are relative to the camera's eye, in world axes.
"""

import warp as wp

from dva.sensors.intersections import may_meet
from dva.sensors.soft_shapes import (
    bend,
    distance_and_normal,
    nearest_on_ray,
    pass_by,
    smooth_step,
    smooth_step_slope,
)
from dva.sim import FREE, REVOLUTE

__all__ = ["pull_back", "soft_cast", "soft_cast_adjoint"]

MOST = 16
"""Layers of one pixel; what else a ray meets is left out."""
_MOST = wp.constant(MOST)
_FLOOR, _WALL = wp.constant(-2), wp.constant(-3)
_NUDGE = wp.constant(1e-4)

Floats = wp.types.vector(length=MOST, dtype=float)
Ints = wp.types.vector(length=MOST, dtype=int)


@wp.struct
class Shapes:
    """The robot's shapes in all environments."""

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
    """Floor, wall, sky and light."""

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
    """What one ray meets."""

    count: int
    shape: Ints
    cover: Floats
    cover_slope: Floats
    closest: Floats
    depth: Floats
    level_slope: Floats


@wp.struct
class Shading:
    """Light on one point."""

    brightness: float
    normal: wp.vec3
    facing: float
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
            layers.shape[n] = _FLOOR
            layers.cover[n] = 1.0
            layers.depth[n] = t
            n = n + 1
    if ray[1] > 0.0 and eye[1] < w.wall_y:
        t = (w.wall_y - eye[1]) / ray[1]
        if t < end:
            layers.shape[n] = _WALL
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
def shadow_ray(s: Shapes, e: int, g: int, point: wp.vec3, to_light: wp.vec3) -> wp.vec4:
    """Returns place, cover, the cover's slope by the clearance, and clearance of a shape that
    stands between a point and the light; no cover where it does not."""
    result = wp.vec4()
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
        result = wp.vec4(closest, smooth_step(x), -smooth_step_slope(x) / soft, clearance)
    return result


@wp.func
def shade(e: int, shape: int, point: wp.vec3, eye: wp.vec3, s: Shapes, w: Surroundings) -> Shading:
    result = Shading()
    normal = wp.vec3(0.0, 0.0, 1.0)
    if shape == _WALL:
        normal = wp.vec3(0.0, -1.0, 0.0)
    elif shape >= 0:
        field = distance_and_normal(
            s.kind[shape], point - s.center[e, shape], s.rotation[e, shape], s.core[shape]
        )
        normal = wp.vec3(field[0], field[1], field[2])
    result.normal = normal
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
    """Returns a floor coordinate in checks; moved by whole periods, so that float32 keeps its
    accuracy far from the origin."""
    period = 2.0 * checker
    return (eye - period * wp.floor(eye / period + 0.5) + position) / checker


@wp.func
def base_color(
    shape: int, point: wp.vec3, eye: wp.vec3, blur: wp.vec2, s: Shapes, w: Surroundings
) -> wp.vec3:
    base = w.wall_color
    if shape == _FLOOR:
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


@wp.kernel(enable_backward=False)
def soft_cast(
    s: Shapes, w: Surroundings, rays: wp.array[wp.vec3], cosines: wp.array[float],
    blur: wp.array[wp.vec2], eye: wp.array[wp.vec3], image: wp.array3d[float],
):  # fmt: skip
    """Draws one pixel (n, 3, H W) in [0, 255]."""
    e, pixel = wp.tid()
    ray = rays[pixel]
    layers = gather(e, ray, cosines[pixel], eye[e], s, w)
    weights = weigh(layers, w.band)
    sky = float(1.0)
    total = float(0.0)
    color = wp.vec3()
    for k in range(layers.count):
        sky = sky * (1.0 - layers.cover[k])
        if weights[k] > 0.0:
            point = layers.depth[k] * ray
            shading = shade(e, layers.shape[k], point, eye[e], s, w)
            base = base_color(layers.shape[k], point, eye[e], blur[pixel], s, w)
            color += weights[k] * clamped(shading.brightness * base)
            total += weights[k]
    color = (color + sky * w.sky_color) / (total + sky)
    for c in range(3):
        image[e, c, pixel] = 255.0 * color[c]


@wp.kernel(enable_backward=False)
def soft_cast_adjoint(
    s: Shapes, w: Surroundings, rays: wp.array[wp.vec3], cosines: wp.array[float],
    blur: wp.array[wp.vec2], eye: wp.array[wp.vec3], gradient: wp.array3d[float],
    force: wp.array2d[wp.vec3], torque: wp.array2d[wp.vec3], eye_force: wp.array[wp.vec3],
):  # fmt: skip
    """Adds what one pixel's gradient does to the shapes and the eye.

    Args:
        gradient: of the picture (n, 3, H W).
        force: (n, G), added to; by the position of each shape relative to the eye.
        torque: (n, G), added to; by the rotation of each shape about its centre.
        eye_force: (n,), added to; by the eye's position relative to floor and wall.
    """
    e, pixel = wp.tid()
    given = 255.0 * wp.vec3(gradient[e, 0, pixel], gradient[e, 1, pixel], gradient[e, 2, pixel])
    if wp.dot(given, given) > 0.0:
        ray = rays[pixel]
        layers = gather(e, ray, cosines[pixel], eye[e], s, w)
        weights = weigh(layers, w.band)
        # The picture once more, now keeping each layer's colour.
        sky = float(1.0)
        total = float(0.0)
        mean = wp.vec3()
        value = Floats()  # of each layer's colour, as the gradient sees it
        for k in range(layers.count):
            sky = sky * (1.0 - layers.cover[k])
            total += weights[k]
            if weights[k] > 0.0:
                point = layers.depth[k] * ray
                shading = shade(e, layers.shape[k], point, eye[e], s, w)
                base = base_color(layers.shape[k], point, eye[e], blur[pixel], s, w)
                color = clamped(shading.brightness * base)
                value[k] = wp.dot(color, given)
                mean += weights[k] * color
        total += sky
        mean = (mean + sky * w.sky_color) / total
        mean_value = wp.dot(mean, given)
        adj_cover = Floats()
        adj_depth = Floats()
        # By the weights. Where a layer is hidden entirely, smooth_step has no slope either.
        for k in range(layers.count):
            cover = layers.cover[k]
            if cover < 1.0:
                sky_value = (wp.dot(w.sky_color, given) - mean_value) / total
                adj_cover[k] = adj_cover[k] - sky_value * sky / (1.0 - cover)
            if weights[k] > 0.0:
                adj = (value[k] - mean_value) / total
                adj_cover[k] = adj_cover[k] + adj * weights[k] / cover
                for j in range(layers.count):
                    if j != k:
                        x = (layers.depth[k] - layers.depth[j]) / w.band
                        behind = smooth_step(x)
                        rest = adj * weights[k] / (1.0 - layers.cover[j] * behind)
                        adj_cover[j] = adj_cover[j] - rest * behind
                        slope = rest * layers.cover[j] * smooth_step_slope(x) / w.band
                        adj_depth[k] = adj_depth[k] - slope
                        adj_depth[j] = adj_depth[j] + slope
        for k in range(layers.count):
            g = layers.shape[k]
            depth = layers.depth[k]
            point = depth * ray
            adj_point = wp.vec3()
            adj_normal = wp.vec3()
            if weights[k] > 0.0:
                shading = shade(e, g, point, eye[e], s, w)
                base = base_color(g, point, eye[e], blur[pixel], s, w)
                share = weights[k] / total
                color = shading.brightness * base
                adj_color = wp.vec3(
                    wp.where(color[0] < 1.0, share * given[0], 0.0),
                    wp.where(color[1] < 1.0, share * given[1], 0.0),
                    wp.where(color[2] < 1.0, share * given[2], 0.0),
                )
                adj_brightness = wp.dot(adj_color, base)
                if shading.facing > 0.0:
                    direct = w.light * (1.0 - w.shadow * (1.0 - shading.open))
                    adj_normal = adj_brightness * direct * w.to_light
                    adj_open = adj_brightness * w.light * shading.facing * w.shadow
                    if (
                        w.shadow > 0.0
                        and shading.open > 0.0
                        and hull_of(s, e, point, w.to_light, w.band)
                    ):
                        for h in range(s.count):
                            if h != g:
                                found = shadow_ray(s, e, h, point, w.to_light)
                                if found[1] > 0.0:
                                    center = s.center[e, h] - point
                                    arm = found[0] * w.to_light - center
                                    field = distance_and_normal(
                                        s.kind[h], arm, s.rotation[e, h], s.core[h]
                                    )
                                    n = wp.vec3(field[0], field[1], field[2])
                                    adj = -adj_open * shading.open / (1.0 - found[1]) * found[2]
                                    wp.atomic_sub(force, e, h, adj * n)
                                    wp.atomic_sub(torque, e, h, adj * wp.cross(arm, n))
                                    adj_point += adj * n
                if g == _FLOOR:
                    checks = w.light_checks - w.dark_checks
                    adj_share = shading.brightness * wp.dot(adj_color, checks)
                    x = in_checks(point[0], eye[e][0], w.checker)
                    y = in_checks(point[1], eye[e][1], w.checker)
                    a = stripe(x, blur[pixel][0])
                    b = stripe(y, blur[pixel][1])
                    scale = adj_share / w.checker
                    along_x = scale * (1.0 - 2.0 * b) * stripe_slope(x, blur[pixel][0])
                    along_y = scale * (1.0 - 2.0 * a) * stripe_slope(y, blur[pixel][1])
                    moved = wp.vec3(along_x, along_y, 0.0)
                    adj_point += moved
                    wp.atomic_add(eye_force, e, moved)
            if g == _FLOOR:
                adj = adj_depth[k] + wp.dot(adj_point, ray)
                wp.atomic_add(eye_force, e, wp.vec3(0.0, 0.0, -adj / ray[2]))
            elif g == _WALL:
                adj = adj_depth[k] + wp.dot(adj_point, ray)
                wp.atomic_add(eye_force, e, wp.vec3(0.0, -adj / ray[1], 0.0))
            else:
                center = s.center[e, g]
                arm = point - center
                field = distance_and_normal(s.kind[g], arm, s.rotation[e, g], s.core[g])
                normal = wp.vec3(field[0], field[1], field[2])
                # The normal turns with the shape, and changes where the point slides over it.
                slide = bend(s.kind[g], arm, s.rotation[e, g], s.core[g], adj_normal)
                pull = -slide
                twist = wp.cross(normal, adj_normal) - wp.cross(arm, slide)
                # The point lies where the ray enters the surface, pushed out by the level.
                adj = adj_depth[k] + wp.dot(adj_point + slide, ray)
                steep = wp.min(wp.dot(normal, ray), -1e-6)
                adj_level = adj / steep
                pull += adj_level * normal
                twist += adj_level * wp.cross(arm, normal)
                # The clearance, by cover and level.
                near = layers.closest[k] * ray - center
                field = distance_and_normal(s.kind[g], near, s.rotation[e, g], s.core[g])
                nearest = wp.vec3(field[0], field[1], field[2])
                adj_clearance = (
                    adj_cover[k] * layers.cover_slope[k] + adj_level * layers.level_slope[k]
                )
                pull -= adj_clearance * nearest
                twist -= adj_clearance * wp.cross(near, nearest)
                wp.atomic_add(force, e, g, pull)
                wp.atomic_add(torque, e, g, twist)


@wp.kernel(enable_backward=False)
def pull_back(
    num_links: int, num_shapes: int, joint: wp.array[int], parent: wp.array[int],
    coordinate: wp.array[int], link_position: wp.array3d[wp.vec3],
    link_rotation: wp.array3d[wp.quat], joint_axis: wp.array3d[wp.vec3], link: wp.array[int],
    center: wp.array2d[wp.vec3], eye: wp.array[wp.vec3], mount: int, mount_offset: wp.vec3,
    follow: wp.vec3, force: wp.array2d[wp.vec3], torque: wp.array2d[wp.vec3],
    eye_force: wp.array[wp.vec3], link_force: wp.array2d[wp.vec3], link_moment: wp.array2d[wp.vec3],
    gradient: wp.array2d[float],
):  # fmt: skip
    """Turns forces and torques on shapes and eye into a gradient by the joint positions.

    Args:
        link_force, link_moment: (n, L), zero before; of each link's subtree, about the world's
            origin.
        gradient: (n, nq), written.
    """
    e = wp.tid()
    on_eye = eye_force[e]
    for g in range(num_shapes):
        on_eye -= force[e, g]
        i = link[g]
        if i >= 0:
            arm = center[e, g] + eye[e]
            link_force[e, i] = link_force[e, i] + force[e, g]
            link_moment[e, i] = link_moment[e, i] + torque[e, g] + wp.cross(arm, force[e, g])
    if mount >= 0:
        pulled = wp.cw_mul(follow, on_eye)
        at = link_position[e, 0, mount] + wp.quat_rotate(link_rotation[e, 0, mount], mount_offset)
        link_force[e, mount] = link_force[e, mount] + pulled
        link_moment[e, mount] = link_moment[e, mount] + wp.cross(at, pulled)
    for back in range(num_links):
        i = num_links - 1 - back
        f = link_force[e, i]
        about = link_moment[e, i] - wp.cross(link_position[e, 0, i], f)
        c = coordinate[i]
        if joint[i] == wp.static(FREE):
            r = link_rotation[e, 0, i]
            # Along the quaternion itself there is no motion and no gradient.
            turned = wp.quat(about[0], about[1], about[2], 0.0) * r
            for d in range(3):
                gradient[e, c + d] = f[d]
            for d in range(4):
                gradient[e, c + 3 + d] = 2.0 * turned[d]
        elif joint[i] == wp.static(REVOLUTE):
            gradient[e, c] = wp.dot(joint_axis[e, 0, i], about)
        else:
            gradient[e, c] = wp.dot(joint_axis[e, 0, i], f)
        if parent[i] >= 0:
            link_force[e, parent[i]] = link_force[e, parent[i]] + f
            link_moment[e, parent[i]] = link_moment[e, parent[i]] + link_moment[e, i]
