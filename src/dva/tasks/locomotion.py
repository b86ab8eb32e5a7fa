"""What the tasks of robots with a free base share: observation, uprightness, heading, starts."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from dva.sim import BALL, Skeleton, read_skeleton
from dva.sim.quaternions import multiply, rotate
from dva.tasks.task import Task, constant, uniform

__all__ = ["BaseMotion", "Locomotion"]

ANGLE_RANGE = math.pi / 24
"""Starts are turned by up to this angle [rad]."""
POSITION_RANGE, JOINT_RANGE, VELOCITY_RANGE = 0.1, 0.2, 0.25
"""Starts are within these of the middle [m, rad, m/s and rad/s]."""


class BaseMotion(NamedTuple):
    """Where the base is and how it moves, world axes; every field is (N,) or (N, 3)."""

    height: torch.Tensor
    """z of the base frame's origin [m], (N,)."""
    velocity: torch.Tensor
    """Velocity of the base frame's origin [m/s], (N, 3); not that of the centre of mass."""
    angular: torch.Tensor
    """Angular velocity [rad/s], (N, 3)."""
    up: torch.Tensor
    """z component of the base's z axis, 1 when upright, (N,)."""
    heading: torch.Tensor
    """Cosine between the base's x axis and the horizontal direction to the target, (N,)."""


@dataclass(frozen=True)
class Locomotion(Task):
    """Runs along x with a free base. A subclass adds its robot's numbers and its reward.

    joint_q = (position of the base frame [m], its quaternion (x, y, z, w), joint angles [rad]),
    joint_qd = (velocity of the base's centre of mass [m/s], angular velocity [rad/s], joint
    rates [rad/s]); world axes, x forward, z up. The base comes first in the MJCF, its frame is
    aligned with the world in the start pose, and the MJCF's first keyframe is the middle of the
    starts.
    """

    minimum_height: float = 0.0
    """The episode ends when the base is below this [m]."""
    target_distance: float = 10_000.0
    """The robot should look towards a point this far ahead of the start along x [m]."""

    def start(
        self, n: int, generator: torch.Generator, device: torch.device, stochastic: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts the robot at the keyframe, disturbed (paper's code).

        Each coordinate of the base within 0.1 m, the base turned by an angle within pi / 24 about
        a random axis, joints within 0.2 rad, ball joints about a random axis. Velocities are within
        0.25: those of the joints, and for the base its twist (angular velocity, velocity of the
        point that is at the world's origin).
        """
        model = _robot(self.mjcf)
        middle = tuple(model.initial_q.tolist())
        position = uniform(n, middle[:3], POSITION_RANGE * stochastic, generator, device)
        rotation = _small_rotation(n, ANGLE_RANGE * stochastic, generator, device)
        rotation = multiply(rotation, constant(middle[3:7], device).expand(n, 4))
        joints = uniform(n, middle[7:], JOINT_RANGE * stochastic, generator, device)
        for first in model.link_coordinate[model.link_joint == BALL]:
            part = slice(int(first) - 7, int(first) - 3)
            turned = _small_rotation(n, JOINT_RANGE * stochastic, generator, device)
            joints[:, part] = multiply(constant(middle[7:][part], device).expand(n, 4), turned)
        speed = VELOCITY_RANGE * stochastic
        twist = uniform(n, (0.0,) * model.num_dofs, speed, generator, device)
        angular, at_origin, rates = twist.split([3, 3, model.num_dofs - 6], dim=1)
        center = position + self._center_offset(rotation)
        velocity = at_origin + torch.linalg.cross(angular, center)
        joint_q = torch.cat([position, rotation, joints], dim=1)
        return joint_q, torch.cat([velocity, angular, rates], dim=1)

    def state_observation(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Gives base height, quaternion, velocity of the base frame's origin, angular velocity,
        joint angles, 0.1 times joint rates, up, heading, action; shape (N, 13 + 2 A' + A) with A'
        joints and A actions."""
        base = self.base_motion(joint_q, joint_qd)
        columns = [base.height[:, None], joint_q[:, 3:7], base.velocity, base.angular]
        columns += [joint_q[:, 7:], 0.1 * joint_qd[:, 6:]]
        columns += [base.up[:, None], base.heading[:, None], action]
        return torch.cat(columns, dim=1)

    def terminated(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> torch.Tensor:
        """The base is below `minimum_height`."""
        return joint_q[:, 2] < self.minimum_height

    def base_motion(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> BaseMotion:
        """Derives what observation and reward are made of.

        Args:
            joint_q: (N, nq).
            joint_qd: (N, nd).
        """
        position, rotation = joint_q[:, :3], joint_q[:, 3:7]
        velocity, angular = joint_qd[:, :3], joint_qd[:, 3:6]
        velocity = velocity - torch.linalg.cross(angular, self._center_offset(rotation))
        # The start pose is aligned with the world, so the base's own axes tell its attitude.
        x, y, z, w = rotation.unbind(1)
        up = 2.0 * (w * w + z * z) - 1.0
        ahead = 2.0 * (w * w + x * x) - 1.0
        left = 2.0 * (x * y + w * z)
        start_x, start_y = (float(v) for v in _robot(self.mjcf).initial_q[:2])
        to_x = start_x + self.target_distance - position[:, 0]
        to_y = start_y - position[:, 1]
        heading = (ahead * to_x + left * to_y) / (to_x**2 + to_y**2).sqrt()
        return BaseMotion(position[:, 2], velocity, angular, up, heading)

    def _center_offset(self, rotation: torch.Tensor) -> torch.Tensor:
        """Gives the vector (N, 3) from the base frame's origin to its centre of mass."""
        center = tuple(_robot(self.mjcf).link_com[0].tolist())
        vector = constant(center, rotation.device, rotation.dtype)
        return rotate(rotation, vector.expand(len(rotation), 3))


@cache
def _robot(path: Path) -> Skeleton:
    """Reads what starts and observations need; the full import is the simulator's."""
    return read_skeleton(path)


def _small_rotation(
    n: int, angle_range: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Draws quaternions (n, 4): an angle uniform in +-`angle_range` about any axis alike."""
    axis = torch.randn((n, 3), generator=generator, device=device)
    half = 0.5 * uniform(n, (0.0,), angle_range, generator, device)
    return torch.cat([torch.nn.functional.normalize(axis, dim=1) * half.sin(), half.cos()], dim=1)
