"""Training in which nothing is learned is noticed, said, and ends with another exit status."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import pytest

from dva import runs, tasks
from dva.cli import main
from dva.runs import health
from dva.runs.health import BLIND_IN_A_ROW, IN_A_ROW, PATIENCE, LearningWatch
from dva.tasks import registry
from dva.tasks.cartpole import Cartpole

STEPS = 4 * 4
"""Environment steps of one iteration."""
DEAD = {"updates": 1, "skipped_updates": 1, "actor_grad_norm": None, "nonfinite_count": 3}
ALIVE = {"updates": 1, "skipped_updates": 0, "actor_grad_norm": 0.5, "nonfinite_count": 0}


@dataclass(frozen=True)
class NanReward(Cartpole):
    """Rewards nothing that is a number."""

    name: str = "nan-reward"

    def reward(self, joint_q, joint_qd, action):
        return super().reward(joint_q, joint_qd, action) * float("nan")


@pytest.fixture(autouse=True)
def new_tasks() -> Iterator[None]:
    known, ids = dict(registry._TASKS.entries), dict(gymnasium.registry)
    tasks.register(NanReward())
    yield
    registry._TASKS.entries.clear()
    registry._TASKS.entries.update(known)
    gymnasium.registry.clear()
    gymnasium.registry.update(ids)


def feed(watch: LearningWatch, metrics: dict[str, Any], count: int) -> list[str]:
    """The warnings while so many iterations pass."""
    warnings = []
    for _ in range(count):
        watch.look(metrics, STEPS)
        if watch.warning:
            warnings.append(watch.warning)
    return warnings


def test_a_few_dead_iterations_are_reported_once_and_kept_for_the_end():
    watch = LearningWatch("my task")
    assert feed(watch, DEAD, IN_A_ROW - 1) == []
    (warning,) = feed(watch, DEAD, PATIENCE - IN_A_ROW)
    assert f"last {IN_A_ROW} iterations" in warning and "dva doctor 'my task'" in warning
    assert not watch.hopeless and watch.last_warning == warning
    (warning,) = feed(watch, DEAD, 1)
    assert f"last {PATIENCE} iterations" in warning
    assert watch.hopeless and watch.learned_nothing


def test_one_update_is_enough_to_go_on():
    watch = LearningWatch("cartpole")
    feed(watch, ALIVE, 1)
    assert len(feed(watch, DEAD, 3 * PATIENCE)) == 1 + 3
    assert not watch.hopeless and not watch.learned_nothing
    feed(watch, ALIVE, 1)
    assert watch.warning is None
    assert feed(watch, DEAD, IN_A_ROW - 1) == []  # the count begins anew


def test_updates_of_which_some_were_made_are_alive():
    watch = LearningWatch("cartpole")
    assert feed(watch, {**DEAD, "updates": 8, "skipped_updates": 7}, 50) == []
    assert not watch.learned_nothing


def test_collecting_before_learning_is_no_fault():
    watch = LearningWatch("cartpole")
    assert feed(watch, {**DEAD, "updates": 0, "skipped_updates": 0}, 3 * PATIENCE) == []
    assert feed(watch, {}, 3) == []
    assert not watch.hopeless and not watch.learned_nothing


def test_a_policy_that_stays_blind_is_reported_once():
    watch = LearningWatch("cartpole")
    sees = {**ALIVE, "visual_feedback": 0.005, "action_std": 0.4}
    blind = {**sees, "visual_feedback": 0.003}
    assert feed(watch, sees, 3 * BLIND_IN_A_ROW) == []
    assert feed(watch, blind, BLIND_IN_A_ROW - 1) == []
    assert feed(watch, sees, 1) == []  # the count begins anew
    (warning,) = feed(watch, blind, 5 * BLIND_IN_A_ROW)
    assert f"ignored its images for {BLIND_IN_A_ROW} iterations" in warning
    assert "0.003 (visual_feedback)" in warning and "0.4" in warning and "\n" not in warning
    assert "a lower learning rate of the policy." in warning and watch.last_warning == warning
    assert not watch.hopeless and not watch.learned_nothing
    assert feed(watch, sees, 1) == [] and watch.last_warning is None  # it sees again
    (warning,) = feed(watch, {**blind, "imitation_error": 1.0}, BLIND_IN_A_ROW)
    assert "--imitation-learning-rate" in warning


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nonfinite_count": STEPS}, "every step had a non-finite"),
        ({}, "every update was skipped, because its gradient was not finite"),
        ({"actor_grad_norm": 0.0, "nonfinite_count": 0}, "the gradient was exactly 0"),
        ({"actor_grad_norm": 0.0, "nonfinite_count": 1}, "no environment's gradient was finite"),
        ({"actor_grad_norm": 0.0, "nonfinite_count": 4}, "such as a square root at 0"),
    ],
)
def test_the_warning_says_what_is_likely(changes: dict[str, Any], message: str):
    (warning,) = feed(LearningWatch("cartpole"), {**DEAD, **changes}, IN_A_ROW)
    assert message in warning and "\n" not in warning


def test_a_gradient_norm_that_is_not_reported_is_not_called_non_finite():
    dead = {name: value for name, value in DEAD.items() if name != "actor_grad_norm"}
    (warning,) = feed(LearningWatch("cartpole"), dead, IN_A_ROW)
    assert "gradient" not in warning and "the algorithm skipped every update" in warning


def test_a_run_says_it_after_a_few_iterations_and_at_the_end(tiny):
    said = []
    config = tiny(stop_at=(IN_A_ROW + 1) * STEPS)
    config.env.task = "nan-reward"

    def report(update: runs.Update) -> None:
        if update.message and "Nothing was learned" in update.message:
            said.append((len(runs.Run.open(config.run.run_dir).metrics()), update.message))

    outcome = runs.train(config, report)
    assert [count for count, _ in said] == [IN_A_ROW]
    assert "every step had a non-finite" in said[0][1] and outcome.warning == said[0][1]
    assert outcome.learned_nothing and outcome.reason == "stop_at"


TINY = (
    "--preset cpu --device cpu --threads 1 --num-envs 4 --horizon 4 --image-size 32 "
    "--evaluation-episodes 0 --video-interval 0"
).split()


def test_a_command_that_learned_nothing_ends_with_status_1(tmp_path, capsys):
    steps = str((IN_A_ROW + 1) * STEPS)
    folder = str(tmp_path / "run")
    line = ["train", "nan-reward", "--no-guide", *TINY, "--env-steps", steps, "--run-dir", folder]
    assert main(line) == 1
    found = capsys.readouterr()
    assert found.out.count("Nothing was learned in the last 5 iterations") == 2  # then, and again
    assert "Warning: Nothing was learned" in found.out
    assert found.err.strip() == "No update was made: the policy is as it was at the start."
    # however short the training was
    line[line.index(steps)] = str(STEPS)
    assert main([*line[:-1], folder + "2"]) == 1
    assert "No update was made" in capsys.readouterr().err


def test_a_command_that_learned_ends_with_status_0(tmp_path, capsys):
    line = ["train", "cartpole", *TINY, "--env-steps", "32", "--run-dir", str(tmp_path / "run")]
    assert main(line) == 0
    found = capsys.readouterr()
    assert "Nothing was learned" not in found.out and found.err == ""


@dataclass(frozen=True)
class Steep(Cartpole):
    """Rewards with a slope that is infinite everywhere."""

    name: str = "steep"

    def reward(self, joint_q, joint_qd, action):
        return (super().reward(joint_q, joint_qd, action) * 0.0).sqrt()


def test_an_infinite_slope_is_not_taken_for_a_gradient_of_zero(tiny):
    tasks.register(Steep())
    config = tiny(stop_at=(IN_A_ROW + 1) * STEPS)
    config.env.task = "steep"
    warning = runs.train(config).warning
    assert warning and "exactly 0" not in warning and "an infinite slope" in warning


def test_a_hopeless_run_gives_up(tiny, monkeypatch):
    monkeypatch.setattr(health, "PATIENCE", 7)
    config = tiny()
    config.env.task = "nan-reward"
    outcome = runs.train(config)
    assert outcome.reason == "hopeless" and len(outcome.run.metrics()) == 7


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--actor-learning-rate", "1e30"),
        ("--critic-learning-rate", "nan"),
        ("--final-learning-rate", "0"),
        ("--actor-learning-rate", "inf"),
    ],
)
def test_a_learning_rate_that_cannot_work_is_refused(flag, value, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "cartpole", *TINY, flag, value]) == 2
    found = capsys.readouterr()
    name = flag.removeprefix("--").replace("-", "_")
    assert found.err.startswith(f"error: {name} is ") and "above 0 and at most 1" in found.err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(runs.UsageError, match=f"{name} is "):
        changes: dict[str, Any] = {name: float(value)}
        runs.default_config("cartpole", preset="cpu", **changes)
