# type: ignore  (Warp reads annotations as types of its own)
"""Kernels between the public interface and the coordinates of the kernels."""

from types import SimpleNamespace

import warp as wp

from dva.sim.model import BALL, FREE

__all__ = ["interface_kernels"]


def interface_kernels(t: SimpleNamespace) -> tuple[wp.Kernel, ...]:
    """Builds `enter` and `leave`."""
    vec3, quat, ints, reals2, reals3 = t.vec3, t.quat, t.ints, t.reals2, t.reals3
    vecs, kernel, rotate, balls = t.vecs, t.kernel, t.rotate, t.balls

    @kernel
    def enter(
        joint: ints, coordinate: ints, first_dof: ints, com: vecs, origin: vecs,
        joint_q: reals2, joint_qd: reals2, q: reals3, qd: reals3,
    ):  # fmt: skip
        """Writes the state before substep 0; a free joint's velocity becomes a twist."""
        e, i = wp.tid()
        c = coordinate[i]
        d = first_dof[i]
        if joint[i] == wp.static(FREE):
            p = vec3(joint_q[e, c], joint_q[e, c + 1], joint_q[e, c + 2]) - origin[e]
            r = quat(joint_q[e, c + 3], joint_q[e, c + 4], joint_q[e, c + 5], joint_q[e, c + 6])
            v = vec3(joint_qd[e, d], joint_qd[e, d + 1], joint_qd[e, d + 2])
            w = vec3(joint_qd[e, d + 3], joint_qd[e, d + 4], joint_qd[e, d + 5])
            at_origin = v - wp.cross(w, p + rotate(r, com[i]))
            for j in range(3):
                q[e, 0, c + j] = p[j]
                qd[e, 0, d + j] = w[j]
                qd[e, 0, d + 3 + j] = at_origin[j]
            for j in range(4):
                q[e, 0, c + 3 + j] = r[j]
        else:
            q[e, 0, c] = joint_q[e, c]
            qd[e, 0, d] = joint_qd[e, d]
            if wp.static(balls):
                if joint[i] == wp.static(BALL):
                    for j in range(1, 4):
                        q[e, 0, c + j] = joint_q[e, c + j]
                    for j in range(1, 3):
                        qd[e, 0, d + j] = joint_qd[e, d + j]

    @kernel
    def leave(
        k: int, joint: ints, coordinate: ints, first_dof: ints, com: vecs, origin: vecs,
        q: reals3, qd: reals3, next_q: reals2, next_qd: reals2,
    ):  # fmt: skip
        """Writes the state before substep k in the public interface's terms."""
        e, i = wp.tid()
        c = coordinate[i]
        d = first_dof[i]
        if joint[i] == wp.static(FREE):
            p = vec3(q[e, k, c], q[e, k, c + 1], q[e, k, c + 2])
            r = quat(q[e, k, c + 3], q[e, k, c + 4], q[e, k, c + 5], q[e, k, c + 6])
            w = vec3(qd[e, k, d], qd[e, k, d + 1], qd[e, k, d + 2])
            at_origin = vec3(qd[e, k, d + 3], qd[e, k, d + 4], qd[e, k, d + 5])
            v = at_origin + wp.cross(w, p + rotate(r, com[i]))
            world = p + origin[e]
            for j in range(3):
                next_q[e, c + j] = world[j]
                next_qd[e, d + j] = v[j]
                next_qd[e, d + 3 + j] = w[j]
            for j in range(4):
                next_q[e, c + 3 + j] = r[j]
        else:
            next_q[e, c] = q[e, k, c]
            next_qd[e, d] = qd[e, k, d]
            if wp.static(balls):
                if joint[i] == wp.static(BALL):
                    for j in range(1, 4):
                        next_q[e, c + j] = q[e, k, c + j]
                    for j in range(1, 3):
                        next_qd[e, d + j] = qd[e, k, d + j]

    return enter, leave
