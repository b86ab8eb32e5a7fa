# type: ignore  (Warp reads annotations as types of its own)
"""Kernels for accelerations and the step in time."""

from types import SimpleNamespace

import warp as wp

from dva.sim.model import BALL, FREE

__all__ = ["integration_kernels"]


def integration_kernels(t: SimpleNamespace) -> tuple[wp.Kernel, ...]:
    """Builds `accelerate` and `integrate`."""
    real, vec3, quat, ints, reals3 = t.real, t.vec3, t.quat, t.ints, t.reals3
    reals4, func, kernel, balls = t.reals4, t.func, t.kernel, t.balls

    @func
    def row_product(
        e: int, k: int, g: int, i: int, num_dofs: int, inverse: reals4, tau: reals3
    ) -> real:
        total = real(0.0)
        for j in range(num_dofs):
            total += inverse[e, g, i, j] * tau[e, k, j]
        return total

    @wp.func_grad(row_product)
    def adjoint_row_product(
        e: int, k: int, g: int, i: int, num_dofs: int, inverse: reals4, tau: reals3, adj_ret: real
    ):
        # The inverse's own gradient is left to `adjoint_invert`.
        for j in range(num_dofs):
            wp.adjoint[tau][e, k, j] += adj_ret * inverse[e, g, i, j]

    @kernel
    def accelerate(k: int, g: int, num_dofs: int, inverse: reals4, tau: reals3, qdd: reals3):
        """Writes qdd = (H + armature)^-1 tau."""
        e, d = wp.tid()
        qdd[e, k, d] = row_product(e, k, g, d, num_dofs, inverse, tau)

    @kernel
    def integrate(
        k: int, h: real, joint: ints, coordinate: ints, first_dof: ints, q: reals3, qd: reals3,
        qdd: reals3,
    ):  # fmt: skip
        """Advances a joint by h seconds, semi-implicit Euler: the new velocity moves it."""
        e, i = wp.tid()
        c = coordinate[i]
        d = first_dof[i]
        if joint[i] == wp.static(FREE):
            w = vec3(
                qd[e, k, d] + h * qdd[e, k, d],
                qd[e, k, d + 1] + h * qdd[e, k, d + 1],
                qd[e, k, d + 2] + h * qdd[e, k, d + 2],
            )
            v = vec3(
                qd[e, k, d + 3] + h * qdd[e, k, d + 3],
                qd[e, k, d + 4] + h * qdd[e, k, d + 4],
                qd[e, k, d + 5] + h * qdd[e, k, d + 5],
            )
            p = vec3(q[e, k, c], q[e, k, c + 1], q[e, k, c + 2])
            r = quat(q[e, k, c + 3], q[e, k, c + 4], q[e, k, c + 5], q[e, k, c + 6])
            next_p = p + (v + wp.cross(w, p)) * h
            next_r = wp.normalize(r + quat(w[0], w[1], w[2], real(0.0)) * r * (real(0.5) * h))
            for j in range(3):
                qd[e, k + 1, d + j] = w[j]
                qd[e, k + 1, d + 3 + j] = v[j]
                q[e, k + 1, c + j] = next_p[j]
            for j in range(4):
                q[e, k + 1, c + 3 + j] = next_r[j]
        else:
            rate = qd[e, k, d] + h * qdd[e, k, d]
            qd[e, k + 1, d] = rate
            moved = q[e, k, c] + h * rate
            if wp.static(balls):
                if joint[i] == wp.static(BALL):
                    w = vec3(
                        rate,
                        qd[e, k, d + 1] + h * qdd[e, k, d + 1],
                        qd[e, k, d + 2] + h * qdd[e, k, d + 2],
                    )
                    r = quat(q[e, k, c], q[e, k, c + 1], q[e, k, c + 2], q[e, k, c + 3])
                    next_r = wp.normalize(
                        r + r * quat(w[0], w[1], w[2], real(0.0)) * (real(0.5) * h)
                    )
                    moved = next_r[0]
                    for j in range(1, 3):
                        qd[e, k + 1, d + j] = w[j]
                    for j in range(1, 4):
                        q[e, k + 1, c + j] = next_r[j]
            q[e, k + 1, c] = moved

    return accelerate, integrate
