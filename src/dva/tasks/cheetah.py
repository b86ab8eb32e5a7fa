"""Cheetah: a planar robot with two legs runs forward as fast as it can."""

from dataclasses import dataclass

import torch

from dva.sensors import Scene, View
from dva.tasks.registry import register
from dva.tasks.task import Task, uniform

__all__ = ["Cheetah"]


@dataclass(frozen=True)
class Cheetah(Task):
    """Runs forward (a task of the published code; the paper's Appendix E does not describe it).

    joint_q = (x [m], z [m], pitch [rad], bthigh, bshin, bfoot, fthigh, fshin, ffoot [rad]); z = 0
    is 1 m above the floor; joint_qd the same coordinates' rates; six actions: the torques of the
    leg joints in units of 200 N m.
    """

    name: str = "cheetah"
    description: str = "run forward on two legs, in a plane"
    robot: str = "cheetah"
    inertia: str = "published"
    episode_length: int = 1000
    substeps: int = 16
    mass_matrix_interval: int = 16
    # Follows x only, 0.35 m above the floor.
    view: View = View(
        eye=(0.0, -3.0, 0.35), target=(0.0, 0.0, 0.35), fovy=45.0, mount="torso", follow="x"
    )
    scene: Scene = Scene(wall_y=2.0)

    def start(
        self, n: int, generator: torch.Generator, device: torch.device, stochastic: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Drops the robot from 0.8 m: coordinates within 0.1 of that, velocities within 0.25."""
        middle = (0.0, -0.2, *(0.0,) * 7)
        joint_q = uniform(n, middle, 0.1 * stochastic, generator, device)
        joint_qd = uniform(n, (0.0,) * 9, 0.25 * stochastic, generator, device)
        return joint_q, joint_qd

    def state_observation(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Gives all coordinates but x, then all velocities, shape (N, 17)."""
        return torch.cat([joint_q[:, 1:], joint_qd], dim=1)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Computes ẋ - 0.1 Σ a², shape (N,). The task never fails."""
        return joint_qd[:, 0] - 0.1 * (action**2).sum(dim=1)


register(Cheetah())
