"""What defines an environment, as a configuration that is stored with every run."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from dva.compute.arguments import require
from dva.sensors import CAMERA_KINDS, CameraKind
from dva.sim import StateStorage

__all__ = ["EnvConfig"]


@dataclass
class EnvConfig:
    """Task, number of robots, and what the policy sees; defaults are the paper's.

    Raises:
        ValueError: a value is outside its range.
    """

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
    """Task to train on; `dva list` shows them. MODULE:NAME for one of your own."""
    num_envs: int = 64
    """Environments stepped in parallel, N."""
    observe: tuple[str, ...] = ("pixels",)
    """What the policy sees: pixels, state, depth, segmentation, joint_angles, or sensors of the
    task's own, one or several. Critics always see the state."""
    camera: CameraKind = "hard"
    """What pictures the images; only the differentiable camera passes gradients."""
    image_size: int = 84
    """Height and width of the images, pixels."""
    frame_stack: int = 3
    """Consecutive images that form one observation."""
    simulator: str = "warp"
    """What advances the robots: warp, our own; MODULE:NAME for one of yours."""
    state_storage: StateStorage = "full"
    """recompute: keep less of the physics for its gradient, and compute each step twice."""

    def __post_init__(self) -> None:
        for name in ("num_envs", "frame_stack"):
            value = getattr(self, name)
            require(name, value, 1 <= value <= MAX_COUNT, f"between 1 and {MAX_COUNT:,}")
        require("image_size", self.image_size, 1 <= self.image_size <= 4096, "between 1 and 4096")
        require("observe", self.observe, len(self.observe) > 0, 'one name or more, such as "state"')
        require("camera", self.camera, self.camera in CAMERA_KINDS, " or ".join(CAMERA_KINDS))
        storages = ("full", "recompute")
        require(
            "state_storage", self.state_storage, self.state_storage in storages,
            " or ".join(storages),
        )  # fmt: skip


MAX_COUNT = 1_000_000
"""Environments at most: more fit into no memory."""
