"""A robot of your own: `pendulum_robot.xml`, beside this file, and a task for it.

dva doctor pendulum_task:pendulum
dva train pendulum_task:pendulum --minutes 5
"""

from dataclasses import dataclass

import torch

from dva import tasks
from dva.sensors import View


@dataclass(frozen=True)
class Pendulum(tasks.Task):
    """Lifts the arm upright and keeps it there.

    joint_q = angle [rad], 0 hanging down; joint_qd its rate [rad/s]; one action, the torque in
    units of 2 N m.
    """

    name: str = "pendulum"
    description: str = "lift an arm upright and keep it there"
    robot: str = "pendulum_robot.xml"
    episode_length: int = 200
    substeps: int = 8
    mass_matrix_interval: int = 8
    view: View = View(eye=(0.0, -2.0, 1.0), target=(0.0, 0.0, 1.0), fovy=45.0)

    def start(
        self, n: int, generator: torch.Generator, device: torch.device, stochastic: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hangs the arm within 0.5 rad of straight down, at rest."""
        joint_q = tasks.uniform(n, (0.0,), 0.5 * stochastic, generator, device)
        return joint_q, torch.zeros(n, 1, device=device)

    def state_observation(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Gives sine and cosine of the angle and the rate, (N, 3)."""
        return torch.cat([joint_q.sin(), joint_q.cos(), joint_qd], dim=1)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Height of the tip in units of the arm, less a little for speed and torque, (N,)."""
        height = -joint_q[:, 0].cos()
        return height - 0.01 * joint_qd[:, 0] ** 2 - 0.01 * action[:, 0] ** 2


tasks.register(Pendulum())
