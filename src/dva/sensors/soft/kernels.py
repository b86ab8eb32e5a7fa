# type: ignore  (Warp reads annotations as types of its own)
# ruff: noqa: UP018  (a variable that a dynamic loop changes is declared so)
"""Kernels of the differentiable camera: a soft picture, and its adjoint written by hand.

The adjoint rests on two facts. A shape moves rigidly, so the distance field at a point x changes by
-n . v with the shape's velocity v at x, and its normal by w x n + H (dx - v) with the curvature H.
And the clearance is a minimum along the ray, so moving the point of the minimum does not change it.
Each pixel adds a force and a torque to its shapes; nothing is kept from the forward pass.

Points are relative to the camera's eye, in world axes.
"""

import warp as wp

from dva.sensors.soft.layers import (
    FLOOR,
    Floats,
    Layers,
    Shapes,
    Surroundings,
    base_color,
    clamped,
    gather,
    hull_of,
    in_checks,
    shade,
    shadow_ray,
    stripe,
    stripe_slope,
    weigh,
)
from dva.sensors.soft.shapes import bend, distance_and_normal, smooth_step, smooth_step_slope
from dva.sim import BALL, FREE, REVOLUTE

__all__ = ["pull_back", "soft_cast", "soft_cast_adjoint"]


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


@wp.struct
class LayerAdjoints:
    """Holds the gradients with respect to what `weigh` reads."""

    cover: Floats
    depth: Floats


@wp.func
def adjoint_weights(
    layers: Layers, weights: Floats, gain: Floats, sky_gain: float, sky: float, band: float
) -> LayerAdjoints:
    """Differentiates `weigh`. Where a layer is hidden entirely, the smooth step has no slope.

    Args:
        gain: gradient with respect to each weight.
        sky_gain: gradient with respect to the sky's weight, `sky`.
    """
    result = LayerAdjoints()
    for k in range(layers.count):
        cover = layers.cover[k]
        if cover < 1.0:
            result.cover[k] = result.cover[k] - sky_gain * sky / (1.0 - cover)
        if weights[k] > 0.0:
            result.cover[k] = result.cover[k] + gain[k] * weights[k] / cover
            for j in range(layers.count):
                if j != k:
                    x = (layers.depth[k] - layers.depth[j]) / band
                    behind = smooth_step(x)
                    rest = gain[k] * weights[k] / (1.0 - layers.cover[j] * behind)
                    result.cover[j] = result.cover[j] - rest * behind
                    slope = rest * layers.cover[j] * smooth_step_slope(x) / band
                    result.depth[k] = result.depth[k] - slope
                    result.depth[j] = result.depth[j] + slope
    return result


@wp.func
def pull_shadows(
    e: int, g: int, point: wp.vec3, open: float, adj_open: float, s: Shapes, w: Surroundings,
    force: wp.array2d[wp.vec3], torque: wp.array2d[wp.vec3],
) -> wp.vec3:  # fmt: skip
    """Adds the forces on the shapes that shade a point of shape g.

    Returns the gradient with respect to the point.
    """
    adj_point = wp.vec3()
    if w.shadow > 0.0 and open > 0.0 and hull_of(s, e, point, w.to_light, w.band):
        for h in range(s.count):
            if h != g:
                found = shadow_ray(s, e, h, point, w.to_light)
                if found[1] > 0.0:
                    arm = found[0] * w.to_light - (s.center[e, h] - point)
                    field = distance_and_normal(s.kind[h], arm, s.rotation[e, h], s.core[h])
                    n = wp.vec3(field[0], field[1], field[2])
                    adj = -adj_open * open / (1.0 - found[1]) * found[2]
                    wp.atomic_sub(force, e, h, adj * n)
                    wp.atomic_sub(torque, e, h, adj * wp.cross(arm, n))
                    adj_point += adj * n
    return adj_point


