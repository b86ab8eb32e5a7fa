# type: ignore  (Warp reads annotations as types of its own)
"""The equations of motion as Warp kernels, in float32 or float64.

A control step is a fixed sequence of small launches (`schedule.py`), recorded once and replayed.
Spatial vectors are pairs (angular, linear) of 3-vectors in world axes at the environment's
`origin`, where the twists and wrenches of different links simply add. The origin is where the root
was at the start of the control step (`origin_coordinates` in `workspace.py` says precisely): the
motion does not depend on it, float32 accuracy does.

Axes of the arrays: e environment, k substep, g mass matrix (one for several substeps), i link,
d dof, c contact.

Warp differentiates these kernels. It does so correctly because every element of an array is written
once, or only added to; because nothing is carried from one iteration of a dynamic loop to the next
in a local variable; and because functions only return values (a backward pass calls them again, so
they must have no side effects). Keep it so: Warp gives no warning when it is not. Where a loop must
accumulate (`invert`, `row_product`) the adjoint is written by hand.
"""

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import warp as wp

from dva.sim.model import FREE, REVOLUTE

__all__ = ["build_kernels"]


@cache
def build_kernels(real: Any) -> SimpleNamespace:
    """Builds the kernels for one floating point type.

    Args:
        real: `wp.float32` or `wp.float64`.

    Returns:
        The kernels, by name. Their arguments are named as the arrays in `workspace.py`.
    """
    vec3 = wp.types.vector(3, real)
    vec4 = wp.types.vector(4, real)
    mat33 = wp.types.matrix((3, 3), real)
    quat = wp.types.quaternion(real)
    ints = wp.array(dtype=int)
    reals = wp.array(dtype=real)
    reals2, reals3, reals4 = (wp.array(dtype=real, ndim=n) for n in (2, 3, 4))
    vecs, vecs3 = wp.array(dtype=vec3), wp.array(dtype=vec3, ndim=3)
    quats, quats3 = wp.array(dtype=quat), wp.array(dtype=quat, ndim=3)
    mats, mats3 = wp.array(dtype=mat33), wp.array(dtype=mat33, ndim=3)
    vec4s = wp.array(dtype=vec4)
    module = f"dva.sim.kernels.float{32 if real == wp.float32 else 64}"
    func = partial(wp.func, module=module)
    kernel = partial(wp.kernel, module=module)
    forward_kernel = partial(wp.kernel, module=module, enable_backward=False)

    @func
    def rotate(r: quat, v: vec3) -> vec3:
        # Exact also for quaternions that are unit only to round-off, when used on both sides.
        u = vec3(r[0], r[1], r[2])
        w = r[3]
        twice = real(2.0)
        return v * (twice * w * w - real(1.0)) + (wp.cross(u, v) * w + u * wp.dot(u, v)) * twice

    @func
    def rotate_back(r: quat, v: vec3) -> vec3:
        u = vec3(r[0], r[1], r[2])
        w = r[3]
        twice = real(2.0)
        return v * (twice * w * w - real(1.0)) + (u * wp.dot(u, v) - wp.cross(u, v) * w) * twice

    # --- from the public interface and back -----------------------------------------------------

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

    # --- position and velocity ------------------------------------------------------------------

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
        position: vecs3, joint_axis: vecs3, angular: vecs3, linear: vecs3,
        bias_angular: vecs3, bias_linear: vecs3, axis_angular: vecs3, axis_linear: vecs3,
    ):  # fmt: skip
        """Writes each dof's motion subspace, each link's twist V and its acceleration at qdd = 0.

        V_i = V_parent + S qd,  A_i = A_parent + V_i x (S qd).
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
                axis_angular[e, k, d] = s_angular
                axis_linear[e, k, d] = s_linear
                own_w = s_angular * qd[e, k, d]
                own_v = s_linear * qd[e, k, d]
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

    # --- mass matrix ----------------------------------------------------------------------------

    @kernel
    def composite(
        k: int, g: int, num_links: int, parent: ints, mass: reals, com: vecs, inertia: mats,
        position: vecs3, rotation: quats3, sub_mass: reals3, sub_com: vecs3, sub_inertia: mats3,
    ):  # fmt: skip
        """Writes mass, mass times centre of mass and inertia about the origin of each subtree."""
        e = wp.tid()
        for i in range(num_links):
            r = rotation[e, k, i]
            center = position[e, k, i] + rotate(r, com[i])
            axes = wp.matrix_from_cols(
                rotate(r, vec3(real(1.0), real(0.0), real(0.0))),
                rotate(r, vec3(real(0.0), real(1.0), real(0.0))),
                rotate(r, vec3(real(0.0), real(0.0), real(1.0))),
            )
            identity = wp.identity(n=3, dtype=real)
            offset = (identity * wp.dot(center, center) - wp.outer(center, center)) * mass[i]
            sub_mass[e, g, i] = mass[i]
            sub_com[e, g, i] = center * mass[i]
            sub_inertia[e, g, i] = axes * inertia[i] * wp.transpose(axes) + offset
        for back in range(num_links):
            j = num_links - 1 - back
            if parent[j] >= 0:
                sub_mass[e, g, parent[j]] += sub_mass[e, g, j]
                sub_com[e, g, parent[j]] += sub_com[e, g, j]
                sub_inertia[e, g, parent[j]] += sub_inertia[e, g, j]

    @kernel
    def momentum(
        k: int, g: int, dof_link: ints, axis_angular: vecs3, axis_linear: vecs3,
        sub_mass: reals3, sub_com: vecs3, sub_inertia: mats3, dof_moment: vecs3, dof_force: vecs3,
    ):  # fmt: skip
        """Writes the momentum of each dof's subtree when only that dof moves, at unit speed."""
        e, d = wp.tid()
        i = dof_link[d]
        w = axis_angular[e, k, d]
        v = axis_linear[e, k, d]
        dof_moment[e, g, d] = sub_inertia[e, g, i] * w + wp.cross(sub_com[e, g, i], v)
        dof_force[e, g, d] = v * sub_mass[e, g, i] + wp.cross(w, sub_com[e, g, i])

    @kernel
    def mass_entry(
        k: int, g: int, pair_i: ints, pair_j: ints, axis_angular: vecs3, axis_linear: vecs3,
        dof_moment: vecs3, dof_force: vecs3, mass_matrix: reals4,
    ):  # fmt: skip
        """Writes entry (j, i) of the mass matrix, i a dof on the path from j to the root."""
        e, p = wp.tid()
        i = pair_i[p]
        j = pair_j[p]
        mass_matrix[e, g, j, i] = wp.dot(axis_angular[e, k, i], dof_moment[e, g, j]) + wp.dot(
            axis_linear[e, k, i], dof_force[e, g, j]
        )

    @forward_kernel
    def invert(
        g: int, num_dofs: int, armature: reals, mass_matrix: reals4, factor: reals4,
        inverse: reals4,
    ):  # fmt: skip
        """Inverts mass matrix + armature: the Cholesky factor L, then L^-1 in its place."""
        e = wp.tid()
        for j in range(num_dofs):
            square = mass_matrix[e, g, j, j] + armature[j]
            for k in range(j):
                square -= factor[e, g, j, k] * factor[e, g, j, k]
            root = wp.sqrt(square)
            factor[e, g, j, j] = root
            for i in range(j + 1, num_dofs):
                value = mass_matrix[e, g, i, j]
                for k in range(j):
                    value -= factor[e, g, i, k] * factor[e, g, j, k]
                factor[e, g, i, j] = value / root
        for j in range(num_dofs):
            factor[e, g, j, j] = real(1.0) / factor[e, g, j, j]
            for i in range(j + 1, num_dofs):
                total = real(0.0)
                for k in range(j, i):
                    total -= factor[e, g, i, k] * factor[e, g, k, j]
                factor[e, g, i, j] = total / factor[e, g, i, i]
        for i in range(num_dofs):
            for j in range(i + 1):
                dot = real(0.0)
                for k in range(i, num_dofs):
                    dot += factor[e, g, k, i] * factor[e, g, k, j]
                inverse[e, g, i, j] = dot
                inverse[e, g, j, i] = dot

    @forward_kernel
    def adjoint_invert(
        k: int, end: int, g: int, pair_i: ints, pair_j: ints, qdd: reals3, adj_tau: reals3,
        adj_mass_matrix: reals4,
    ):  # fmt: skip
        """Adjoint of H -> qdd = H^-1 tau in substeps k to end: H_bar = -sum tau_bar qdd^T.

        With tau_bar = H^-1 qdd_bar, that of `accelerate`. Rounding errors are smaller than on the
        way over the gradient of the inverse, and only the entries that are not zero are formed.
        """
        e, p = wp.tid()
        i = pair_i[p]
        j = pair_j[p]
        total = real(0.0)
        for s in range(k, end):
            total -= adj_tau[e, s, j] * qdd[e, s, i]
            if i != j:
                total -= adj_tau[e, s, i] * qdd[e, s, j]
        adj_mass_matrix[e, g, j, i] = total

    # --- forces ---------------------------------------------------------------------------------

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
        k: int, joint: ints, coordinate: ints, dof_link: ints, stiffness: reals, damping: reals,
        target: reals, lower: reals, upper: reals, limit_stiffness: reals, dof_action: ints,
        gear: reals, action: reals2, q: reals3, qd: reals3, axis_angular: vecs3,
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

    # --- acceleration and integration -----------------------------------------------------------

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
            q[e, k + 1, c] = q[e, k, c] + h * rate

    kernels = (enter, leave, pose, motion, composite, momentum, mass_entry, invert, adjoint_invert)
    kernels += (wrench, sum_wrench, generalized_force, accelerate, integrate)
    return SimpleNamespace(**{k.func.__name__: k for k in kernels})
