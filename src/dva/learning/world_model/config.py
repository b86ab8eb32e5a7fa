"""Hyperparameters of DreamerV3, and its presets."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from dva.compute.arguments import require
from dva.compute.errors import require_known
from dva.compute.precision import Precision
from dva.learning.algorithm import PRESETS, Preset
from dva.learning.steps import MEMORIES, Memory

__all__ = ["SIZES", "DreamerV3Config", "ModelSize", "choose_preset"]

DecoderKind = Literal["reconstruction", "none"]
DECODERS = ("reconstruction", "none")


@dataclass(frozen=True)
class ModelSize:
    """Says how large the networks are."""

    deter: int
    """D, length of the deterministic part of a latent state."""
    units: int
    """Width of the hidden layers."""
    classes: int
    """K, classes of each categorical of the stochastic part."""
    channels: int
    """Channels of the first convolution; each further one has twice as many."""
    categoricals: int = 32
    """S, categoricals of the stochastic part."""
    blocks: int = 8
    """G, blocks of the recurrent weights."""


SIZES = {
    "tiny": ModelSize(deter=256, units=64, classes=8, channels=8, categoricals=16, blocks=4),
    "1m": ModelSize(deter=512, units=64, classes=4, channels=4),
    **{
        name: ModelSize(deter=8 * width, units=width, classes=width // 16, channels=width // 16)
        for name, width in (("12m", 256), ("25m", 384), ("50m", 512), ("100m", 768), ("200m", 1024))
    },
}
"""Sizes by name. From 12m on they are those of the DreamerV3 paper: 8 d recurrent units, d / 16
classes and channels, for hidden layers of width d."""


@dataclass
class DreamerV3Config:
    """Hyperparameters of DreamerV3; the defaults are those of D.Va's comparison (Table 6).

    Raises:
        ValueError: a value is outside its range.
    """

    size: str = "12m"
    """Size of the networks: tiny, 1m, 12m, 25m, 50m, 100m or 200m."""
    decoder: DecoderKind = "reconstruction"
    """What ties latent states to observations: reconstruction, a decoder of them, or none, a loss
    that decorrelates features."""
    center_images: bool = False
    """Subtract the mean image of the random actions at the start from images, so that their
    background need not be learned."""
    train_ratio: float = 512.0
    """Steps that updates replay for each one taken; a step is an action, repeated or not."""
    batch_size: int = 16
    """Sequences in a batch."""
    batch_length: int = 64
    """Steps of a sequence."""
    replay_steps: int = 1_000_000
    """Actions that the replay holds, over all environments."""
    replay_memory: Memory = "device"
    """device, or host: in the host's memory, for a GPU whose own is too small."""
    seed_steps: int = 2_000
    """Environment steps of random actions before the first update, over all environments; more if
    a sequence needs more."""
    action_repeat: int = 2
    """Environment steps for which an action is repeated."""
    imagination_horizon: int = 15
    """Steps of an imagined trajectory."""
    discount: float = 0.997
    """Discount of one step, gamma."""
    td_lambda: float = 0.95
    """Weight of long returns in the critic's targets, lambda."""
    model_learning_rate: float = 1e-4
    """Learning rate of the world model."""
    actor_learning_rate: float = 3e-5
    """Learning rate of the actor."""
    critic_learning_rate: float = 3e-5
    """Learning rate of the critic."""
    final_rate_share: float = 1.0
    """Share of these rates that is left at the last planned step; linear between."""
    dynamics_scale: float = 0.5
    """Weight of the loss that lets the prior follow the posterior."""
    representation_scale: float = 0.1
    """Weight of the loss that keeps the posterior near the prior."""
    free_nats: float = 1.0
    """Divergence of posterior and prior that costs nothing."""
    redundancy_scale: float = 0.05
    """Weight of the loss that decorrelates features, without a decoder."""
    redundancy_weight: float = 5e-3
    """Weight, within that loss, of correlations between different features."""
    entropy_scale: float = 3e-4
    """Weight of the bonus for the entropy of actions."""
    return_decay: float = 0.99
    """Share of itself that the range of returns keeps in an update."""
    critic_decay: float = 0.98
    """Share of itself that the critic's slow copy keeps in an update."""
    precision: Precision = "auto"
    """Arithmetic of the convolutions (parameters: float32). "auto": bfloat16 where it is native."""

    def __post_init__(self) -> None:
        require_known("size", self.size, SIZES)
        require_known("decoder", self.decoder, DECODERS)
        for name in (
            "batch_size", "replay_steps", "action_repeat", "imagination_horizon",
        ):  # fmt: skip
            value = getattr(self, name)
            require(name, value, 1 <= value <= 1_000_000_000, "between 1 and 1,000,000,000")
        require("batch_length", self.batch_length, self.batch_length >= 2, "2 or more")
        require("seed_steps", self.seed_steps, self.seed_steps >= 0, "0 or more")
        require_known("replay_memory", self.replay_memory, MEMORIES)
        require("train_ratio", self.train_ratio, self.train_ratio > 0.0, "above 0")
        for name in ("discount", "td_lambda", "return_decay", "critic_decay"):
            value = getattr(self, name)
            require(name, value, 0.0 <= value <= 1.0, "between 0 and 1")
        for name in ("model_learning_rate", "actor_learning_rate", "critic_learning_rate"):
            value = getattr(self, name)
            require(name, value, 0.0 < value <= 1.0, "above 0 and at most 1")
        share = self.final_rate_share
        require("final_rate_share", share, 0.0 <= share <= 1.0, "between 0 and 1")
        for name in (
            "dynamics_scale", "representation_scale", "free_nats", "redundancy_scale",
            "redundancy_weight", "entropy_scale",
        ):  # fmt: skip
            value = getattr(self, name)
            require(name, value, 0.0 <= value <= 1e6, "between 0 and 1,000,000")

    @property
    def model_size(self) -> ModelSize:
        """The sizes that `size` names."""
        return SIZES[self.size]


# Table 6 of D.Va has no size of the networks: the smallest of DreamerV3's own.
_PAPER: dict[str, Any] = {"num_envs": 4, "image_size": 64, "frame_stack": 1}
_CPU: dict[str, Any] = {
    **_PAPER,
    "image_size": 48,
    "num_envs": 8,
    "size": "tiny",
    "center_images": True,
    "batch_size": 8,
    "batch_length": 16,
    "train_ratio": 16.0,
    "replay_steps": 100_000,
    "discount": 0.99,
    "model_learning_rate": 1e-3,
    "actor_learning_rate": 5e-4,
    "critic_learning_rate": 1e-3,
    "final_rate_share": 0.1,
}
_FAST: dict[str, Any] = {**_PAPER, "num_envs": 16, "train_ratio": 128.0}
_VALUES = {"paper": _PAPER, "cpu": _CPU, "fast": _FAST}


def choose_preset(task: str, name: str, observe: tuple[str, ...] | None) -> Preset:
    """Builds the values of a preset; they are the same for every task.

    Args:
        task: name of the task.
        name: "paper", "cpu" or "fast".
        observe: what the policy sees; None: pixels.

    Raises:
        UsageError: there is no preset of that name.
    """
    require_known("preset", name, PRESETS)
    values = _VALUES[name]
    own = {field.name for field in dataclasses.fields(DreamerV3Config)}
    env = {key: value for key, value in values.items() if key not in own}
    algorithm = DreamerV3Config(**{key: x for key, x in values.items() if key in own})
    return Preset(algorithm, {**env, "observe": observe or ("pixels",)}, 1_000_000)
