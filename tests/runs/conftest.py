"""A training small enough for tests: seconds on one core."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dva import learning, runs
from dva.learning import AlgorithmEntry, registry

sys.path.insert(0, str(Path(__file__).parent))

from own_algorithms import Config, Linear, Plain  # noqa: E402

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


@pytest.fixture
def own(tiny: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes configurations that train from states with a user's own algorithm."""
    monkeypatch.setattr(registry._ALGORITHMS, "entries", dict(registry._ALGORITHMS.entries))

    def make(make_it: Any = Plain, policy: Any = Linear, **changes: Any) -> runs.TrainConfig:
        entry = AlgorithmEntry("own", "a test's", Config, make_it, policy)
        learning.register(entry, replace=True)
        values: dict[str, Any] = {
            "num_envs": 4, "observe": "state", "env_steps": 6 * STEPS, "device": "cpu",
            "threads": 1, "evaluation_episodes": 0, "video_interval": 0,
            "run_dir": tmp_path / "own",
        }  # fmt: skip
        return runs.default_config("cartpole", "own", **{**values, **changes})

    return make
