"""What the environment asks of a simulator and a camera.

Any object with these methods can stand in for ours.
"""

from typing import Protocol

import torch

__all__ = ["CameraProtocol", "SimulatorProtocol"]


class SimulatorProtocol(Protocol):
    """Advances robots in generalized coordinates."""

    def step(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Advances all robots by one control step.

        Args:
            joint_q: (N, nq) [m, rad], in the order of the robot's `dva.sim.Model`.
            joint_qd: (N, nd) [m/s, rad/s].
            action: (N, A) in [-1, 1].

        Returns:
            The new joint_q and joint_qd; with torch's graph if the simulator is differentiable.
        """
        ...


class CameraProtocol(Protocol):
    """Takes pictures of robots."""

    def render(self, joint_q: torch.Tensor) -> dict[str, torch.Tensor]:
        """Renders one picture per environment; called once a step, twice where episodes end.

        Args:
            joint_q: (N, nq) [m, rad], with a gradient if the environment's `pixel_gradient` is set.

        Returns:
            At least "rgb", (N, 3, H, W): uint8, or float32 in [0, 255].
        """
        ...
