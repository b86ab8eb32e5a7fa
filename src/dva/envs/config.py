"""What defines an environment, as a configuration that is stored with every run."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from dva.compute import arguments
from dva.compute.arguments import require
from dva.sensors import CAMERA_KINDS, CameraKind
from dva.sim import StateStorage

__all__ = ["EnvConfig"]


@dataclass
class EnvConfig:
    """Defines the task, the number of robots, and what the policy sees; defaults are the paper's.

    Raises:
        ValueError: a value is outside its range.
    """

    task: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK", help_behavior_hint="(required)")
    ]
    """Task to train on; `dva list` shows all. MODULE:NAME for one of your own."""
    num_envs: int = 64
    """Environments stepped in parallel, N."""
    observe: tuple[str, ...] = ("pixels",)
    """What the policy sees, one or more of: pixels, state, depth, segmentation, joint_angles, and
    the task's own sensors. Critics always see the state."""
    camera: CameraKind = "hard"
    """Which camera renders images; only the differentiable one passes gradients."""
    image_size: int = 84
    """Height and width of the images, pixels."""
    frame_stack: int = 3
    """Number of consecutive images in one observation."""
    simulator: str = "warp"
    """What simulates the robots: warp, which is ours, or MODULE:NAME for one of your own."""
    state_storage: StateStorage = "full"
    """full or recompute; recompute keeps less of the physics for its gradient and computes each
    step twice."""

    def __post_init__(self) -> None:
        for name in ("num_envs", "frame_stack"):
            arguments.count(name, getattr(self, name))
        arguments.image_size(self.image_size)
        require("observe", self.observe, len(self.observe) > 0, 'one name or more, such as "state"')
        once = isinstance(self.observe, str) or len(set(self.observe)) == len(self.observe)
        require("observe", self.observe, once, "names that differ: give each once")
        require("camera", self.camera, self.camera in CAMERA_KINDS, " or ".join(CAMERA_KINDS))
        storages = ("full", "recompute")
        require(
            "state_storage", self.state_storage, self.state_storage in storages,
            " or ".join(storages),
        )  # fmt: skip
