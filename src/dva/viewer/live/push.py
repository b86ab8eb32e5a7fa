"""A push: an impulse on one body of a robot, as a change of its velocities."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dva.sim import Model, Skeleton
from dva.sim.mass import InitialPose

__all__ = ["pushable", "velocity_change"]


def velocity_change(
    model: Skeleton, joint_q: np.ndarray, body: int, impulse: Sequence[float]
) -> np.ndarray:
    """Computes what an impulse at a body's centre of mass adds to the velocities: M⁻¹ Jᵀ p.

    The centre of mass is that of the body and of everything that is rigidly attached to it. Joints
    pass the impulse on, without friction, and whatever the robot touches takes no part of it.

    Args:
        model: the robot.
        joint_q: (nq,), where it is.
        body: number of the body.
        impulse: (3,) in world axes [N s].

    Returns:
        (nd,), to be added to `joint_qd`; zero for a body that does not move.
    """
    link = int(model.body_link[body])
    if link < 0:
        return np.zeros(model.num_dofs)
    posed: Any = dataclasses.replace(model, initial_q=np.asarray(joint_q, float))
    pose = InitialPose(posed)
    jacobian, _ = pose.jacobian(link, pose.place(link, model.link_com[link]))
    armature = model.dof_armature if isinstance(model, Model) else np.zeros(model.num_dofs)
    return np.linalg.solve(pose.mass_matrix(armature), jacobian.T @ np.asarray(impulse, float))


def pushable(model: Skeleton) -> dict[str, int]:
    """Lists the bodies that a push can move, by name, the base first."""
    return {
        name or f"body {body}": body
        for body, name in enumerate(model.body_names)
        if model.body_link[body] >= 0 and model.link_mass[model.body_link[body]] > 0
    }
