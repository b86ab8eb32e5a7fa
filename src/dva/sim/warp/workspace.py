"""Memory of the kernels: the model, and blocks with every array of a control step."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import warp as wp

from dva.sim.model import FREE, PRISMATIC, Model, Skeleton
from dva.sim.warp.features import copy_arrays, feature_arguments, feature_kernel_names

__all__ = [
    "StepSize",
    "Workspace",
    "feature_kernel_names",
    "kinematic_arguments",
    "model_arguments",
    "origin_map",
    "workspace_bytes",
]

_ALIGNMENT = 64
"""bytes; arrays in a block start at cache lines."""

_WITHOUT_ADJOINT = ("factor", "inverse", "origin")
"""Arrays that no kernel writes a gradient to."""


@dataclass(frozen=True)
class StepSize:
    """How a control step of `control_dt` seconds is divided.

    Raises:
        ValueError: a number is out of range.
    """

    control_dt: float
    substeps: int
    mass_matrix_interval: int

    def __post_init__(self) -> None:
        if self.control_dt <= 0:
            raise ValueError(f"control_dt is {self.control_dt} s; it must be positive.")
        if self.substeps < 1:
            raise ValueError(f"substeps is {self.substeps}; at least 1 is needed.")
        if not 1 <= self.mass_matrix_interval <= self.substeps:
            raise ValueError(
                f"mass_matrix_interval is {self.mass_matrix_interval}; allowed are 1 to substeps "
                f"({self.substeps}), since a mass matrix is not kept beyond its control step."
            )

    @property
    def mass_matrices(self) -> int:
        """Number of mass matrices formed in a control step."""
        return math.ceil(self.substeps / self.mass_matrix_interval)


def model_arguments(model: Model, real: Any, device: Any) -> dict[str, Any]:
    """Copies a model to the device, as the kernels' arguments by name."""
    vec3, vec4 = wp.types.vector(3, real), wp.types.vector(4, real)
    mat33 = wp.types.matrix((3, 3), real)
    pairs = model.dof_pairs()
    # The kernels want the contacts of a link side by side.
    order = np.argsort(model.contact_link, kind="stable")
    first = np.searchsorted(model.contact_link[order], np.arange(model.num_links + 1))
    values = {
        "gravity": (model.gravity[None], vec3),
        "mass": (model.link_mass, real),
        "com": (model.link_com, vec3),
        "inertia": (model.link_inertia, mat33),
        "armature": (model.dof_armature, real),
        "stiffness": (model.dof_stiffness, real),
        "damping": (model.dof_damping + model.dof_limit_damping, real),
        "target": (model.dof_target, real),
        "lower": (model.dof_limit[:, 0], real),
        "upper": (model.dof_limit[:, 1], real),
        "limit_stiffness": (model.dof_limit_stiffness, real),
        "dof_action": (model.dof_action, int),
        "gear": (model.dof_gear, real),
        "pair_i": (pairs[:, 0], int),
        "pair_j": (pairs[:, 1], int),
        "first_contact": (first, int),
        "contact_point": (model.contact_point[order], vec3),
        "contact_radius": (model.contact_radius[order], real),
        "contact_material": (model.contact_material[order], vec4),
    }
    return (
        kinematic_arguments(model, real, device)
        | copy_arrays(values, device)
        | feature_arguments(model, real, device)
    )


def kinematic_arguments(skeleton: Skeleton, real: Any, device: Any) -> dict[str, Any]:
    """Copies what places a robot's links to the device: the part of `model_arguments` for that."""
    vec3, quat = wp.types.vector(3, real), wp.types.quaternion(real)
    values = {
        "joint": (skeleton.link_joint, int),
        "parent": (skeleton.link_parent, int),
        "frame_position": (skeleton.link_frame[:, :3], vec3),
        "frame_rotation": (skeleton.link_frame[:, 3:], quat),
        "axis": (skeleton.link_axis, vec3),
        "coordinate": (skeleton.link_coordinate, int),
        "first_dof": (skeleton.link_dof, int),
        "dof_link": (skeleton.dof_link, int),
    }
    sizes = {"num_links": skeleton.num_links, "num_dofs": skeleton.num_dofs}
    return copy_arrays(values, device) | sizes


