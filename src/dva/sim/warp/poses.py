"""Link poses without a simulation, for cameras."""

from collections.abc import Iterator
from typing import Any

import torch
import warp as wp

from dva.sim.model import Skeleton
from dva.sim.warp.kernels import build_kernels
from dva.sim.warp.workspace import kinematic_arguments

__all__ = ["LinkPoses"]


class LinkPoses:
    """Places the links of N environments by the simulator's own kernel, in float32.

    Attributes:
        joint_q: joint positions (N, 1, nq), a torch tensor to be written to.
        position: Warp array (N, 1, L) of vectors, world frame [m].
        rotation: Warp array (N, 1, L) of quaternions, world frame.
        arguments: these and the model's constants by name, as the simulator's kernels call them;
            "joint_axis" (N, 1, L) are the joints' axes in the world frame.

    Args:
        model: the robot.
        num_envs: number of environments N.
        device: where the arrays are.
    """

    def __init__(self, model: Skeleton, num_envs: int, device: torch.device) -> None:
        warp_device = wp.device_from_torch(device)
        self._kernel = build_kernels(wp.float32, model.has_balls).pose
        self._num_envs = num_envs
        shape = (num_envs, 1, model.num_links)
        self.joint_q = torch.zeros(num_envs, 1, model.num_coords, device=device)
        self.position = wp.zeros(shape, dtype=wp.vec3, device=warp_device)
        self.rotation = wp.zeros(shape, dtype=wp.quat, device=warp_device)
        self.arguments: dict[str, Any] = {
            **kinematic_arguments(model, wp.float32, warp_device),
            "k": 0,
            "origin": wp.zeros(num_envs, dtype=wp.vec3, device=warp_device),
            "q": wp.from_torch(self.joint_q),
            "position": self.position,
            "rotation": self.rotation,
            "joint_axis": wp.zeros(shape, dtype=wp.vec3, device=warp_device),
        }

    def launches(self) -> Iterator[dict[str, Any]]:
        """Yields the launch that reads `joint_q` and writes the poses, for a `LaunchSequence`."""
        inputs = [self.arguments[argument.label] for argument in self._kernel.adj.args]
        yield {"kernel": self._kernel, "dim": self._num_envs, "inputs": inputs}
