# type: ignore  (Warp reads annotations as types of its own)
"""Kernels for `dva.sim.features`, launched only where a robot has them.

They add to what the plain kernels wrote; tables are as there described.
"""

import math
from types import SimpleNamespace

import warp as wp

from dva.sim.model import BALL, FREE
from dva.sim.warp.kernels.contact_laws import contact_laws

__all__ = ["feature_kernels"]


def feature_kernels(t: SimpleNamespace) -> tuple[wp.Kernel, ...]:
    """Builds the kernels that their names in `dva.sim.warp.features` tell."""
    real, vec3, quat, ints, reals, reals2 = t.real, t.vec3, t.quat, t.ints, t.reals, t.reals2
    reals3, vecs, vecs3, quats, quats3 = t.reals3, t.vecs, t.vecs3, t.quats, t.quats3
    vec2, vec2s, vec4s, func, kernel = t.vec2, t.vec2s, t.vec4s, t.func, t.kernel
    rotate, rotate_back, rotation_vector = t.rotate, t.rotate_back, t.rotation_vector
    balls = t.balls
    laws = contact_laws(t)
    push, twist = laws.push, laws.twist

    @func
    def stop(x: real, v: real, bounds: vec2, law: vec3) -> real:
        # It damps on the way back too, but never pulls.
        force = real(0.0)
        if x < bounds[0]:
            r = bounds[0] - x
            damping = law[1] * wp.min(r / law[2], real(1.0))
            force = wp.max(law[0] * r - damping * v, real(0.0))
        if x > bounds[1]:
            r = x - bounds[1]
            damping = law[1] * wp.min(r / law[2], real(1.0))
            force = -wp.max(law[0] * r + damping * v, real(0.0))
        return force

    @func
    def dry(v: real, law: vec2) -> real:
        return -law[0] * wp.tanh(v / law[1])

    @kernel
    def compensate(
        k: int, gravity: vecs, held_mass: reals, held_center: vecs, position: vecs3,
        rotation: quats3, moment: vecs3, force: vecs3,
    ):  # fmt: skip
        """Adds what holds a link up, which a link's wrench counts negative, as all forces."""
        e, i = wp.tid()
        weight = gravity[0] * held_mass[i]
        center = position[e, k, i] + rotate(rotation[e, k, i], held_center[i])
        force[e, k, i] += weight
        moment[e, k, i] += wp.cross(center, weight)

    @kernel
    def immerse(
        k: int, first_body: ints, fluid_point: vecs, fluid_turn: quats, fluid_box: vecs,
        fluid: vecs, wind: vecs, position: vecs3, rotation: quats3, angular: vecs3,
        linear: vecs3, moment: vecs3, force: vecs3,
    ):  # fmt: skip
        """Adds a fluid's drag on a link's bodies, each a box of its inertia."""
        e, i = wp.tid()
        r = rotation[e, k, i]
        w = angular[e, k, i]
        v = linear[e, k, i]
        density = fluid[0][0]
        viscosity = fluid[0][1]
        for n in range(first_body[i], first_body[i + 1]):
            frame = r * fluid_turn[n]
            x = position[e, k, i] + rotate(r, fluid_point[n])
            turn = rotate_back(frame, w)
            flow = rotate_back(frame, v + wp.cross(w, x) - wind[0])
            box = fluid_box[n]
            mean = (box[0] + box[1] + box[2]) / real(3.0)
            areas = vec3(box[1] * box[2], box[0] * box[2], box[0] * box[1])
            y0 = box[0] * box[0] * box[0] * box[0]
            y1 = box[1] * box[1] * box[1] * box[1]
            y2 = box[2] * box[2] * box[2] * box[2]
            arms = vec3(box[0] * (y1 + y2), box[1] * (y0 + y2), box[2] * (y0 + y1))
            stokes = viscosity * real(wp.static(math.pi)) * mean
            drag = flow * (-real(3.0) * stokes)
            drag = drag - wp.cw_mul(areas, wp.cw_mul(wp.abs(flow), flow)) * (density * real(0.5))
            torque = turn * (-stokes * mean * mean)
            torque = torque - wp.cw_mul(arms, wp.cw_mul(wp.abs(turn), turn)) * (
                density / real(64.0)
            )
            f = rotate(frame, drag)
            force[e, k, i] += -f
            moment[e, k, i] += -(wp.cross(x, f) + rotate(frame, torque))

    @kernel
    def brake(
        k: int, free_damping: reals, position: vecs3, angular: vecs3, linear: vecs3,
        moment: vecs3, force: vecs3,
    ):  # fmt: skip
        """Adds the damping of free joints, on the velocity of the body's frame."""
        e, i = wp.tid()
        x = position[e, k, i]
        f = (linear[e, k, i] + wp.cross(angular[e, k, i], x)) * free_damping[i]
        force[e, k, i] += f
        moment[e, k, i] += wp.cross(x, f) + angular[e, k, i] * free_damping[i]

    @kernel
    def touch(
        k: int, first_touch: ints, touch_point: vecs, touch_rotation: quats, touch_axes: vecs,
        touch_plane: vec4s, touch_material: vec4s, touch_ramp: reals, touch_spin: vec4s,
        origin: vecs, position: vecs3, rotation: quats3, angular: vecs3, linear: vecs3,
        moment: vecs3, force: vecs3,
    ):  # fmt: skip
        """Adds a link's contacts with planes."""
        e, i = wp.tid()
        r = rotation[e, k, i]
        w = angular[e, k, i]
        v = linear[e, k, i]
        for c in range(first_touch[i], first_touch[i + 1]):
            plane = touch_plane[c]
            n = vec3(plane[0], plane[1], plane[2])
            frame = r * touch_rotation[c]
            axes = touch_axes[c]
            center = position[e, k, i] + rotate(r, touch_point[c])
            scaled = wp.cw_mul(axes, rotate_back(frame, n))
            square = wp.dot(scaled, scaled)
            x = center
            if square > real(0.0):
                # The ellipsoid's point that lies furthest against the normal.
                x = center - rotate(frame, wp.cw_mul(axes, scaled)) / wp.sqrt(square)
            depth = plane[3] - wp.dot(n, x) - wp.dot(n, origin[e])
            if depth > real(0.0):
                u = v + wp.cross(w, x)
                f = push(n, u, depth, touch_material[c], touch_ramp[c])
                torque = twist(n, u, w, depth, touch_material[c], touch_ramp[c], touch_spin[c])
                force[e, k, i] += -f
                moment[e, k, i] += -(wp.cross(x, f) + torque)

    @kernel
    def transmit(
        k: int, num_dofs: int, num_rows: int, joint: ints, first_dof: ints, first_entry: ints,
        entry_dof: ints, entry_coefficient: reals, row_action: ints, row_control: vec2s,
        row_gain: vecs, row_bias: vecs, row_force: vec2s, row_stiffness: reals, row_rest: vec2s,
        row_damping: reals, row_limit: vec2s, row_limit_law: vecs, row_friction: vec2s,
        row_period: reals,
        dof_link: ints, coordinate: ints, action: reals2, q: reals3, qd: reals3, length: reals3,
        rate: reals3, pull: reals3, drive: reals3, tau: reals3,
    ):  # fmt: skip
        """Writes the sum of actuator forces of each dof, and adds those of tendons to `tau`."""
        e = wp.tid()
        for d in range(num_dofs):
            drive[e, k, d] = real(0.0)
        for t in range(num_rows):
            length[e, k, t] = real(0.0)
            rate[e, k, t] = real(0.0)
        for t in range(num_rows):
            for n in range(first_entry[t], first_entry[t + 1]):
                d = entry_dof[n]
                c = coordinate[dof_link[d]]
                x = q[e, k, c]
                if wp.static(balls):
                    if joint[dof_link[d]] == wp.static(BALL):
                        r = quat(q[e, k, c], q[e, k, c + 1], q[e, k, c + 2], q[e, k, c + 3])
                        turned = rotation_vector(r)
                        x = turned[d - first_dof[dof_link[d]]]
                length[e, k, t] += entry_coefficient[n] * x
                rate[e, k, t] += entry_coefficient[n] * qd[e, k, d]
        for t in range(num_rows):
            x = length[e, k, t]
            v = rate[e, k, t]
            g = row_gain[t]
            b = row_bias[t]
            passive = dry(v, row_friction[t]) + stop(x, v, row_limit[t], row_limit_law[t])
            slack = wp.clamp(x, row_rest[t][0], row_rest[t][1])
            passive = passive - row_stiffness[t] * (x - slack) - row_damping[t] * v
            active = real(0.0)
            if row_action[t] >= 0:
                command = wp.clamp(action[e, row_action[t]], real(-1.0), real(1.0))
                u = row_control[t][0] + row_control[t][1] * command
                if wp.static(balls):
                    if row_period[t] > real(0.0):
                        u = u - row_period[t] * wp.round((u - x) / row_period[t])
                free = (g[0] + g[1] * x + g[2] * v) * u + b[0] + b[1] * x + b[2] * v
                active = wp.clamp(free, row_force[t][0], row_force[t][1])
            pull[e, k, t] = passive + active
        for t in range(num_rows):
            for n in range(first_entry[t], first_entry[t + 1]):
                d = entry_dof[n]
                if row_action[t] >= 0:
                    drive[e, k, d] += entry_coefficient[n] * pull[e, k, t]
                else:
                    tau[e, k, d] += entry_coefficient[n] * pull[e, k, t]

    @kernel
    def resist(
        k: int, joint: ints, coordinate: ints, dof_link: ints, lower: reals, upper: reals,
        stop_law: vecs, joint_friction: vec2s, drive_range: vec2s, q: reals3, qd: reals3,
        drive: reals3, tau: reals3,
    ):  # fmt: skip
        """Adds to a dof its limit, its friction, and what its actuators may exert."""
        e, d = wp.tid()
        i = dof_link[d]
        if joint[i] != wp.static(FREE):
            x = q[e, k, coordinate[i]]
            v = qd[e, k, d]
            f = stop(x, v, vec2(lower[d], upper[d]), stop_law[d]) + dry(v, joint_friction[d])
            tau[e, k, d] += f + wp.clamp(drive[e, k, d], drive_range[d][0], drive_range[d][1])

    @kernel
    def confine(
        k: int, num_cones: int, cone_link: ints, cone_angle: reals, cone_law: vecs,
        coordinate: ints, first_dof: ints, q: reals3, qd: reals3, tau: reals3,
    ):  # fmt: skip
        """Adds the limits of ball joints, about the axis by which they are turned."""
        e = wp.tid()
        for n in range(num_cones):
            c = coordinate[cone_link[n]]
            d = first_dof[cone_link[n]]
            turned = rotation_vector(
                quat(q[e, k, c], q[e, k, c + 1], q[e, k, c + 2], q[e, k, c + 3])
            )
            square = wp.dot(turned, turned)
            if square > cone_angle[n] * cone_angle[n]:
                angle = wp.sqrt(square)
                axis = turned / angle
                rate = wp.dot(axis, vec3(qd[e, k, d], qd[e, k, d + 1], qd[e, k, d + 2]))
                f = axis * stop(angle, rate, vec2(-cone_angle[n], cone_angle[n]), cone_law[n])
                for j in range(3):
                    tau[e, k, d + j] += f[j]

    @kernel
    def couple(
        k: int, num_couplings: int, first_dof_of: ints, second_dof_of: ints, reference: vec2s,
        polynomial: reals2, coupling_law: vec2s, dof_link: ints, coordinate: ints, q: reals3,
        qd: reals3, tau: reals3,
    ):  # fmt: skip
        """Adds the springs and dampers that hold one joint to a polynomial of another."""
        e = wp.tid()
        for n in range(num_couplings):
            a = first_dof_of[n]
            b = second_dof_of[n]
            error = q[e, k, coordinate[dof_link[a]]] - reference[n][0] - polynomial[n, 0]
            if b >= 0:
                x = q[e, k, coordinate[dof_link[b]]] - reference[n][1]
                p1 = polynomial[n, 1]
                p2 = polynomial[n, 2]
                p3 = polynomial[n, 3]
                p4 = polynomial[n, 4]
                value = x * (p1 + x * (p2 + x * (p3 + x * p4)))
                slope = p1 + x * (real(2.0) * p2 + x * (real(3.0) * p3 + x * real(4.0) * p4))
                speed = qd[e, k, a] - slope * qd[e, k, b]
                f = -coupling_law[n][0] * (error - value) - coupling_law[n][1] * speed
                tau[e, k, a] += f
                tau[e, k, b] += -slope * f
            else:
                f = -coupling_law[n][0] * error - coupling_law[n][1] * qd[e, k, a]
                tau[e, k, a] += f

    return compensate, immerse, brake, touch, transmit, resist, confine, couple
