"""Ant: a robot with four legs and a free base runs forward as fast as it can."""

from dataclasses import dataclass

import torch

from dva.sensors import Scene, View
from dva.tasks.locomotion import Locomotion
from dva.tasks.registry import register

__all__ = ["Ant"]


@dataclass(frozen=True)
class Ant(Locomotion):
    """Runs forward (paper, Appendix E; the published code where the two differ).

    Coordinates as in `Locomotion`, joints in the order hip, ankle of the front left, back left,
    back right and front right leg; eight actions: the joints' torques in units of 200 N m.
    """

    name: str = "ant"
    description: str = "run forward on four legs"
    robot: str = "ant"
    inertia: str = "published"
    episode_length: int = 1000
    substeps: int = 16
    mass_matrix_interval: int = 16
    minimum_height: float = 0.27
    view: View = View(eye=(0.5, -2.0, 1.0), target=(0.0, 0.0, 0.0), fovy=60.0, mount="torso")
    # No wall, because the robot could walk through it.
    scene: Scene = Scene(wall_y=None)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Computes ẋ + 0.1 up + heading + z - 0.27 of the base frame's origin, (N,)."""
        base = self.base_motion(joint_q, joint_qd)
        height = base.height - self.minimum_height
        return base.velocity[:, 0] + 0.1 * base.up + base.heading + height


register(Ant())
