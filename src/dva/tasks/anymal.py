"""ANYmal: a four-legged robot with a free base runs forward as fast as it can."""

from dataclasses import dataclass

import torch

from dva.sensors import Scene, View
from dva.tasks.locomotion import Locomotion
from dva.tasks.registry import register

__all__ = ["Anymal"]


@dataclass(frozen=True)
class Anymal(Locomotion):
    """Runs forward (a task of the paper's code; its appendix does not describe it).

    Coordinates as in `Locomotion`, joints in the order hip about x, hip about y, knee of the front
    left, front right, hind left and hind right leg; twelve actions: the joints' torques in
    units of 200 N m. Springs of 85 N m/rad pull every joint towards angle zero: straight legs.
    """

    name: str = "anymal"
    description: str = "run forward on four jointed legs"
    robot: str = "anymal"
    inertia: str = "published"
    episode_length: int = 1000
    substeps: int = 16
    mass_matrix_interval: int = 16
    minimum_height: float = 0.25
    view: View = View(eye=(1.0, -2.0, 1.0), target=(0.0, 0.0, 0.0), fovy=45.0, mount="trunk")
    # No wall, because the robot could walk through it; checks that show from far away.
    scene: Scene = Scene(wall_y=None, checker_size=1.0)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Computes ẋ + 0.1 up + heading + z - 0.25 - 0.005 Σ a² of the base frame, (N,)."""
        base = self.base_motion(joint_q, joint_qd)
        height = base.height - self.minimum_height
        action_cost = 0.005 * (action**2).sum(dim=1)
        return base.velocity[:, 0] + 0.1 * base.up + base.heading + height - action_cost


register(Anymal())
