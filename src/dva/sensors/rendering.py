"""What every renderer is given."""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from dataclasses import dataclass, field
from typing import Any, Protocol

import mujoco
import torch

from dva.sensors.scene import Scene, View
from dva.sim import Skeleton

__all__ = ["Renderer", "Setup"]


@dataclass(frozen=True)
class Setup:
    """What a camera renders."""

    model: Skeleton
    view: View
    scene: Scene
    mj_model: mujoco.MjModel
    """The robot in its surroundings, compiled."""
    image_size: tuple[int, int]
    """(height, width)."""
    outputs: tuple[str, ...]
    samples: int
    """Rays per pixel along each axis."""
    device: torch.device
    capture: bool = True
    """Whether launches are recorded as a graph and replayed as a whole, where a renderer can."""
    shared: dict[str, Any] = field(default_factory=dict, compare=False)
    """What the renderers of one camera share, each under a name of its own."""

    def allocate(self, num_envs: int) -> dict[str, torch.Tensor]:
        """Allocates the outputs of n environments; shapes as in `Camera.render`."""
        shape = (num_envs, *self.image_size)
        kinds = {
            "rgb": ((num_envs, 3, *self.image_size), torch.uint8),
            "depth": (shape, torch.float32),
            "segmentation": (shape, torch.int32),
        }
        return {
            name: torch.empty(kinds[name][0], dtype=kinds[name][1], device=self.device)
            for name in self.outputs
        }


class Renderer(Protocol):
    """Renders a fixed number n of environments; has buffers of its own."""

    def render(self, joint_q: torch.Tensor, images: dict[str, torch.Tensor]) -> None:
        """Renders joint positions (n, nq) into images as `Setup.allocate` makes them."""
        ...
