"""Humanoid: a person with 21 motors and a free base runs forward without falling."""

from dataclasses import dataclass

import torch

from dva.sensors import Scene, View
from dva.tasks.locomotion import Locomotion
from dva.tasks.registry import register

__all__ = ["Humanoid"]


@dataclass(frozen=True)
class Humanoid(Locomotion):
    """Runs forward upright (paper, Appendix E; the published code where the two differ).

    Coordinates as in `Locomotion`, joints in the order abdomen (z, y, x); hip (x, z, y), knee and
    ankle (y, x) of the right and of the left leg; shoulder (1, 2) and elbow of the right and of the
    left arm. 21 actions in the same order: torques in units of 35 to 210 N m (the motors'
    gears in the MJCF file).
    """

    name: str = "humanoid"
    description: str = "run forward on two legs"
    robot: str = "humanoid"
    inertia: str = "published"
    episode_length: int = 1000
    substeps: int = 48
    mass_matrix_interval: int = 48
    minimum_height: float = 0.74
    target_distance: float = 200.0
    # From behind, so that the picture shows both sides alike.
    view: View = View(eye=(-3.0, 0.0, 1.0), target=(0.0, 0.0, 0.0), fovy=45.0, mount="torso")
    # No wall, because the robot could walk through it; checks that show from far away.
    scene: Scene = Scene(wall_y=None, checker_size=1.0)

    def reward(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> torch.Tensor:
        """Computes ẋ + 0.1 up + heading + height - 0.002 Σ a² of the base frame's origin, (N,).

        With D = z - 0.84 clipped to [-1, 0.1], the height term is -200 D² below 0 and 10 D above.
        """
        base = self.base_motion(joint_q, joint_qd)
        height = (base.height - (self.minimum_height + 0.1)).clamp(-1.0, 0.1)
        height_reward = torch.where(height < 0.0, -200.0 * height**2, 10.0 * height)
        action_cost = 0.002 * (action**2).sum(dim=1)
        return base.velocity[:, 0] + 0.1 * base.up + base.heading + height_reward - action_cost


register(Humanoid())
