"""Cartpole swing-up: a cart on a rail throws a hanging pole up and keeps it there."""

import math
from dataclasses import dataclass

import torch

from dva.sensors import Scene, View
from dva.tasks.registry import register
from dva.tasks.task import Task, uniform

__all__ = ["Cartpole"]


@dataclass(frozen=True)
class Cartpole(Task):
    """Swings the pole up (paper, Appendix E; starts, view and limits from the published code).

    joint_q = (x [m], θ [rad]), θ = 0 upright; joint_qd = (ẋ [m/s], θ̇ [rad/s]); one action: the
    force on the cart in units of 1000 N.
    """

    name: str = "cartpole"
    description: str = "swing a pole up by moving the cart it hangs from, and keep it up"
    robot: str = "cartpole"
    inertia: str = "published"
    episode_length: int = 240
    substeps: int = 4
    mass_matrix_interval: int = 4
    # At the height of the rail, which is 1.2 m above the floor.
    view: View = View(eye=(0.0, -2.8, 2.5), target=(0.0, 0.0, 2.5), fovy=90.0)
    scene: Scene = Scene(floor_height=1.3, wall_y=10.0, checker_size=1.0)

    def start(
        self, n: int, generator: torch.Generator, device: torch.device, stochastic: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hangs the pole down: x and θ within π/12 of (0, -π), velocities within 0.05."""
        joint_q = uniform(n, (0.0, -math.pi), math.pi / 12 * stochastic, generator, device)
        joint_qd = uniform(n, (0.0, 0.0), 0.05 * stochastic, generator, device)
        return joint_q, joint_qd

    def state_observation(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Gives (x, ẋ, sin θ, cos θ, θ̇), shape (N, 5)."""
        (x, theta), (x_dot, theta_dot) = joint_q.unbind(1), joint_qd.unbind(1)
        return torch.stack([x, x_dot, theta.sin(), theta.cos(), theta_dot], dim=1)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Computes 10 - θ² - 0.1 θ̇² - 0.05 x² - 0.1 ẋ² with θ wrapped to (-π, π]; shape (N,)."""
        (x, theta), (x_dot, theta_dot) = joint_q.unbind(1), joint_qd.unbind(1)
        angle = torch.atan2(theta.sin(), theta.cos())
        return 10.0 - angle**2 - 0.1 * theta_dot**2 - 0.05 * x**2 - 0.1 * x_dot**2

    def terminated(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> torch.Tensor:
        """Ends an episode when the cart has left the picture: |x| > 2.5 m."""
        return joint_q[:, 0].abs() > 2.5


register(Cartpole())
