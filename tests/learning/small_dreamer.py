"""DreamerV3 small enough for tests, on the point mass or on any other environment."""

from typing import Any

from point_mass import PointMass

from dva.envs import Environment
from dva.learning import DreamerV3, DreamerV3Config, TrainingContext
from dva.learning.world_model import config
from dva.learning.world_model.config import ModelSize

SMALLEST = ModelSize(deter=16, units=16, classes=4, channels=8, categoricals=4, blocks=2)
VALUES: dict[str, Any] = {
    "size": "smallest", "batch_size": 3, "batch_length": 6, "train_ratio": 3.0, "seed_steps": 80,
    "replay_steps": 600, "imagination_horizon": 3, "precision": "float32",
    "model_learning_rate": 1e-3, "actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3,
}  # fmt: skip

config.SIZES["smallest"] = SMALLEST
config.SIZES["learning"] = ModelSize(
    deter=32, units=32, classes=4, channels=4, categoricals=8, blocks=2
)


def small_dreamer(env: Environment | None = None, seed: int = 0, **changes: Any) -> DreamerV3:
    """Makes DreamerV3 for an environment, by default 6 point masses."""
    threads = changes.pop("threads", 1)
    values = DreamerV3Config(**{**VALUES, **changes})
    return DreamerV3(env or PointMass(6), values, TrainingContext(10_000, seed, threads))
