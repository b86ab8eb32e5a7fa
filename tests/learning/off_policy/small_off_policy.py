"""Off-policy methods small enough for tests, on the point mass or on any other environment."""

from typing import Any

from point_mass import PointMass

from dva.envs import Environment
from dva.learning import CURL, CurlConfig, DrQV2, DrqV2Config, TrainingContext

SHARED: dict[str, Any] = {
    "updates": 2, "batch_size": 8, "seed_steps": 24, "replay_steps": 400, "trunk_size": 8,
    "hidden": (16,), "precision": "float32", "replay_gigabytes": 0.1,
}  # fmt: skip


def small_drqv2(
    env: Environment | None = None, seed: int = 0, threads: int | None = None, **changes: Any
) -> DrQV2:
    """Makes DrQ-v2 for an environment, by default 4 point masses."""
    config = DrqV2Config(**{**SHARED, "noise_steps": 400, **changes})
    return DrQV2(env or PointMass(4), config, TrainingContext(10_000, seed, threads=threads))


def small_curl(
    env: Environment | None = None, seed: int = 0, threads: int | None = None, **changes: Any
) -> CURL:
    """Makes CURL for an environment, by default 4 point masses painted on 18 pixels."""
    config = CurlConfig(**{**SHARED, "crop_size": 16, **changes})
    env = env or PointMass(4, image_size=18)
    return CURL(env, config, TrainingContext(10_000, seed, threads=threads))