@wp.func
def pull_shape(
    e: int, g: int, k: int, layers: Layers, ray: wp.vec3, adj_cover: float, adj_depth: float,
    adj_point: wp.vec3, adj_normal: wp.vec3, s: Shapes, force: wp.array2d[wp.vec3],
    torque: wp.array2d[wp.vec3],
):  # fmt: skip
    """Adds the force and torque on shape g, which is layer k of a ray."""
    center = s.center[e, g]
    arm = layers.depth[k] * ray - center
    field = distance_and_normal(s.kind[g], arm, s.rotation[e, g], s.core[g])
    normal = wp.vec3(field[0], field[1], field[2])
    # The normal turns with the shape, and changes where the point slides over it.
    slide = bend(s.kind[g], arm, s.rotation[e, g], s.core[g], adj_normal)
    pull = -slide
    twist = wp.cross(normal, adj_normal) - wp.cross(arm, slide)
    # The point lies where the ray enters the surface, pushed out by the level.
    steep = wp.min(wp.dot(normal, ray), -1e-6)
    adj_level = (adj_depth + wp.dot(adj_point + slide, ray)) / steep
    pull += adj_level * normal
    twist += adj_level * wp.cross(arm, normal)
    # The clearance, by cover and level.
    near = layers.closest[k] * ray - center
    field = distance_and_normal(s.kind[g], near, s.rotation[e, g], s.core[g])
    nearest = wp.vec3(field[0], field[1], field[2])
    adj_clearance = adj_cover * layers.cover_slope[k] + adj_level * layers.level_slope[k]
    pull -= adj_clearance * nearest
    twist -= adj_clearance * wp.cross(near, nearest)
    wp.atomic_add(force, e, g, pull)
    wp.atomic_add(torque, e, g, twist)


@wp.func
def floor_gradient(
    point: wp.vec3, eye: wp.vec3, blur: wp.vec2, adj_base: wp.vec3, w: Surroundings
) -> wp.vec3:
    """Returns the gradient of the checks with respect to the point on the floor."""
    a = stripe(in_checks(point[0], eye[0], w.checker), blur[0])
    b = stripe(in_checks(point[1], eye[1], w.checker), blur[1])
    along_x = (1.0 - 2.0 * b) * stripe_slope(in_checks(point[0], eye[0], w.checker), blur[0])
    along_y = (1.0 - 2.0 * a) * stripe_slope(in_checks(point[1], eye[1], w.checker), blur[1])
    scale = wp.dot(adj_base, w.light_checks - w.dark_checks) / w.checker
    return scale * wp.vec3(along_x, along_y, 0.0)


@wp.func
def pull_layer(
    e: int, k: int, layers: Layers, share: float, adj_cover: float, adj_depth: float,
    given: wp.vec3, ray: wp.vec3, blur: wp.vec2, eye: wp.vec3, s: Shapes, w: Surroundings,
    force: wp.array2d[wp.vec3], torque: wp.array2d[wp.vec3], eye_force: wp.array[wp.vec3],
):  # fmt: skip
    """Adds the forces of one layer of a pixel; `share` is its weight in the mean colour."""
    g = layers.shape[k]
    point = layers.depth[k] * ray
    adj_point = wp.vec3()
    adj_normal = wp.vec3()
    if share > 0.0:
        shading = shade(e, g, point, eye, s, w)
        base = base_color(g, point, eye, blur, s, w)
        color = shading.brightness * base
        adj_color = share * wp.vec3(
            wp.where(color[0] < 1.0, given[0], 0.0),
            wp.where(color[1] < 1.0, given[1], 0.0),
            wp.where(color[2] < 1.0, given[2], 0.0),
        )
        if shading.facing > 0.0:
            bright = w.light * wp.dot(adj_color, base)
            adj_normal = bright * (1.0 - w.shadow * (1.0 - shading.open)) * w.to_light
            adj_open = bright * shading.facing * w.shadow
            adj_point = pull_shadows(
                e, g, point, shading.open, adj_open, s, w, force, torque
            )  # fmt: skip
        if g == FLOOR:
            moved = floor_gradient(point, eye, blur, shading.brightness * adj_color, w)
            adj_point += moved
            wp.atomic_add(eye_force, e, moved)
    if g >= 0:
        pull_shape(
            e, g, k, layers, ray, adj_cover, adj_depth, adj_point, adj_normal, s, force, torque
        )
    elif g == FLOOR:
        adj = adj_depth + wp.dot(adj_point, ray)
        wp.atomic_add(eye_force, e, wp.vec3(0.0, 0.0, -adj / ray[2]))
    else:
        adj = adj_depth + wp.dot(adj_point, ray)
        wp.atomic_add(eye_force, e, wp.vec3(0.0, -adj / ray[1], 0.0))


