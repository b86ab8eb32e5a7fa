"""A training small enough for tests: seconds on one core."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dva import runs

STEPS = 4 * 4
"""Environment steps of one iteration."""


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., runs.TrainConfig]:
    """Makes configurations of 4 environments, 4 steps and 32x32 pixels, without extras."""

    def make(name: str = "run", **changes: Any) -> runs.TrainConfig:
        values: dict[str, Any] = {
            "num_envs": 4,
            "horizon": 4,
            "image_size": 32,
            "env_steps": 20 * STEPS,
            "device": "cpu",
            "threads": 1,
            "evaluation_episodes": 0,
            "video_interval": 0,
            "run_dir": tmp_path / name,
        }
        return runs.default_config("cartpole", preset="cpu", **{**values, **changes})

    return make
