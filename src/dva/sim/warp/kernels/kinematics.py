# type: ignore  (Warp reads annotations as types of its own)
"""Kernels for positions and velocities."""

from types import SimpleNamespace

import warp as wp

from dva.sim.model import BALL, FREE, REVOLUTE

__all__ = ["kinematics_kernels"]


def kinematics_kernels(t: SimpleNamespace) -> tuple[wp.Kernel, ...]:
    """Builds `pose` and `motion`."""
    real, vec3, quat, ints, reals3 = t.real, t.vec3, t.quat, t.ints, t.reals3
    vecs, vecs3, quats, quats3, kernel = t.vecs, t.vecs3, t.quats, t.quats3, t.kernel
    rotate, balls = t.rotate, t.balls

    @kernel
    def pose(
        k: int, num_links: int, joint: ints, parent: ints, frame_position: vecs,
        frame_rotation: quats, axis: vecs, coordinate: ints, origin: vecs,
        q: reals3, position: vecs3, rotation: quats3, joint_axis: vecs3,
    ):  # fmt: skip
        """Writes every link's pose, and its joint axis in world axes, from the root outward."""
        e = wp.tid()
        for i in range(num_links):
            c = coordinate[i]
            if joint[i] == wp.static(FREE):
                position[e, k, i] = vec3(q[e, k, c], q[e, k, c + 1], q[e, k, c + 2])
                rotation[e, k, i] = quat(
                    q[e, k, c + 3], q[e, k, c + 4], q[e, k, c + 5], q[e, k, c + 6]
                )
            else:
                p = frame_position[i] - origin[e]
                r = frame_rotation[i]
                if parent[i] >= 0:
                    outer = rotation[e, k, parent[i]]
                    p = position[e, k, parent[i]] + rotate(outer, frame_position[i])
                    r = outer * frame_rotation[i]
                world_axis = rotate(r, axis[i])
                joint_axis[e, k, i] = world_axis
                if wp.static(balls):
                    if joint[i] == wp.static(BALL):
                        r = r * quat(q[e, k, c], q[e, k, c + 1], q[e, k, c + 2], q[e, k, c + 3])
                if joint[i] == wp.static(REVOLUTE):
                    half = q[e, k, c] * real(0.5)
                    u = axis[i] * wp.sin(half)
                    position[e, k, i] = p
                    rotation[e, k, i] = r * quat(u[0], u[1], u[2], wp.cos(half))
                else:
                    position[e, k, i] = p + world_axis * q[e, k, c]
                    rotation[e, k, i] = r

    @kernel
    def motion(
        k: int, num_links: int, joint: ints, parent: ints, first_dof: ints, qd: reals3,
        position: vecs3, rotation: quats3, joint_axis: vecs3, angular: vecs3, linear: vecs3,
        bias_angular: vecs3, bias_linear: vecs3, axis_angular: vecs3, axis_linear: vecs3,
    ):  # fmt: skip
        """Writes each dof's motion subspace, each link's twist V and its acceleration at qdd = 0.

        V_i = V_parent + S qd,  A_i = A_parent + V_i x (S qd). A ball joint turns about the axes of
        its own link.
        """
        e = wp.tid()
        for i in range(num_links):
            d = first_dof[i]
            if joint[i] == wp.static(FREE):
                # S is the identity, and V x V = 0.
                angular[e, k, i] = vec3(qd[e, k, d], qd[e, k, d + 1], qd[e, k, d + 2])
                linear[e, k, i] = vec3(qd[e, k, d + 3], qd[e, k, d + 4], qd[e, k, d + 5])
                bias_angular[e, k, i] = vec3()
                bias_linear[e, k, i] = vec3()
                x = vec3(real(1.0), real(0.0), real(0.0))
                y = vec3(real(0.0), real(1.0), real(0.0))
                z = vec3(real(0.0), real(0.0), real(1.0))
                axis_angular[e, k, d] = x
                axis_angular[e, k, d + 1] = y
                axis_angular[e, k, d + 2] = z
                axis_linear[e, k, d + 3] = x
                axis_linear[e, k, d + 4] = y
                axis_linear[e, k, d + 5] = z
            else:
                s_angular = vec3()
                s_linear = joint_axis[e, k, i]
                if joint[i] == wp.static(REVOLUTE):
                    s_angular = joint_axis[e, k, i]
                    s_linear = wp.cross(position[e, k, i], joint_axis[e, k, i])
                if wp.static(balls):
                    if joint[i] == wp.static(BALL):
                        r = rotation[e, k, i]
                        s_angular = rotate(r, vec3(real(1.0), real(0.0), real(0.0)))
                        s_linear = wp.cross(position[e, k, i], s_angular)
                axis_angular[e, k, d] = s_angular
                axis_linear[e, k, d] = s_linear
                own_w = s_angular * qd[e, k, d]
                own_v = s_linear * qd[e, k, d]
                if wp.static(balls):
                    if joint[i] == wp.static(BALL):
                        p = position[e, k, i]
                        r = rotation[e, k, i]
                        y = rotate(r, vec3(real(0.0), real(1.0), real(0.0)))
                        z = rotate(r, vec3(real(0.0), real(0.0), real(1.0)))
                        axis_angular[e, k, d + 1] = y
                        axis_angular[e, k, d + 2] = z
                        axis_linear[e, k, d + 1] = wp.cross(p, y)
                        axis_linear[e, k, d + 2] = wp.cross(p, z)
                        more = y * qd[e, k, d + 1] + z * qd[e, k, d + 2]
                        own_w = own_w + more
                        own_v = own_v + wp.cross(p, more)
                if parent[i] >= 0:
                    w = angular[e, k, parent[i]] + own_w
                    v = linear[e, k, parent[i]] + own_v
                    angular[e, k, i] = w
                    linear[e, k, i] = v
                    bias_angular[e, k, i] = bias_angular[e, k, parent[i]] + wp.cross(w, own_w)
                    bias_linear[e, k, i] = (
                        bias_linear[e, k, parent[i]] + wp.cross(v, own_w) + wp.cross(w, own_v)
                    )
                else:
                    angular[e, k, i] = own_w
                    linear[e, k, i] = own_v
                    bias_angular[e, k, i] = vec3()
                    bias_linear[e, k, i] = vec3()

    return pose, motion
