"""Tiny trained runs whose policies are exported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dva import runs
from dva.runs import Run

SMALL: dict[str, dict[str, Any]] = {
    "dva": {"horizon": 4, "observe": ("pixels", "joint_angles")},
    "drqv2": {"seed_steps": 16, "batch_size": 4, "replay_steps": 400, "action_repeat": 2},
    "dreamerv3": {
        "size": "tiny", "seed_steps": 8, "batch_size": 2, "batch_length": 4, "train_ratio": 1.0,
        "replay_steps": 400,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Trains an algorithm for an iteration or two, once for all tests."""
    known: dict[str, Run] = {}

    def get(algo: str) -> Run:
        if algo not in known:
            folder: Path = tmp_path_factory.mktemp("deploy") / algo
            config = runs.default_config(
                "cartpole", algo, "cpu", num_envs=4, image_size=32, env_steps=32, device="cpu",
                threads=1, evaluation_episodes=0, video_interval=0, run_dir=folder, **SMALL[algo],
            )  # fmt: skip
            known[algo] = runs.train(config).run
        return known[algo]

    return get
