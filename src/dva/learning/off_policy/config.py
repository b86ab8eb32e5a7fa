"""Hyperparameters that off-policy methods share."""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dva.compute.arguments import require
from dva.compute.precision import Precision
from dva.learning.algorithm import Preset
from dva.learning.steps import MEMORIES, Memory, bytes_per_step
from dva.spec import ObservationSpec

__all__ = [
    "OffPolicyConfig",
    "Values",
    "build_preset",
    "replay_capacity",
    "require_rates",
    "require_shares",
]

Values = Mapping[str, Any]
"""Values by name: fields of a configuration, of `EnvConfig`, and "env_steps", the planned ones."""


@dataclass
class OffPolicyConfig:
    """What off-policy methods share; the defaults are the paper's for DrQ-v2 (Tables 2 to 4).

    Raises:
        ValueError: a value is outside its range.
    """

    updates: int = 16
    """Updates after each action that the environments have taken."""
    batch_size: int = 256
    """Transitions in one update."""
    action_repeat: int = 2
    """Environment steps for which an action is held."""
    discount: float = 0.99
    """Discount of one action, gamma, however often it is repeated."""
    reward_scale: float = 1.0
    """Factor of the rewards that are learned from. Values of hundreds are slow to learn."""
    seed_steps: int = 4_000
    """Environment steps of random actions before the first update, over all environments."""
    replay_steps: int = 1_000_000
    """Actions that the replay holds at most, over all environments."""
    replay_gigabytes: float = 24.0
    """Memory that the replay takes at most, GB: it holds fewer actions where they need more. The
    metric replay_capacity says how many it holds."""
    replay_memory: Memory = "device"
    """device, or host: in the host's memory, for a GPU whose own is too small."""
    trunk_size: int = 50
    """Width of the layer between encoder and actor, and between encoder and critics."""
    hidden: tuple[int, ...] = (1024, 1024)
    """Widths of the hidden layers of actor and critics."""
    precision: Precision = "auto"
    """Arithmetic of the encoder (parameters: float32). "auto": bfloat16 where it is native."""

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "action_repeat", "replay_steps", "trunk_size"):
            value = getattr(self, name)
            require(name, value, 1 <= value <= 100_000_000, "between 1 and 100,000,000")
        scale = self.reward_scale
        require("reward_scale", scale, 0.0 < scale < math.inf, "above 0")
        require("seed_steps", self.seed_steps, self.seed_steps >= 0, "0 or more")
        valid = 0.0 < self.replay_gigabytes < 1e6
        require("replay_gigabytes", self.replay_gigabytes, valid, "above 0")
        memories = " or ".join(MEMORIES)
        require("replay_memory", self.replay_memory, self.replay_memory in MEMORIES, memories)
        for width in self.hidden:
            require("hidden", self.hidden, width >= 1, "widths of 1 or more")
        require_shares(self, "discount")


def require_shares(config: object, *names: str) -> None:
    """Refuses fields that are not from 0 to 1."""
    for name in names:
        value = getattr(config, name)
        require(name, value, 0.0 <= value <= 1.0, "between 0 and 1")


def require_rates(config: object, *names: str) -> None:
    """Refuses learning rates that are 0 or above 1."""
    for name in names:
        value = getattr(config, name)
        require(name, value, 0.0 < value <= 1.0, "above 0 and at most 1")


def replay_capacity(
    config: OffPolicyConfig, spec: ObservationSpec, action_size: int, device: torch.device
) -> int:
    """Counts the slots that a replay gets: what is asked for, as far as its gigabytes reach.

    Raises:
        ValueError: the machine has not that much memory.
    """
    each = bytes_per_step(spec, action_size)
    slots = min(config.replay_steps, int(config.replay_gigabytes * 1e9 / each))
    if config.replay_memory == "device" and device.type == "cuda":
        return slots  # an allocation that fails there says so
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if slots * each > installed:
        raise ValueError(
            f"replay_gigabytes is {config.replay_gigabytes:g}; {slots:,} steps of {each:,} bytes "
            f"are {slots * each / 1e9:,.0f} GB, and this machine has {installed / 1e9:,.0f} GB. "
            f"Use fewer than {installed / 1e9:,.0f}, or a smaller --replay-steps."
        )
    return slots


def build_preset(config: type, values: Values, observe: tuple[str, ...] | None) -> Preset:
    """Divides values between the algorithm's configuration and the environment's.

    Args:
        config: the algorithm's configuration, an `OffPolicyConfig`.
        values: what differs from defaults, and "env_steps".
        observe: what the policy sees; None: pixels.
    """
    own = {field.name for field in dataclasses.fields(config)}
    algorithm = config(**{name: value for name, value in values.items() if name in own})
    env = {name: x for name, x in values.items() if name not in own and name != "env_steps"}
    return Preset(algorithm, {**env, "observe": observe or ("pixels",)}, values["env_steps"])
