"""Hopper: a planar one-legged robot hops forward as fast as it can without falling."""

import math
from dataclasses import dataclass

import torch

from dva.sensors import Scene, View
from dva.tasks.registry import register
from dva.tasks.task import Task, uniform

__all__ = ["Hopper"]


@dataclass(frozen=True)
class Hopper(Task):
    """Hops forward (paper, Appendix E; the published code where the two differ).

    joint_q = (x [m], z [m], pitch [rad], hip, knee, ankle [rad]); z = 0 is the start height, 1.25 m
    above the floor; joint_qd the same coordinates' rates; three actions: the torques of hip, knee
    and ankle in units of 200 N m.
    """

    name: str = "hopper"
    description: str = "hop forward on one leg, in a plane"
    robot: str = "hopper"
    inertia: str = "published"
    episode_length: int = 1000
    substeps: int = 16
    mass_matrix_interval: int = 16
    # Follows x only; 1.25 m is the height of the torso at z = 0.
    view: View = View(
        eye=(0.0, -2.8, 1.25 + 0.8), target=(0.0, 0.0, 1.25), fovy=45.0, mount="torso", follow="x"
    )
    scene: Scene = Scene(wall_y=2.0)

    def start(
        self, n: int, generator: torch.Generator, device: torch.device, stochastic: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stands the robot up: every coordinate and every velocity within 0.05 of zero."""
        middle, half_range = (0.0,) * 6, 0.05 * stochastic
        joint_q = uniform(n, middle, half_range, generator, device)
        joint_qd = uniform(n, middle, half_range, generator, device)
        return joint_q, joint_qd

    def state_observation(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Gives all coordinates but x, then all velocities, shape (N, 11)."""
        return torch.cat([joint_q[:, 1:], joint_qd], dim=1)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Computes ẋ + height + 1 - (pitch / 30°)² - 0.1 Σ a²; shape (N,).

        With D = z + 0.3 clipped to [-1, 0.3], the height term is -200 D² below zero and D above.
        """
        height = (joint_q[:, 1] + 0.3).clamp(-1.0, 0.3)
        height_reward = torch.where(height < 0.0, -200.0 * height**2, height)
        pitch = joint_q[:, 2] / math.radians(30.0)
        action_cost = 0.1 * (action**2).sum(dim=1)
        return joint_qd[:, 0] + height_reward + 1.0 - pitch**2 - action_cost

    def terminated(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> torch.Tensor:
        """Ends an episode when the torso has fallen: z < -0.45 m."""
        return joint_q[:, 1] < -0.45


register(Hopper())
