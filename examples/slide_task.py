"""A task in one file: a cart slides to x = 1 m.

dva random slide_task:slide
dva train slide_task:slide --minutes 5
"""

from dataclasses import dataclass

import torch

from dva import tasks
from dva.sensors import View


@dataclass(frozen=True)
class Slide(tasks.Task):
    """Moves the cart of `cartpole` to x = 1 m and stops it there.

    joint_q = (x [m], angle of the pole [rad]), joint_qd their rates [m/s, rad/s]; one action, the
    force on the cart in units of 1000 N.
    """

    name: str = "slide"
    description: str = "slide the cart to a mark"
    robot: str = "cartpole"
    episode_length: int = 120
    substeps: int = 4
    mass_matrix_interval: int = 4
    view: View = View(eye=(0.0, -4.0, 2.5), target=(0.0, 0.0, 2.5), fovy=60.0)

    def start(
        self, n: int, generator: torch.Generator, device: torch.device, stochastic: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts the cart within 0.1 m of x = 0, at rest, with the pole within 0.1 rad of upright."""
        joint_q = tasks.uniform(n, (0.0, 0.0), 0.1 * stochastic, generator, device)
        return joint_q, torch.zeros(n, 2, device=device)

    def state_observation(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Gives positions and velocities, (N, 4)."""
        return torch.cat([joint_q, joint_qd], dim=1)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Minus the squared distance to the mark and a little of the squared speed, (N,)."""
        return -((joint_q[:, 0] - 1.0) ** 2) - 0.01 * joint_qd[:, 0] ** 2

    def terminated(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> torch.Tensor:
        """The cart is beyond the ends of its rail: |x| > 3 m."""
        return joint_q[:, 0].abs() > 3.0


tasks.register(Slide())
