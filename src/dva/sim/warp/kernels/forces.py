# type: ignore  (Warp reads annotations as types of its own)
"""Kernels for inertial, gravity, contact and joint forces."""

from types import SimpleNamespace

import warp as wp

from dva.sim.model import BALL, FREE

__all__ = ["force_kernels"]


def force_kernels(t: SimpleNamespace) -> tuple[wp.Kernel, ...]:
    """Builds `wrench`, `sum_wrench` and `generalized_force`."""
    real, vec3, quat, ints, reals, reals2 = t.real, t.vec3, t.quat, t.ints, t.reals, t.reals2
    reals3, vecs, vecs3, quats3, mats = t.reals3, t.vecs, t.vecs3, t.quats3, t.mats
    vec4s, kernel, rotate, rotate_back = t.vec4s, t.kernel, t.rotate, t.rotate_back
    rotation_vector, balls = t.rotation_vector, t.balls

    @kernel
    def wrench(
        k: int, gravity: vecs, mass: reals, com: vecs, inertia: mats, first_contact: ints,
        contact_point: vecs, contact_radius: reals, contact_material: vec4s, origin: vecs,
        position: vecs3, rotation: quats3, angular: vecs3, linear: vecs3, bias_angular: vecs3,
        bias_linear: vecs3, moment: vecs3, force: vecs3,
    ):  # fmt: skip
        """Writes I A + V x* (I V) - gravity - contact of a link, held by its joint at qdd = 0."""
        e, i = wp.tid()
        r = rotation[e, k, i]
        w = angular[e, k, i]
        v = linear[e, k, i]
        if mass[i] > real(0.0):
            center = position[e, k, i] + rotate(r, com[i])
            a = bias_angular[e, k, i]
            linear_momentum = (v + wp.cross(w, center)) * mass[i]
            spin = rotate(r, inertia[i] * rotate_back(r, w)) + wp.cross(center, linear_momentum)
            push = (bias_linear[e, k, i] + wp.cross(a, center) - gravity[0]) * mass[i]
            twist = rotate(r, inertia[i] * rotate_back(r, a)) + wp.cross(center, push)
            force[e, k, i] = push + wp.cross(w, linear_momentum)
            moment[e, k, i] = twist + wp.cross(w, spin) + wp.cross(v, linear_momentum)
        else:
            force[e, k, i] = vec3()
            moment[e, k, i] = vec3()
        for c in range(first_contact[i], first_contact[i + 1]):
            x = position[e, k, i] + rotate(r, contact_point[c])
            x = x - vec3(real(0.0), real(0.0), contact_radius[c])
            depth = -x[2] - origin[e][2]
            if depth > real(0.0):
                material = contact_material[c]
                u = v + wp.cross(w, x)
                elastic = material[0] * depth
                # Damping grows with depth and acts only while approaching, so it never pulls.
                normal = elastic + material[1] * depth * wp.max(-u[2], real(0.0))
                slip = vec3(u[0], u[1], real(0.0))
                square = wp.dot(slip, slip)
                friction = vec3()
                if square > real(0.0):
                    # The cap uses the elastic part of the normal force only.
                    speed = wp.sqrt(square)
                    friction = slip * (-wp.min(material[2] * speed, material[3] * elastic) / speed)
                elif material[3] * elastic > real(0.0):
                    # At rest below the cap: no force, but its slope is that of slow slip.
                    friction = slip * (-material[2])
                f = friction + vec3(real(0.0), real(0.0), normal)
                force[e, k, i] += -f
                moment[e, k, i] += -wp.cross(x, f)

    @kernel
    def sum_wrench(k: int, num_links: int, parent: ints, moment: vecs3, force: vecs3):
        """Adds each link's wrench to its parent's, from the leaves inward."""
        e = wp.tid()
        for back in range(num_links):
            i = num_links - 1 - back
            if parent[i] >= 0:
                force[e, k, parent[i]] += force[e, k, i]
                moment[e, k, parent[i]] += moment[e, k, i]

    @kernel
    def generalized_force(
        k: int, joint: ints, coordinate: ints, first_dof: ints, dof_link: ints, stiffness: reals,
        damping: reals, target: reals, lower: reals, upper: reals, limit_stiffness: reals,
        dof_action: ints, gear: reals, action: reals2, q: reals3, qd: reals3, axis_angular: vecs3,
        axis_linear: vecs3, moment: vecs3, force: vecs3, tau: reals3,
    ):  # fmt: skip
        """Writes the force of a dof: its subtree's wrench, spring, damping, limit and action."""
        e, d = wp.tid()
        i = dof_link[d]
        held = wp.dot(axis_angular[e, k, d], moment[e, k, i]) + wp.dot(
            axis_linear[e, k, d], force[e, k, i]
        )
        if joint[i] == wp.static(FREE):
            tau[e, k, d] = -held
        else:
            x = q[e, k, coordinate[i]]
            if wp.static(balls):
                if joint[i] == wp.static(BALL):
                    c = coordinate[i]
                    r = quat(q[e, k, c], q[e, k, c + 1], q[e, k, c + 2], q[e, k, c + 3])
                    turned = rotation_vector(r)
                    x = turned[d - first_dof[i]]
            passive = -stiffness[d] * (x - target[d]) - damping[d] * qd[e, k, d]
            limit = real(0.0)
            if x < lower[d]:
                limit = limit_stiffness[d] * (lower[d] - x)
            if x > upper[d]:
                limit = limit_stiffness[d] * (upper[d] - x)
            drive = real(0.0)
            if dof_action[d] >= 0:
                drive = gear[d] * wp.clamp(action[e, dof_action[d]], real(-1.0), real(1.0))
            tau[e, k, d] = passive + limit + drive - held

    return wrench, sum_wrench, generalized_force
