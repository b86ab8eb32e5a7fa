"""What tests of the live viewer share."""

import dataclasses
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from made_sources import CountingPolicy, task_source  # noqa: E402

from dva import runs, tasks  # noqa: E402
from dva.envs import make  # noqa: E402
from dva.runs import Run  # noqa: E402
from dva.viewer.live.source import Source  # noqa: E402


@pytest.fixture
def with_viser() -> None:
    """Skips a test where viser is not installed, unless CI is set: there it must be."""
    if not os.environ.get("CI"):
        pytest.importorskip("viser")


@pytest.fixture
def counting() -> Source:
    """A task whose episodes last three steps, with a `CountingPolicy`."""
    task = dataclasses.replace(tasks.get("cartpole"), episode_length=3)
    with closing(make(task, 1, "cpu", observe="state", threads=1)) as env:
        policy = CountingPolicy(env.policy_spec, env.action_spec)
    return task_source(task, policy=policy)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Run]:
    """Trains Cartpole for two iterations, once for all tests."""
    known: list[Run] = []

    def get() -> Run:
        if not known:
            config = runs.default_config(
                "cartpole", "dva", "cpu", num_envs=4, horizon=4, image_size=32, env_steps=32,
                device="cpu", threads=1, evaluation_episodes=0, video_interval=0,
                run_dir=tmp_path_factory.mktemp("viewer") / "tiny",
            )  # fmt: skip
            known.append(runs.train(config).run)
        return known[0]

    return get