@wp.kernel(enable_backward=False)
def soft_cast_adjoint(
    s: Shapes, w: Surroundings, rays: wp.array[wp.vec3], cosines: wp.array[float],
    blur: wp.array[wp.vec2], eye: wp.array[wp.vec3], gradient: wp.array3d[float],
    force: wp.array2d[wp.vec3], torque: wp.array2d[wp.vec3], eye_force: wp.array[wp.vec3],
):  # fmt: skip
    """Turns one pixel's gradient into forces on the shapes and the eye.

    Args:
        gradient: of the picture (n, 3, H W).
        force: (n, G), added to; with respect to each shape's position relative to the eye.
        torque: (n, G), added to; with respect to each shape's rotation about its centre.
        eye_force: (n,), added to; with respect to the eye's position relative to floor and wall.
    """
    e, pixel = wp.tid()
    given = 255.0 * wp.vec3(gradient[e, 0, pixel], gradient[e, 1, pixel], gradient[e, 2, pixel])
    if wp.dot(given, given) > 0.0:
        ray = rays[pixel]
        layers = gather(e, ray, cosines[pixel], eye[e], s, w)
        weights = weigh(layers, w.band)
        # Draws the picture again, to learn what each layer's colour counts in the gradient.
        sky = float(1.0)
        total = float(0.0)
        mean = float(0.0)
        value = Floats()
        for k in range(layers.count):
            sky = sky * (1.0 - layers.cover[k])
            total += weights[k]
            if weights[k] > 0.0:
                point = layers.depth[k] * ray
                shading = shade(e, layers.shape[k], point, eye[e], s, w)
                base = base_color(layers.shape[k], point, eye[e], blur[pixel], s, w)
                value[k] = wp.dot(clamped(shading.brightness * base), given)
                mean += weights[k] * value[k]
        sky_value = wp.dot(w.sky_color, given)
        total += sky
        mean = (mean + sky * sky_value) / total
        for k in range(layers.count):
            value[k] = (value[k] - mean) / total
        adjoints = adjoint_weights(
            layers, weights, value, (sky_value - mean) / total, sky, w.band
        )  # fmt: skip
        for k in range(layers.count):
            pull_layer(
                e, k, layers, weights[k] / total, adjoints.cover[k], adjoints.depth[k], given, ray,
                blur[pixel], eye[e], s, w, force, torque, eye_force,
            )  # fmt: skip


@wp.kernel(enable_backward=False)
def pull_back(
    num_links: int, num_shapes: int, joint: wp.array[int], parent: wp.array[int],
    coordinate: wp.array[int], q: wp.array3d[float], link_position: wp.array3d[wp.vec3],
    link_rotation: wp.array3d[wp.quat], joint_axis: wp.array3d[wp.vec3], link: wp.array[int],
    center: wp.array2d[wp.vec3], eye: wp.array[wp.vec3], mount: int, mount_offset: wp.vec3,
    follow: wp.vec3, force: wp.array2d[wp.vec3], torque: wp.array2d[wp.vec3],
    eye_force: wp.array[wp.vec3], link_force: wp.array2d[wp.vec3], link_moment: wp.array2d[wp.vec3],
    gradient: wp.array2d[float],
):  # fmt: skip
    """Turns forces and torques on shapes and eye into the gradient of the joint positions.

    Args:
        link_force, link_moment: (n, L), zero at first; of each link's subtree, about the world's
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
        elif joint[i] == wp.static(BALL):
            own = wp.quat(q[e, 0, c], q[e, 0, c + 1], q[e, 0, c + 2], q[e, 0, c + 3])
            inside = wp.quat_rotate_inv(link_rotation[e, 0, i], about)
            turned = own * wp.quat(inside[0], inside[1], inside[2], 0.0)
            for d in range(4):
                gradient[e, c + d] = 2.0 * turned[d]
        elif joint[i] == wp.static(REVOLUTE):
            gradient[e, c] = wp.dot(joint_axis[e, 0, i], about)
        else:
            gradient[e, c] = wp.dot(joint_axis[e, 0, i], f)
        if parent[i] >= 0:
            link_force[e, parent[i]] = link_force[e, parent[i]] + f
            link_moment[e, parent[i]] = link_moment[e, parent[i]] + link_moment[e, i]
