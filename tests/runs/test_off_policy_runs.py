"""Runs of off-policy methods: killed and resumed they go on as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killing import Killed, kill_at, repeatable

from dva import runs
from dva.runs import Run

ITERATION = 4 * 2
"""Environment steps of one iteration: 4 environments, each action held twice."""
VALUES: dict[str, Any] = {
    "num_envs": 4, "image_size": 24, "updates": 2, "batch_size": 4, "hidden": (8,),
    "trunk_size": 4, "seed_steps": 3 * ITERATION, "replay_steps": 60, "device": "cpu",
    "threads": 1, "evaluation_episodes": 0, "video_interval": 0, "env_steps": 18 * ITERATION,
}  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., runs.TrainConfig]:
    """Makes configurations of an algorithm; its replay's ring goes round."""

    def make(algo: str, name: str = "run", **changes: Any) -> runs.TrainConfig:
        own = {"crop_size": 20} if algo == "curl" else {}
        values = {**VALUES, **own, "run_dir": tmp_path / name, **changes}
        return runs.default_config("cartpole", algo, **values)

    return make


@pytest.mark.parametrize("algo", ["drqv2", "curl"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(small: Any, algo: str) -> None:
    options = {"checkpoint_interval": 4 * ITERATION}
    whole = runs.train(small(algo, "whole", **options)).run
    config = small(algo, **options)
    with pytest.raises(Killed):
        runs.train(config, kill_at(14))
    run = Run.open(config.run.run_dir)
    runs.train(resume=run)
    assert len(run.metrics()) == 18
    assert repeatable(run) == repeatable(whole)
    capacity = 60 // 4 * 4
    assert [row["replay_steps"] for row in run.metrics()] == [
        min(4 * (i + 1), capacity) for i in range(18)
    ]


def test_a_policy_is_evaluated_without_its_algorithm(small: Any, tmp_path: Path) -> None:
    run = runs.train(small("drqv2", env_steps=5 * ITERATION)).run
    found = runs.evaluate_run(run, episodes=2, device="cpu", video=tmp_path / "film.mp4")
    assert found.episodes == 2 and (tmp_path / "film.mp4").is_file()
    assert found.returns == runs.evaluate_run(run, episodes=2, device="cpu").returns
