"""A robot in its initial pose, in plain numpy: Jacobians and the mass matrix.

For questions about a robot that are asked once; the kernels compute the same for all environments.
"""

import numpy as np

from dva.sim.model import BALL, FREE, REVOLUTE, Skeleton
from dva.sim.quaternions import rotation_matrix

__all__ = ["InitialPose", "velocity_at"]


class InitialPose:
    """A robot in its initial pose; world axes, dofs as in `joint_qd`.

    Attributes:
        position: (L, 3) origins of the links' frames [m].
        rotation: (L, 3, 3) their rotations.

    Args:
        model: the robot.
    """

    def __init__(self, model: Skeleton):
        self._model = model
        self.position = np.zeros((model.num_links, 3))
        self.rotation = np.zeros((model.num_links, 3, 3))
        self._axis = np.zeros((model.num_links, 3))
        self._twists: dict[int, np.ndarray] = {}
        for link in range(model.num_links):
            self._place_link(link)

    def _place_link(self, i: int) -> None:
        model, parent = self._model, self._model.link_parent[i]
        q = model.initial_q[model.link_coordinate[i] :]
        if model.link_joint[i] == FREE:
            self.position[i], self.rotation[i] = q[:3], rotation_matrix(q[3:7])
            return
        position, rotation = model.link_frame[i, :3], rotation_matrix(model.link_frame[i, 3:])
        if parent >= 0:
            position = self.position[parent] + self.rotation[parent] @ position
            rotation = self.rotation[parent] @ rotation
        self._axis[i] = rotation @ model.link_axis[i]
        if model.link_joint[i] == REVOLUTE:
            half = 0.5 * q[0]
            turn = np.append(model.link_axis[i] * np.sin(half), np.cos(half))
            rotation = rotation @ rotation_matrix(turn)
        elif model.link_joint[i] == BALL:
            rotation = rotation @ rotation_matrix(q[:4])
        else:
            position = position + self._axis[i] * q[0]
        self.position[i], self.rotation[i] = position, rotation

    def place(self, link: int, point: np.ndarray) -> np.ndarray:
        """Gives the world position (3,) of a point (3,) in a link's frame; -1 is the world."""
        if link < 0:
            return point
        return self.position[link] + self.rotation[link] @ point

    def jacobian(self, link: int, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gives velocity and angular velocity per dof of a link's material at a world point.

        Args:
            link: the link.
            point: (3,) [m].

        Returns:
            Two matrices (3, nd).
        """
        model = self._model
        linear, angular = np.zeros((2, 3, model.num_dofs))
        while link >= 0:
            dof, arm = model.link_dof[link], point - self.position[link]
            if model.link_joint[link] == FREE:
                # Of the velocity of the centre of mass.
                arm = point - self.place(link, model.link_com[link])
                linear[:, dof : dof + 3] = angular[:, dof + 3 : dof + 6] = np.eye(3)
                linear[:, dof + 3 : dof + 6] = np.cross(np.eye(3), arm).T
            elif model.link_joint[link] == BALL:
                axes = self.rotation[link]
                linear[:, dof : dof + 3] = np.cross(axes.T, arm).T
                angular[:, dof : dof + 3] = axes
            elif model.link_joint[link] == REVOLUTE:
                linear[:, dof] = np.cross(self._axis[link], arm)
                angular[:, dof] = self._axis[link]
            else:
                linear[:, dof] = self._axis[link]
            link = int(model.link_parent[link])
        return linear, angular

    def twist_jacobian(self, link: int) -> np.ndarray:
        """Gives a link's twist per dof (6, nd): the velocity at the world's origin, the angular.

        It is zero for -1, the world. Each is computed once.
        """
        if link not in self._twists:
            if link < 0:
                self._twists[link] = np.zeros((6, self._model.num_dofs))
            else:
                self._twists[link] = np.concatenate(self.jacobian(link, np.zeros(3)))
        return self._twists[link]

    def mass_matrix(self, armature: np.ndarray) -> np.ndarray:
        """Gives the mass matrix (nd, nd) with `armature` (nd,) on its diagonal."""
        model = self._model
        total = np.diag(armature.astype(float))
        for i in range(model.num_links):
            linear, angular = self.jacobian(i, self.place(i, model.link_com[i]))
            inertia = self.rotation[i] @ model.link_inertia[i] @ self.rotation[i].T
            total += model.link_mass[i] * linear.T @ linear + angular.T @ inertia @ angular
        return total


def velocity_at(point: np.ndarray) -> np.ndarray:
    """Gives the matrix (3, 6) from a twist at the origin to the velocity of a point (3,)."""
    x, y, z = point
    return np.array(
        [
            [1.0, 0.0, 0.0, 0.0, z, -y],
            [0.0, 1.0, 0.0, -z, 0.0, x],
            [0.0, 0.0, 1.0, y, -x, 0.0],
        ]
    )
