"""Evaluation counts one whole episode per environment; videos play everywhere."""

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dva.policies import NO_MEMORY, RandomPolicy, ZeroPolicy
from dva.runs import UsageError, default_config, evaluate, evaluation
from dva.runs.build import build_env, threads_of
from dva.runs.evaluation import film_agent
from dva.runs.video import GAP, VideoWriter, tile
from dva.spec import ActionSpec, Entry, ObservationSpec

SPECS = ObservationSpec((Entry("state", "vector", (1,)),)), ActionSpec(("a", "b"), 1 / 60)


class Countdown:
    """Environment i ends its first episode after i + 1 steps of reward 1, later ones at once."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.task = SimpleNamespace(control_dt=1 / 60)
        self.lasts = torch.arange(num_envs) + 1

    def reset(self, seed: int):
        self.seed, self.step_count = seed, torch.zeros(self.num_envs, dtype=torch.int64)
        return {"state": torch.zeros(self.num_envs, 1)}

    def step(self, action):
        self.step_count += 1
        done = self.step_count >= self.lasts
        length = self.step_count.clone()
        info = {"episode_return": length.float(), "episode_length": length}
        self.step_count[done] = 0
        self.lasts[done] = 1
        none = torch.zeros_like(done)
        return {"state": torch.zeros(self.num_envs, 1)}, torch.ones(self.num_envs), done, none, info

    def close(self) -> None:
        self.closed = True


def countdown(num_envs: int) -> Any:
    return Countdown(num_envs)


def test_short_episodes_do_not_count_more_often():
    found = evaluate(ZeroPolicy(*SPECS), countdown, episodes=4)
    assert found.returns == (1.0, 2.0, 3.0, 4.0)
    assert found.lengths == (1, 2, 3, 4)
    assert (found.episodes, found.mean, found.episode_length) == (4, 2.5, 2.5)
    assert found.std == pytest.approx(5**0.5 / 2)


def test_more_episodes_than_environments_at_once_are_all_different(monkeypatch):
    made: list[Any] = []

    def make(num_envs: int) -> Any:
        made.append(Countdown(num_envs))
        return made[-1]

    found = evaluate(ZeroPolicy(*SPECS), make, episodes=70, seed=5)
    assert found.episodes == len(found.returns) == 70
    assert [env.num_envs for env in made] == [64, 6]
    assert [env.seed for env in made] == [5, 5 + 64]
    assert all(env.closed for env in made)


class Failing(ZeroPolicy):
    def act(self, observation, state):
        raise RuntimeError("no action")


def test_environments_are_closed_when_a_policy_fails(monkeypatch):
    made: list[Any] = []

    def make(num_envs: int) -> Any:
        made.append(Countdown(num_envs))
        return made[-1]

    with pytest.raises(RuntimeError, match="no action"):
        evaluate(Failing(*SPECS), make, episodes=3)
    assert made[0].closed


def test_an_agent_that_cannot_be_filmed_leaves_no_environment_open(tmp_path, monkeypatch):
    made: list[Any] = []
    real = evaluation.make

    def make(*arguments: Any, **options: Any) -> Any:
        made.append(real(*arguments, **options))
        return made[-1]

    def fail(*arguments: Any) -> float:
        raise RuntimeError("no film")

    monkeypatch.setattr(evaluation, "make", make)
    monkeypatch.setattr(evaluation, "film", fail)
    with pytest.raises(RuntimeError, match="no film"):
        film_agent("cartpole", tmp_path / "video.mp4", steps=2, device="cpu")
    with pytest.raises(RuntimeError, match="closed"):
        made[0].reset()


@pytest.mark.parametrize("name", ["num_envs", "threads"])
def test_none_is_not_taken_for_as_many_as_usual(name):
    config = default_config("cartpole", preset="cpu", observe="state", device="cpu", threads=1)
    arguments: dict[str, Any] = {name: 0}
    with pytest.raises(UsageError, match=f"{name} is 0"):
        build_env(config, **arguments)


def test_threads_of_an_evaluation_may_differ_from_those_of_the_run():
    config = default_config("cartpole", preset="cpu", observe="state", device="cpu", threads=1)
    with threads_of(config, threads=2) as used:
        assert used == 2
    with pytest.raises(UsageError, match="threads is 0"), threads_of(config, threads=0):
        pass


def test_episodes_must_be_positive():
    with pytest.raises(UsageError, match="episodes is 0"):
        evaluate(ZeroPolicy(*SPECS), countdown, episodes=0)


def test_random_actions_are_within_bounds_and_repeat():
    observation = {"state": torch.zeros(100, 1)}
    first, second = (RandomPolicy(*SPECS, seed=3).act(observation, NO_MEMORY)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (100, 2)
    assert -1 <= first.min() < -0.5 and 0.5 < first.max() <= 1


def test_tiles():
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 2, 4) + 1
    grid = tile(images)
    assert grid.shape == (3, 4 + GAP, 8 + GAP)
    assert (grid[:, :2, :4] == 1).all() and (grid[:, :2, 4 + GAP :] == 2).all()
    assert (grid[:, 2 + GAP :, :4] == 3).all()
    assert int(grid.sum()) == 3 * 2 * 4 * (1 + 2 + 3)  # all else is black
    assert tile(images[:1]).shape == (3, 2, 4)


def test_a_random_agent_is_filmed_as_h264(tmp_path):
    import imageio_ffmpeg

    path = tmp_path / "new folder" / "video.mp4"
    film_agent("cartpole", path, steps=6, device="cpu")
    assert [entry.name for entry in path.parent.iterdir()] == ["video.mp4"]
    probe = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True
    )
    for part in ("h264", "yuv420p", f"{512 + GAP}x{512 + GAP}", "60 fps"):
        assert part in probe.stderr
    assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == 6


def test_a_failed_video_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError):
        with VideoWriter(tmp_path / "video.mp4", 60) as writer:
            writer.add(torch.zeros(3, 16, 16, dtype=torch.uint8))
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="must end in .mp4"):
        VideoWriter(tmp_path / "video.gif", 60)
    with pytest.raises(UsageError, match="steps is 0"):
        film_agent("cartpole", tmp_path / "video.mp4", steps=0)
    with pytest.raises(UsageError, match="seed is 100000000000000000000; give a whole number"):
        film_agent("cartpole", tmp_path / "video.mp4", seed=10**20)
