"""An expert is the policy of another run: loaded, kept in the run that learns, and refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import Killed, kill_at, repeatable

from dva import cli, runs
from dva.runs import Run, UsageError

STEPS = 4 * 4
"""Environment steps of one iteration."""
Make = Callable[..., runs.TrainConfig]


@pytest.fixture
def student(tmp_path: Path) -> Make:
    """Makes configurations of a student with an expert."""

    def make(expert: Path | None, name: str = "student", **changes: Any) -> runs.TrainConfig:
        values: dict[str, Any] = {
            "expert": expert, "num_envs": 4, "horizon": 4, "image_size": 32, "device": "cpu",
            "threads": 1, "env_steps": 6 * STEPS, "learning_starts": 0, "max_updates": 2,
            "batch": 4, "evaluation_episodes": 0, "video_interval": 0, "precision": "float32",
            "checkpoint_interval": STEPS, "run_dir": tmp_path / name,
        }  # fmt: skip
        return runs.default_config("cartpole", "dagger", "cpu", **{**values, **changes})

    return make


@pytest.fixture
def expert(tiny: Make) -> Run:
    """A run whose policy sees the state."""
    return runs.train(tiny("expert", observe="state", env_steps=2 * STEPS)).run


def same_policy(one: Run | Path, other: Run | Path) -> bool:
    ours, theirs = (runs.load_policy(run).state_dict() for run in (one, other))
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_run_keeps_its_expert_and_needs_its_folder_no_more(
    expert: Run, student: Make, tmp_path: Path
) -> None:
    whole = runs.train(student(expert.path, "whole")).run
    config = student(expert.path)
    with pytest.raises(Killed):
        runs.train(config, kill_at(4))
    run = Run.open(tmp_path / "student")
    kept = run.path / "expert"
    assert same_policy(kept, expert) and Run.open(kept).config == expert.config
    before = runs.load_policy(expert).state_dict()
    longer = Run.open(expert.path).config
    longer.run.env_steps = 4 * STEPS
    runs.train(longer, resume=expert)
    after = runs.load_policy(expert).state_dict()
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    shutil.rmtree(expert.path)
    runs.train(resume=run)
    assert repeatable(run) == repeatable(whole) and len(run.metrics()) == 6
    assert runs.evaluate_run(kept, episodes=1, device="cpu").episodes == 1


def test_a_run_killed_before_it_kept_its_expert_loads_it_again(
    expert: Run, student: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dva.runs import expert as module

    def killed(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomically", killed)  # the policy is there, the rest is not
        with pytest.raises(Killed):
            runs.train(student(expert.path))
    run = Run.open(tmp_path / "student")
    assert not (run.path / "expert" / "config.yaml").exists()
    runs.train(resume=run)
    assert same_policy(run.path / "expert", expert) and len(run.metrics()) == 6


def test_an_expert_of_images_is_refused(tiny: Make, student: Make) -> None:
    run = runs.train(tiny("expert", env_steps=STEPS)).run
    with pytest.raises(UsageError, match="The expert sees pixels; an expert must see the state"):
        runs.train(student(run.path))
    assert not (run.path.parent / "student").exists()


def test_an_expert_of_another_robot_is_refused(student: Make, tmp_path: Path) -> None:
    config = runs.default_config(
        "hopper", observe="state", num_envs=4, horizon=4, env_steps=STEPS, device="cpu", threads=1,
        evaluation_episodes=0, video_interval=0, run_dir=tmp_path / "expert",
    )  # fmt: skip
    run = runs.train(config).run
    with pytest.raises(UsageError, match="and those of this task have 5. Give an expert of the"):
        runs.train(student(run.path))


def test_a_folder_without_a_run_is_said_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--algo", "dagger", "--expert", str(tmp_path / "none"), "--device", "cpu"]
    assert cli.main(["train", "cartpole", *flags]) == 2
    shown = capsys.readouterr()
    assert "The expert cannot be loaded. There is no run in" in shown.err and not shown.out
    with pytest.raises(UsageError, match="There is no run in"):
        with runs.build(runs.default_config("cartpole", "dagger", "cpu", expert=tmp_path / "none")):
            pass


def test_an_expert_is_built_without_a_folder(expert: Run, student: Make) -> None:
    with runs.build(student(expert.path)) as built:
        policy = runs.load_policy(expert)
        state = {"state": torch.randn(3, 5)}
        assert torch.equal(built.algorithm.expert.act(state, {})[0], policy.act(state, {})[0])
        assert built.algorithm.trainer is None


@pytest.mark.parametrize("stopped", [2, 5])  # three iterations are the expert's
def test_an_expert_that_is_trained_first_is_resumed(
    student: Make, tmp_path: Path, stopped: int
) -> None:
    options: dict[str, Any] = {"expert_envs": 4, "expert_steps": 3 * 4 * 32}
    options["env_steps"] = options["expert_steps"] + 4 * STEPS
    whole = runs.train(student(None, "whole", **options)).run
    with pytest.raises(Killed):
        runs.train(student(None, **options), kill_at(stopped))
    run = Run.open(tmp_path / "student")
    runs.train(resume=run)
    assert repeatable(run) == repeatable(whole)
    rows = run.metrics()
    assert len(rows) == 7 and rows[-1]["env_steps"] == options["env_steps"]
    assert [row["updates"] for row in rows] == [0] * 3 + [2] * 4
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(rows[0]))}
    assert not (run.path / "expert").exists()