def _layout(model: Model, step: StepSize, real: Any, n: int) -> dict[str, tuple[Any, tuple]]:
    """Element type and shape of every array of a control step."""
    vec3, quat = wp.types.vector(3, real), wp.types.quaternion(real)
    mat33 = wp.types.matrix((3, 3), real)
    links, dofs, coords = model.num_links, model.num_dofs, model.num_coords
    k, g = step.substeps, step.mass_matrices
    layout: dict[str, tuple[Any, tuple]] = {
        "joint_q": (real, (n, coords)),
        "joint_qd": (real, (n, dofs)),
        "action": (real, (n, max(model.num_actions, 1))),
        "next_q": (real, (n, coords)),
        "next_qd": (real, (n, dofs)),
        "origin": (vec3, (n,)),
        "q": (real, (n, k + 1, coords)),
        "qd": (real, (n, k + 1, dofs)),
        "rotation": (quat, (n, k, links)),
        "sub_mass": (real, (n, g, links)),
        "sub_inertia": (mat33, (n, g, links)),
    }
    of_links = ("position", "joint_axis", "angular", "linear", "bias_angular", "bias_linear")
    layout |= {name: (vec3, (n, k, links)) for name in (*of_links, "moment", "force")}
    layout |= {name: (vec3, (n, k, dofs)) for name in ("axis_angular", "axis_linear")}
    layout |= {name: (real, (n, k, dofs)) for name in ("tau", "qdd")}
    layout |= {name: (vec3, (n, g, dofs)) for name in ("dof_moment", "dof_force")}
    layout["sub_com"] = (vec3, (n, g, links))
    features = feature_kernel_names(model)
    if "transmit" in features:
        rows = len(model.transmissions or ())
        layout |= {name: (real, (n, k, rows)) for name in ("length", "rate", "pull")}
    if "resist" in features:
        layout["drive"] = (real, (n, k, dofs))
    matrices = ("mass_matrix", "factor", "inverse")
    return layout | {name: (real, (n, g, dofs, dofs)) for name in matrices}


def workspace_bytes(model: Model, step: StepSize, dtype: torch.dtype) -> int:
    """Counts the bytes that one environment takes in a `Workspace`."""
    layout = _layout(model, step, wp.dtype_from_torch(dtype), 1)
    numbers = sum(
        math.prod((*shape, *getattr(element, "_shape_", ()))) for element, shape in layout.values()
    )
    return numbers * dtype.itemsize


class Workspace:
    """One block of memory with every array of one control step, or of its adjoint.

    Attributes:
        block: all of it, flat.
        arrays: its parts as torch tensors, by name.
        arguments: its parts as Warp arrays, by name.
    """

    def __init__(
        self,
        model: Model,
        step: StepSize,
        num_envs: int,
        dtype: torch.dtype,
        device: torch.device,
        adjoint: bool = False,
    ):
        real = wp.dtype_from_torch(dtype)
        align = _ALIGNMENT // dtype.itemsize
        parts, size = {}, 0
        for name, (element, shape) in _layout(model, step, real, num_envs).items():
            if adjoint and name in _WITHOUT_ADJOINT:
                continue
            full = (*shape, *getattr(element, "_shape_", ()))
            parts[name] = (element, full, size)
            size += -(-math.prod(full) // align) * align
        self.block = torch.zeros(size, dtype=dtype, device=device)
        self.arrays: dict[str, torch.Tensor] = {}
        self.arguments: dict[str, wp.array] = {}
        for name, (element, shape, start) in parts.items():
            view = self.block[start : start + math.prod(shape)].view(shape)
            self.arrays[name] = view
            self.arguments[name] = wp.from_torch(view, dtype=element, requires_grad=False)


def origin_map(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the origin of twists and wrenches: where the root stands.

    A free root is the origin itself: its twist is then its own velocity, and lever arms are short,
    so that little cancels in the mass matrix. The root of a planar robot is carried by its leading
    slides; if it touches the ground, its origin is on the ground below, since rounding errors of
    heights are then smallest at the contacts, whose stiffness multiplies them.

    Returns:
        A fixed point (3,), and the direction in which each coordinate carries it (nq, 3).
    """
    directions = np.zeros((model.num_coords, 3))
    if model.link_joint[0] == FREE:
        start = int(model.link_coordinate[0])
        directions[start : start + 3] = np.eye(3)
        return np.zeros(3), directions
    mask = np.array([1.0, 1.0, 0.0 if model.num_contacts else 1.0])
    point = np.zeros(3)
    for i in range(model.num_links):
        turned = not np.allclose(model.link_frame[i, 3:6], 0)
        if model.link_parent[i] != i - 1 or turned:
            break
        point = point + model.link_frame[i, :3]
        if model.link_joint[i] != PRISMATIC:
            break
        directions[int(model.link_coordinate[i])] = model.link_axis[i] * mask
    return point * mask, directions
