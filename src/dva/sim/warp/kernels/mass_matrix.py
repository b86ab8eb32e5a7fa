# type: ignore  (Warp reads annotations as types of its own)
"""Kernels for the mass matrix and its inverse."""

from types import SimpleNamespace

import warp as wp

__all__ = ["mass_matrix_kernels"]


def mass_matrix_kernels(t: SimpleNamespace) -> tuple[wp.Kernel, ...]:
    """Builds `composite`, `momentum`, `mass_entry`, `invert` and `adjoint_invert`."""
    real, vec3, ints, reals, reals3 = t.real, t.vec3, t.ints, t.reals, t.reals3
    reals4, vecs, vecs3, quats3, mats = t.reals4, t.vecs, t.vecs3, t.quats3, t.mats
    mats3, kernel, forward_kernel, rotate = t.mats3, t.kernel, t.forward_kernel, t.rotate

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

    return composite, momentum, mass_entry, invert, adjoint_invert
