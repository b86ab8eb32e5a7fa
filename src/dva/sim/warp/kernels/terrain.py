# type: ignore  (Warp reads annotations as types of its own)
"""Kernel for contacts with height fields: `dva.sim.features.TerrainContacts`."""

from types import SimpleNamespace

import warp as wp

from dva.sim.warp.kernels.contact_laws import contact_laws

__all__ = ["terrain_kernels"]


def terrain_kernels(t: SimpleNamespace) -> tuple[wp.Kernel, ...]:
    """Builds `tread_terrain`."""
    real, vec2, vec3, ints, reals, vecs = t.real, t.vec2, t.vec3, t.ints, t.reals, t.vecs
    vecs3, quats, quats3, vec2s, vec4s = t.vecs3, t.quats, t.quats3, t.vec2s, t.vec4s
    func, kernel, rotate, rotate_back = t.func, t.kernel, t.rotate, t.rotate_back
    laws = contact_laws(t)
    push, twist = laws.push, laws.twist

    @func
    def surface(
        x: real, y: real, half: vec2, rows: int, columns: int, first: int, heights: reals
    ) -> vec3:
        # Height and its slopes along x and y; the samples at the edge continue beyond it.
        width = real(2.0) * half[0] / real(columns - 1)
        depth = real(2.0) * half[1] / real(rows - 1)
        u = (x + half[0]) / width
        v = (y + half[1]) / depth
        column = wp.clamp(int(wp.floor(u)), 0, columns - 2)
        row = wp.clamp(int(wp.floor(v)), 0, rows - 2)
        s = u - real(column)
        r = v - real(row)
        corner = first + row * columns + column
        h00 = heights[corner]
        h01 = heights[corner + 1]
        h10 = heights[corner + columns]
        h11 = heights[corner + columns + 1]
        mixed = h11 - h10 - h01 + h00
        height = h00 + s * (h01 - h00) + r * (h10 - h00) + s * r * mixed
        return vec3(height, (h01 - h00 + r * mixed) / width, (h10 - h00 + s * mixed) / depth)

    @kernel
    def tread_terrain(
        k: int, first_tread: ints, tread_point: vecs, tread_rotation: quats, tread_axes: vecs,
        tread_field: ints, tread_margin: reals, tread_material: vec4s, tread_ramp: reals,
        tread_spin: vec4s, field_place: vecs, field_turn: quats, field_half: vec2s,
        field_base: reals, field_rows: ints, field_columns: ints, field_first: ints,
        field_heights: reals, origin: vecs, position: vecs3, rotation: quats3, angular: vecs3,
        linear: vecs3, moment: vecs3, force: vecs3,
    ):  # fmt: skip
        """Adds a link's contacts with height fields."""
        e, i = wp.tid()
        r = rotation[e, k, i]
        w = angular[e, k, i]
        v = linear[e, k, i]
        for c in range(first_tread[i], first_tread[i + 1]):
            g = tread_field[c]
            frame = field_turn[g]
            half = field_half[g]
            place = field_place[g] - origin[e]
            center = rotate_back(frame, position[e, k, i] + rotate(r, tread_point[c]) - place)
            own = r * tread_rotation[c]
            axes = tread_axes[c]
            below = surface(
                center[0], center[1], half, field_rows[g], field_columns[g], field_first[g],
                field_heights,
            )  # fmt: skip
            up = wp.normalize(vec3(-below[1], -below[2], real(1.0)))
            scaled = wp.cw_mul(axes, rotate_back(own, rotate(frame, up)))
            square = wp.dot(scaled, scaled)
            inside = center
            if square > real(0.0):
                # The ellipsoid's point that lies furthest against the normal.
                lowest = rotate(own, wp.cw_mul(axes, scaled)) / wp.sqrt(square)
                inside = center - rotate_back(frame, lowest)
            there = surface(
                inside[0], inside[1], half, field_rows[g], field_columns[g], field_first[g],
                field_heights,
            )  # fmt: skip
            slope = vec3(-there[1], -there[2], real(1.0))
            depth = (there[0] - inside[2]) / wp.sqrt(wp.dot(slope, slope)) + tread_margin[c]
            within = wp.abs(inside[0]) <= half[0] and wp.abs(inside[1]) <= half[1]
            if depth > real(0.0) and within and inside[2] > -field_base[g]:
                n = rotate(frame, wp.normalize(slope))
                x = place + rotate(frame, inside)
                u = v + wp.cross(w, x)
                f = push(n, u, depth, tread_material[c], tread_ramp[c])
                torque = twist(n, u, w, depth, tread_material[c], tread_ramp[c], tread_spin[c])
                force[e, k, i] += -f
                moment[e, k, i] += -(wp.cross(x, f) + torque)

    return (tread_terrain,)
