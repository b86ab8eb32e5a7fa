"""Tiny trained runs, and their policies exported, each made once for all tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dva import runs
from dva.deploy import Export, export_run
from dva.runs import Run

OFF_POLICY = {"seed_steps": 16, "batch_size": 4, "replay_steps": 400, "action_repeat": 2}
KINDS: dict[str, dict[str, Any]] = {
    "dva": {"horizon": 4, "observe": ("pixels", "joint_angles")},
    "dva-state": {"horizon": 4, "observe": ("state",), "actor_hidden": (256, 256)},
    "shac": {"horizon": 4, "actor_hidden": (256, 256)},
    "ppo": {"horizon": 4, "minibatches": 1, "epochs": 1},
    "dagger": {"horizon": 4, "learning_starts": 0, "batch": 8, "max_updates": 2},
    "drqv2": OFF_POLICY,
    "curl": {**OFF_POLICY, "crop_size": 28},
    "dreamerv3": {
        "size": "tiny", "seed_steps": 8, "batch_size": 2, "batch_length": 4, "train_ratio": 1.0,
        "replay_steps": 400,
    },
}  # fmt: skip
"""What is trained, by the algorithm and perhaps what it sees."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Names each of `KINDS` in turn."""
    return request.param


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Trains one of `KINDS` for an iteration or two."""
    known: dict[str, Run] = {}

    def get(kind: str) -> Run:
        if kind not in known:
            folder: Path = tmp_path_factory.mktemp("deploy") / kind
            values = {"expert": get("dva-state").path} if kind == "dagger" else {}
            config = runs.default_config(
                "cartpole", kind.partition("-")[0], "cpu", num_envs=4, image_size=32, env_steps=32,
                device="cpu", threads=1, evaluation_episodes=0, video_interval=0, run_dir=folder,
                **KINDS[kind], **values,
            )  # fmt: skip
            known[kind] = runs.train(config).run
        return known[kind]

    return get


@pytest.fixture(scope="session")
def exported(
    trained: Callable[[str], Run], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Export]:
    """Exports the policy of one of `KINDS`, in int8 too."""
    known: dict[str, Export] = {}

    def get(kind: str) -> Export:
        if kind not in known:
            folder: Path = tmp_path_factory.mktemp("exported")
            known[kind] = export_run(trained(kind), folder / "policy.onnx", int8=True)
        return known[kind]

    return get
