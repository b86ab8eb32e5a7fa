"""The one place where our joint coordinates meet MuJoCo's."""

from typing import overload

import torch

from dva.sim.model import BALL, FREE, Skeleton
from dva.sim.quaternions import rotate

__all__ = ["from_mujoco", "to_mujoco"]


@overload
def to_mujoco(model: Skeleton, joint_q: torch.Tensor) -> torch.Tensor: ...
@overload
def to_mujoco(
    model: Skeleton, joint_q: torch.Tensor, joint_qd: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]: ...


def to_mujoco(
    model: Skeleton, joint_q: torch.Tensor, joint_qd: torch.Tensor | None = None
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Converts coordinates, and velocities if given, to MuJoCo's.

    Hinges, slides and the velocities of ball joints are the same in both. Quaternions are
    (w, x, y, z) in MuJoCo. A free joint's velocity is there that of the body frame's origin, in
    world axes, and the angular velocity in the axes of the body. The velocities of the result
    assume unit quaternions.

    Args:
        model: the robot.
        joint_q: (N, nq).
        joint_qd: (N, nd).

    Returns:
        qpos (N, nq), or the pair qpos (N, nq), qvel (N, nd).
    """
    free = [i for i in range(model.num_links) if model.link_joint[i] == FREE]
    starts = _quaternions(model)
    qpos = joint_q.clone() if starts else joint_q
    for start in starts:
        qpos[:, start : start + 4] = joint_q[:, start : start + 4].roll(1, dims=1)
    if joint_qd is None:
        return qpos
    qvel = joint_qd.clone()
    for i in free:
        c, d = int(model.link_coordinate[i]), int(model.link_dof[i])
        quaternion, angular = joint_q[:, c + 3 : c + 7], joint_qd[:, d + 3 : d + 6]
        com = rotate(quaternion, joint_q.new_tensor(model.link_com[i]).expand(len(joint_q), 3))
        qvel[:, d : d + 3] = joint_qd[:, d : d + 3] - torch.linalg.cross(angular, com)
        conjugate = quaternion * quaternion.new_tensor([-1.0, -1.0, -1.0, 1.0])
        qvel[:, d + 3 : d + 6] = rotate(conjugate, angular)
    return qpos, qvel


def from_mujoco(
    model: Skeleton, qpos: torch.Tensor, qvel: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Converts MuJoCo's coordinates and velocities to ours: the inverse of `to_mujoco`.

    Args:
        model: the robot.
        qpos: (N, nq).
        qvel: (N, nd).

    Returns:
        joint_q (N, nq), joint_qd (N, nd).
    """
    joint_q, joint_qd = qpos.clone(), qvel.clone()
    for start in _quaternions(model):
        joint_q[:, start : start + 4] = qpos[:, start : start + 4].roll(-1, dims=1)
    for i in range(model.num_links):
        if model.link_joint[i] != FREE:
            continue
        c, d = int(model.link_coordinate[i]), int(model.link_dof[i])
        quaternion = joint_q[:, c + 3 : c + 7]
        angular = rotate(quaternion, qvel[:, d + 3 : d + 6])
        com = rotate(quaternion, qpos.new_tensor(model.link_com[i]).expand(len(qpos), 3))
        joint_qd[:, d : d + 3] = qvel[:, d : d + 3] + torch.linalg.cross(angular, com)
        joint_qd[:, d + 3 : d + 6] = angular
    return joint_q, joint_qd


def _quaternions(model: Skeleton) -> list[int]:
    """Lists where in the coordinates a quaternion starts."""
    offset = {FREE: 3, BALL: 0}
    return [
        int(coordinate) + offset[int(joint)]
        for coordinate, joint in zip(model.link_coordinate, model.link_joint, strict=True)
        if int(joint) in offset
    ]
