"""Hyperparameters, each with its meaning below it."""

from dataclasses import dataclass
from typing import Literal

from dva.compute.precision import Precision

__all__ = ["DvaConfig", "LearnerConfig", "Observe", "ShacConfig"]

Observe = Literal["pixels", "state"]


@dataclass
class LearnerConfig:
    """What D.Va and SHAC share; the defaults are the paper's for Cartpole (Tables 7 and 8).

    Raises:
        ValueError: a value is outside its range.
    """

    observe: Observe = "pixels"
    """What the policy sees; the critic always sees the state."""
    camera: Literal["hard", "differentiable"] = "hard"
    """What pictures the policy's images; only the differentiable camera passes gradients."""
    num_envs: int = 64
    """Environments stepped in parallel, N."""
    horizon: int = 32
    """Steps of one rollout, h."""
    iterations: int = 4000
    """Planned training iterations; the learning rates reach their final value there."""
    image_size: int = 84
    """Height and width of the images, pixels."""
    frame_stack: int = 3
    """Consecutive frames that form one observation."""
    discount: float = 0.99
    """Discount of one step, gamma."""
    td_lambda: float = 0.95
    """Weight of long returns in the critic's targets, lambda."""
    trunk_size: int = 64
    """Width of the layer between encoder and policy."""
    actor_hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Widths of the critic's hidden layers."""
    log_std_init: float = -1.0
    """Initial log standard deviation of the action before tanh."""
    actor_learning_rate: float = 2e-3
    """Learning rate of the actor at the first iteration."""
    critic_learning_rate: float = 2e-4
    """Learning rate of the critic at the first iteration."""
    final_learning_rate: float = 1e-5
    """Learning rate of both at the last planned iteration; linear between."""
    adam_betas: tuple[float, float] = (0.7, 0.95)
    """Decay rates of Adam's two moments."""
    max_grad_norm: float = 1.0
    """Gradient norm at which actor and critic are clipped."""
    critic_iterations: int = 16
    """Passes over the rollout's states when the critic is fitted."""
    critic_minibatches: int = 4
    """Minibatches of one pass."""
    target_alpha: float = 0.2
    """Share of itself the target critic keeps in each iteration, alpha."""
    precision: Precision = "auto"
    """Arithmetic of the encoder (parameters: float32). "auto": bfloat16 where it is native."""

    @property
    def pixels(self) -> bool:
        """Whether the policy sees images."""
        return self.observe == "pixels"

    def __post_init__(self) -> None:
        for name in (
            "num_envs", "horizon", "iterations", "frame_stack", "trunk_size", "critic_iterations",
            "critic_minibatches",
        ):  # fmt: skip
            _require(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        _require("image_size", self.image_size, self.image_size >= 15, "15 or more")
        for name in ("discount", "td_lambda", "target_alpha"):
            value = getattr(self, name)
            _require(name, value, 0.0 <= value <= 1.0, "between 0 and 1")
        for name in ("actor_learning_rate", "critic_learning_rate", "max_grad_norm"):
            _require(name, getattr(self, name), getattr(self, name) > 0.0, "above 0")
        allowed = ("pixels", "state")
        _require("observe", self.observe, self.observe in allowed, '"pixels" or "state"')


@dataclass
class DvaConfig(LearnerConfig):
    """Hyperparameters of D.Va."""

    micro_batch: int | None = None
    """Images in one piece of the regression: sets its peak memory only. None: by memory_budget."""
    memory_budget: float | None = None
    """Memory for the regression's activations, MB, if micro_batch is None. None: 32 for each thread
    of a CPU, 2048 on CUDA."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            "micro_batch", self.micro_batch, self.micro_batch is None or self.micro_batch >= 1,
            "1 or more, or None",
        )  # fmt: skip
        _require(
            "memory_budget", self.memory_budget,
            self.memory_budget is None or self.memory_budget > 0.0, "above 0, or None",
        )  # fmt: skip


@dataclass
class ShacConfig(LearnerConfig):
    """Hyperparameters of SHAC."""

    observe: Observe = "state"
    """What the policy sees; with "pixels" the camera must be differentiable."""


def _require(name: str, value: object, condition: bool, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}.")
