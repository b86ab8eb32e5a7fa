# type: ignore  (Warp reads annotations as types of its own)
"""Kernel for contacts between bodies and with geoms of the world: `dva.sim.features.BodyContacts`.

A probe, an ellipsoid whose centre may slide along a line, touches a solid. All loops are static, so
that Warp unrolls and differentiates them.
"""

from types import SimpleNamespace

import warp as wp

from dva.sim.features import BOX, CYLINDER, ELLIPSOID, ROUND
from dva.sim.warp.kernels.contact_laws import contact_laws

__all__ = ["contact_kernels"]


def contact_kernels(t: SimpleNamespace) -> tuple[wp.Kernel, ...]:
    """Builds `collide`."""
    real, vec3, vec4, quat, ints, reals = t.real, t.vec3, t.vec4, t.quat, t.ints, t.reals
    reals2, vecs, vecs3, quats, quats3 = t.reals2, t.vecs, t.vecs3, t.quats, t.quats3
    vec4s, func, kernel, rotate, rotate_back = t.vec4s, t.func, t.kernel, t.rotate, t.rotate_back
    laws = contact_laws(t)
    push, twist = laws.push, laws.twist

    @func
    def beyond(out: vec3, normal: vec3, inside: vec3, depth: real) -> vec4:
        # Outside, `out` leads from the surface; inside, the nearest side has `inside` and `depth`.
        square = wp.dot(out, out)
        found = vec4(inside[0], inside[1], inside[2], depth)
        if square > real(0.0):
            distance = wp.sqrt(square)
            side = wp.cw_mul(out, normal) / distance
            found = vec4(side[0], side[1], side[2], distance)
        return found

    @func
    def of_round(size: vec3, p: vec3) -> vec4:
        d = p - vec3(real(0.0), real(0.0), wp.clamp(p[2], -size[1], size[1]))
        square = wp.dot(d, d)
        found = vec4(real(0.0), real(0.0), real(1.0), -size[0])
        if square > real(0.0):
            distance = wp.sqrt(square)
            n = d / distance
            found = vec4(n[0], n[1], n[2], distance - size[0])
        return found

    @func
    def of_box(size: vec3, p: vec3) -> vec4:
        zero = real(0.0)
        side = vec3(wp.sign(p[0]), wp.sign(p[1]), wp.sign(p[2]))
        d = wp.cw_mul(p, side) - size
        out = vec3(wp.max(d[0], zero), wp.max(d[1], zero), wp.max(d[2], zero))
        normal = vec3(side[0], zero, zero)
        depth = d[0]
        if d[1] > depth:
            normal = vec3(zero, side[1], zero)
            depth = d[1]
        if d[2] > depth:
            normal = vec3(zero, zero, side[2])
            depth = d[2]
        return beyond(out, side, normal, depth)

    @func
    def of_cylinder(size: vec3, p: vec3) -> vec4:
        zero = real(0.0)
        square = p[0] * p[0] + p[1] * p[1]
        rho = zero
        radial = vec3(real(1.0), zero, zero)
        if square > zero:
            rho = wp.sqrt(square)
            radial = vec3(p[0] / rho, p[1] / rho, zero)
        up = wp.sign(p[2])
        around = rho - size[0]
        along = p[2] * up - size[1]
        normal = radial
        depth = around
        if along > depth:
            normal = vec3(zero, zero, up)
            depth = along
        out = vec3(wp.max(around, zero), wp.max(along, zero), zero)
        found = vec4(normal[0], normal[1], normal[2], depth)
        outside = wp.dot(out, out)
        if outside > zero:
            distance = wp.sqrt(outside)
            n = (radial * out[0] + vec3(zero, zero, up) * out[1]) / distance
            found = vec4(n[0], n[1], n[2], distance)
        return found

    @func
    def of_ellipsoid(size: vec3, p: vec3) -> vec4:
        # To first order in the distance: exact on the surface, and for a sphere.
        scaled = wp.cw_div(p, size)
        gradient = wp.cw_div(scaled, size)
        found = vec4(real(0.0), real(0.0), real(1.0), -wp.min(size))
        square = wp.dot(scaled, scaled)
        if square > real(0.0):
            level = wp.sqrt(square)
            slope = wp.sqrt(wp.dot(gradient, gradient))
            n = gradient / slope
            found = vec4(n[0], n[1], n[2], level * (level - real(1.0)) / slope)
        return found

    @func
    def of_polytope(c: int, slab: vecs, solid_slab: reals2, p: vec3) -> vec4:
        n = slab[0]
        distance = wp.dot(n, p) - solid_slab[c, 0]
        for j in range(13):
            s = wp.dot(slab[j], p)
            if s - solid_slab[c, j] > distance:
                distance = s - solid_slab[c, j]
                n = slab[j]
            if solid_slab[c, 13 + j] - s > distance:
                distance = solid_slab[c, 13 + j] - s
                n = -slab[j]
        return vec4(n[0], n[1], n[2], distance)

    @func
    def surface(c: int, shape: int, size: vec3, slab: vecs, solid_slab: reals2, p: vec3) -> vec4:
        # Normal and signed distance of a solid's surface nearest to p, in the solid's frame.
        found = vec4()
        if shape == wp.static(ROUND):
            found = of_round(size, p)
        elif shape == wp.static(BOX):
            found = of_box(size, p)
        elif shape == wp.static(CYLINDER):
            found = of_cylinder(size, p)
        elif shape == wp.static(ELLIPSOID):
            found = of_ellipsoid(size, p)
        else:
            found = of_polytope(c, slab, solid_slab, p)
        return found

    @func
    def slide_to_segment(half: real, a: vec3, span: vec3) -> real:
        # Nearest point of a + t span, 0 <= t <= 1, to the segment -half <= z <= half.
        zero = real(0.0)
        one = real(1.0)
        length = wp.dot(span, span)
        axis = real(2.0) * half
        r = a + vec3(zero, zero, half)
        towards = wp.dot(span, r)
        t = wp.clamp(-towards / length, zero, one)
        if half > zero:
            square = axis * axis
            along = axis * r[2]
            mixed = axis * span[2]
            det = length * square - mixed * mixed
            t = real(0.5)
            if det > real(1e-6) * length * square:
                t = wp.clamp((mixed * along - towards * square) / det, zero, one)
            u = (mixed * t + along) / square
            if u < zero:
                t = wp.clamp(-towards / length, zero, one)
            elif u > one:
                t = wp.clamp((mixed - towards) / length, zero, one)
        return t

    @func
    def slide(
        c: int, shape: int, size: vec3, slab: vecs, solid_slab: reals2, a: vec3, span: vec3
    ) -> real:
        # Where a + t span is nearest to the solid; projects back and forth on other than segments.
        t = real(0.0)
        if shape == wp.static(ROUND):
            t = slide_to_segment(size[1], a, span)
        else:
            for _ in range(4):
                p = a + span * t
                d = surface(c, shape, size, slab, solid_slab, p)
                q = p - vec3(d[0], d[1], d[2]) * d[3]
                t = wp.clamp(wp.dot(q - a, span) / wp.dot(span, span), real(0.0), real(1.0))
        return t

    @kernel
    def collide(
        k: int, probe_link: ints, solid_link: ints, probe_point: vecs, probe_rotation: quats,
        probe_axes: vecs, probe_span: vecs, solid_place: vecs, solid_turn: quats,
        solid_shape: ints, solid_size: vecs, slab: vecs, solid_slab: reals2, body_material: vec4s,
        body_ramp: reals, body_spin: vec4s, body_margin: reals, body_reach: reals, origin: vecs,
        position: vecs3, rotation: quats3, angular: vecs3, linear: vecs3, moment: vecs3,
        force: vecs3,
    ):  # fmt: skip
        """Adds a contact's forces to the two links."""
        e, c = wp.tid()
        i = probe_link[c]
        j = solid_link[c]
        world = quat(real(0.0), real(0.0), real(0.0), real(1.0))
        p_i = -origin[e]
        r_i = world
        w_i = vec3()
        v_i = vec3()
        if i >= 0:
            p_i = position[e, k, i]
            r_i = rotation[e, k, i]
            w_i = angular[e, k, i]
            v_i = linear[e, k, i]
        p_j = -origin[e]
        r_j = world
        w_j = vec3()
        v_j = vec3()
        if j >= 0:
            p_j = position[e, k, j]
            r_j = rotation[e, k, j]
            w_j = angular[e, k, j]
            v_j = linear[e, k, j]
        a = p_i + rotate(r_i, probe_point[c])
        b = p_j + rotate(r_j, solid_place[c])
        if wp.dot(a - b, a - b) < body_reach[c] * body_reach[c]:
            shape = solid_shape[c]
            size = solid_size[c]
            frame = r_j * solid_turn[c]
            span = rotate(r_i, probe_span[c])
            t = real(0.0)
            if wp.dot(probe_span[c], probe_span[c]) > real(0.0):
                t = slide(
                    c, shape, size, slab, solid_slab, rotate_back(frame, a - b),
                    rotate_back(frame, span),
                )  # fmt: skip
            center = a + span * t
            d = surface(c, shape, size, slab, solid_slab, rotate_back(frame, center - b))
            n = rotate(frame, vec3(d[0], d[1], d[2]))
            # The point of the probe that lies furthest against the normal.
            own = r_i * probe_rotation[c]
            scaled = wp.cw_mul(probe_axes[c], rotate_back(own, n))
            square = wp.dot(scaled, scaled)
            x = center
            thickness = real(0.0)
            if square > real(0.0):
                thickness = wp.sqrt(square)
                x = center - rotate(own, wp.cw_mul(probe_axes[c], scaled)) / thickness
            depth = thickness - d[3] + body_margin[c]
            if depth > real(0.0):
                u = v_i - v_j + wp.cross(w_i - w_j, x)
                f = push(n, u, depth, body_material[c], body_ramp[c])
                torque = twist(n, u, w_i - w_j, depth, body_material[c], body_ramp[c], body_spin[c])
                m = wp.cross(x, f) + torque
                if i >= 0:
                    force[e, k, i] += -f
                    moment[e, k, i] += -m
                if j >= 0:
                    force[e, k, j] += f
                    moment[e, k, j] += m

    return (collide,)
