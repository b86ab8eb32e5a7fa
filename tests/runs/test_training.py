"""Training on the real Cartpole, small: what is written, and that stopping changes nothing."""

import dataclasses
import importlib
import json
import math
import shutil
import signal
from itertools import pairwise

import pytest
import torch
from killing import Killed, kill_at, repeatable

from dva import runs
from dva.runs import Run, UsageError, intervals
from dva.runs.checkpoint import load_checkpoint
from dva.runs.session import Session

NAMES = set(
    "iteration env_steps wall_time return episode_length actor_loss critic_loss actor_grad_norm "
    "critic_grad_norm action_gradient_norm learning_rate steps_per_second nonfinite_count "
    "updates skipped_updates reward action_std visual_feedback peak_memory_mb "
    "seconds_rollout seconds_rendering seconds_simulation "
    "seconds_action_gradient seconds_regression seconds_critic".split()
)


STEPS = 4 * 4
"""Environment steps of one iteration."""


def changed(config: runs.TrainConfig, **changes) -> runs.TrainConfig:
    """The configuration with other fields of its `run`."""
    return dataclasses.replace(config, run=dataclasses.replace(config.run, **changes))


def parameters(run: Run) -> dict[str, torch.Tensor]:
    return load_checkpoint(run.checkpoints).tensors


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """20 iterations without a stop, with video and evaluation."""
    config = runs.default_config(
        "cartpole", preset="cpu", num_envs=4, horizon=4, image_size=32, env_steps=20 * STEPS,
        device="cpu", threads=1, evaluation_episodes=3, video_interval=10 * STEPS,
        checkpoint_interval=6 * STEPS,
        run_dir=tmp_path_factory.mktemp("runs") / "whole",
    )  # fmt: skip
    return runs.train(config).run


def test_everything_is_written(whole):
    rows = whole.metrics()
    assert [row["iteration"] for row in rows] == list(range(1, 21))
    assert set(rows[0]) == NAMES
    assert rows[-1]["env_steps"] == 20 * 4 * 4
    assert rows[-1]["wall_time"] > rows[0]["wall_time"] > 0
    assert rows[-1]["return"] is not None
    evaluation = json.loads(whole.evaluation_path.read_text())
    assert evaluation["episodes"] == len(evaluation["returns"]) == 3
    names = sorted(path.name for path in whole.videos.iterdir())
    assert names == ["step-000000000160.mp4", "step-000000000320.mp4"]
    assert whole.curve.is_file()
    assert list(whole.tensorboard.glob("events*"))
    assert load_checkpoint(whole.checkpoints).info["iteration"] == 20
    assert load_checkpoint(whole.checkpoints, "best").info["return"] is not None


def test_ten_and_ten_equal_twenty_bit_for_bit(whole, tiny):
    first = runs.train(tiny(stop_at=10 * STEPS))
    assert first.reason == "stop_at"
    run = Run.open(first.run.path)
    assert len(run.metrics()) == 10
    second = runs.train(resume=run)  # the limit of the first session does not carry on
    assert second.reason == "finished"
    assert repeatable(second.run) == repeatable(whole)
    assert same(parameters(second.run), parameters(whole))


def test_a_killed_run_continues_as_if_it_had_not_been_killed(whole, tiny):
    config = tiny(checkpoint_interval=5 * STEPS)
    with pytest.raises(Killed):
        runs.train(config, kill_at(8))
    run = Run.open(config.run.run_dir)
    assert len(run.metrics()) == 8
    with run.metrics_path.open("a") as file:
        file.write('{"iteration": 9, "re')
    runs.train(resume=run)
    assert repeatable(run) == repeatable(whole)
    assert same(parameters(run), parameters(whole))
    times = [row["wall_time"] for row in run.metrics()]
    assert times == sorted(times)


def test_a_run_with_a_guide_that_was_killed_continues_with_its_replay(tiny):
    guided = {
        "guide": True, "guide_envs": tiny().env.num_envs, "imitation_steps": 2,
        "imitation_batch": 16, "replay_images": 6 * 16,
    }  # fmt: skip
    steps = 2 * STEPS  # half of them in the guide's own environments
    whole = runs.train(tiny("whole", stop_at=12 * steps, **guided)).run
    config = tiny("killed", checkpoint_interval=5 * steps, stop_at=12 * steps, **guided)
    with pytest.raises(Killed):
        runs.train(config, kill_at(8))
    run = Run.open(config.run.run_dir)
    pieces = sorted(path.name for path in (run.path / "large_state").iterdir())
    assert pieces == ["rollouts-000000000-000000005.safetensors"]
    runs.train(changed(run.config), resume=run)
    assert repeatable(run) == repeatable(whole)
    assert same(parameters(run), parameters(whole))
    row = run.metrics()[-1]
    assert row["imitation_error"] > 0 and row["seconds_imitation"] > 0
    policy = runs.load_policy(run)  # the guide is not in it
    assert not any("guide" in name for name in policy.state_dict())


def test_checkpoints_follow_the_clock_unless_an_interval_is_given(tiny, monkeypatch):
    for seconds, saved in ((0.0, 7), (1e9, None)):
        monkeypatch.setattr(intervals, "CHECKPOINT_SECONDS", seconds)
        config = tiny(f"run-{seconds}")
        with pytest.raises(Killed):
            runs.train(config, kill_at(8))
        if saved is None:
            assert not config.run.run_dir.joinpath("checkpoints").exists()
        else:
            assert load_checkpoint(config.run.run_dir / "checkpoints").info["iteration"] == saved


def test_videos_come_after_twice_as_long_each(tiny, monkeypatch):
    monkeypatch.setattr(intervals, "FIRST_VIDEO_SECONDS", 1e-3)
    run = runs.train(tiny(video_interval=None, stop_at=6 * STEPS)).run
    times = {row["env_steps"]: row["wall_time"] for row in run.metrics()}
    filmed = [times[int(path.stem.split("-")[1])] for path in sorted(run.videos.iterdir())]
    assert filmed[0] == times[STEPS]
    for earlier, later in pairwise(filmed):
        assert later > 0.99e-3 * 2 ** (math.floor(math.log2(earlier / 1e-3)) + 1)


def test_a_run_killed_before_its_first_checkpoint_starts_anew(whole, tiny):
    config = tiny()
    with pytest.raises(Killed):
        runs.train(config, kill_at(3))
    run = Run.open(config.run.run_dir)
    runs.train(changed(run.config, stop_at=5 * STEPS), resume=run)
    assert repeatable(run) == repeatable(whole)[:5]


def test_seeds_differ(whole, tiny):
    other = runs.train(tiny(seed=1, stop_at=2 * STEPS)).run
    assert repeatable(other)[1]["actor_loss"] != repeatable(whole)[1]["actor_loss"]


def test_a_signal_stops_after_the_iteration_and_saves(tiny):
    def report(update: runs.Update) -> None:
        if update.row is not None and update.row["iteration"] == 3:
            signal.raise_signal(signal.SIGTERM)

    outcome = runs.train(tiny(), report)
    assert (outcome.reason, outcome.signal) == ("interrupted", signal.SIGTERM)
    assert load_checkpoint(outcome.run.checkpoints).info["iteration"] == 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("limits", [{"env_steps": 2 * STEPS}, {"stop_at": 2 * STEPS}])
def test_a_signal_in_the_last_iteration_interrupts_nothing(tiny, limits):
    def report(update: runs.Update) -> None:
        if update.row is not None and update.row["iteration"] == 2:
            signal.raise_signal(signal.SIGINT)

    outcome = runs.train(tiny(**limits, evaluation_episodes=1, minutes=1e9), report)
    assert outcome.reason == ("stop_at" if "stop_at" in limits else "finished")
    assert outcome.signal == signal.SIGINT
    assert outcome.evaluation is not None and outcome.evaluation["iteration"] == 2


def test_a_second_signal_ends_it_at_once(tiny):
    def report(update: runs.Update) -> None:
        if update.row is not None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runs.train(tiny(), report)


def test_minutes_that_are_over_before_a_plan_leave_the_schedule(tiny):
    outcome = runs.train(tiny(minutes=1e-6, env_steps=1000 * STEPS))
    assert outcome.reason == "minutes"
    assert len(outcome.run.metrics()) == 1
    assert Run.open(outcome.run.path).config.run.env_steps == 1000 * STEPS


def test_a_finished_run_says_how_to_go_on(whole):
    with pytest.raises(UsageError, match="finished 320 of 320 .*--env-steps 640"):
        runs.train(resume=Run.open(whole.path))


def test_an_end_that_was_cut_short_is_made_up_for(whole, tmp_path, monkeypatch):
    path = tmp_path / "run"
    shutil.copytree(whole.path, path)
    run = Run.open(path)
    before, rows = json.loads(run.evaluation_path.read_text()), run.metrics()

    def resumed(damage):
        damage()
        outcome = runs.train(resume=Run.open(path))
        assert outcome.reason == "finished" and outcome.evaluation is not None
        found = json.loads(run.evaluation_path.read_text())
        for name in set(before) - {"wall_time"}:
            assert found[name] == before[name]
        assert run.curve.is_file() and run.metrics() == rows
        with pytest.raises(UsageError, match="finished 320 of 320"):
            runs.train(resume=Run.open(path))

    resumed(run.evaluation_path.unlink)
    resumed(lambda: run.evaluation_path.write_text('{"env_ste'))
    made = []
    monkeypatch.setattr(Session, "_evaluate", lambda self: made.append(self))
    resumed(run.curve.unlink)
    assert not made


def test_a_damaged_row_of_the_metrics_does_not_stop_a_run(whole, tiny):
    run = runs.train(tiny(stop_at=10 * STEPS)).run
    lines = run.metrics_path.read_text().splitlines(keepends=True)
    run.metrics_path.write_text("".join([lines[0], "\n", *lines[1:3], "{\n", *lines[4:]]))
    before = run.metrics_path.read_bytes()
    said: list[str] = []
    runs.train(resume=run, report=lambda update: said.append(update.message or ""))
    (line,) = [text for text in said if "damaged" in text]
    assert "damaged line 2 (" in line and "and 1 more" in line and "lacks 1 of 10" in line
    assert run.metrics_path.with_name("metrics.jsonl.damaged").read_bytes() == before
    assert repeatable(run) == [row for row in repeatable(whole) if row["iteration"] != 4]


def test_other_threads_are_said_where_sums_depend_on_them(tiny):
    shac = {"algo": "shac", "observe": "pixels", "camera": "differentiable"}
    for name, kind, said in (("dva", {}, 0), ("shac", shac, 1)):
        run = runs.train(tiny(name, **kind, stop_at=STEPS)).run
        assert run.sessions[-1]["threads"] == 1
        run.sessions[-1]["threads"] = 7
        messages: list[str] = []
        limits = changed(Run.open(run.path).config, stop_at=2 * STEPS)
        runs.train(limits, lambda update: messages.append(update.message or ""), run)  # noqa: B023
        found = [text for text in messages if "had 7 thread(s), this one has 1: shac" in text]
        assert len(found) == said


def test_advice_names_the_limit_that_was_reached_and_never_a_smaller_plan(tiny):
    run = runs.train(tiny(stop_at=2 * STEPS)).run
    config = Run.open(run.path).config
    with pytest.raises(UsageError, match="stop-at is 32. .* --stop-at above 32") as caught:
        runs.train(changed(config, stop_at=2 * STEPS), resume=run)
    assert "--env-steps" not in str(caught.value)
    with pytest.raises(
        UsageError, match="32 of 32 planned .* --env-steps 320, and leave --stop-at"
    ):
        runs.train(changed(config, env_steps=2 * STEPS, stop_at=STEPS), resume=run)
    assert Run.open(run.path).config.run.env_steps == 20 * STEPS


def test_when_files_are_written_may_change(tiny):
    run = runs.train(tiny(checkpoint_interval=1, stop_at=2 * STEPS)).run
    config = changed(run.config, checkpoint_interval=None, stop_at=3 * STEPS)
    assert len(runs.train(config, resume=run).run.metrics()) == 3


def test_a_run_continues_with_its_own_configuration_only(whole):
    stored = (whole.path / "config.yaml").read_text()
    run = Run.open(whole.path)
    with pytest.raises(UsageError, match="seed = 0; it cannot continue with 1"):
        runs.train(changed(run.config, seed=1), resume=run)
    algorithm = dataclasses.replace(run.config.algorithm, horizon=8)
    with pytest.raises(UsageError, match="horizon = 4; it cannot continue with 8"):
        runs.train(dataclasses.replace(run.config, algorithm=algorithm), resume=run)
    env = dataclasses.replace(run.config.env, num_envs=8)
    with pytest.raises(UsageError, match="num_envs = 4; it cannot continue with 8"):
        runs.train(dataclasses.replace(run.config, env=env), resume=run)
    run.config.run.seed = 1  # the folder decides, not what the caller holds
    with pytest.raises(UsageError, match="seed = 0; it cannot continue with 1"):
        runs.train(resume=run)
    assert (whole.path / "config.yaml").read_text() == stored


def test_what_cannot_be_built_leaves_no_folder(tiny, monkeypatch):
    build = importlib.import_module("dva.runs.build")  # the package has a function of that name

    def fail(*arguments, **options):
        raise RuntimeError("no renderer")

    monkeypatch.setattr(build, "make", fail)
    config = tiny()
    with pytest.raises(RuntimeError, match="no renderer"):
        runs.train(config)
    assert not config.run.run_dir.exists()


def test_policies_come_back_and_evaluate_alike(whole):
    policy = runs.load_policy(whole.path, device="cpu")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, 9, 32, 32), generator=generator, dtype=torch.uint8)
    actions, _ = policy.act({"pixels": pixels}, policy.initial_state(5))
    assert actions.shape == (5, 1)
    assert actions.abs().max() <= 1
    found = runs.evaluate_run(whole, episodes=3, device="cpu")
    stored = json.loads(whole.evaluation_path.read_text())
    assert list(found.returns) == stored["returns"]
    assert found.mean == stored["mean"]


def test_nan_guard_saves_the_state_and_training_goes_on(tiny, monkeypatch):
    from dva.runs.nan_guard import replay
    from dva.tasks.cartpole import Cartpole

    start = Cartpole.start

    def wild(self, n, generator, device, stochastic=True):
        joint_q, joint_qd = start(self, n, generator, device, stochastic)
        joint_qd[1:2, 1] = 9e5  # rad/s: the next step overflows
        return joint_q, joint_qd

    messages = []
    with monkeypatch.context() as patch:
        patch.setattr(Cartpole, "start", wild)
        outcome = runs.train(
            tiny(nan_guard=True, stop_at=2 * STEPS), lambda update: messages.append(update.message)
        )
    rows = outcome.run.metrics()
    assert rows[0]["nonfinite_count"] >= 1
    assert all(row["actor_loss"] is not None for row in rows)
    path = outcome.run.nan_dumps / "step-000000000016.safetensors"
    assert any(f"dva doctor --replay {path}" in message for message in messages if message)
    assert json.loads(path.with_suffix(".json").read_text())["environments"] == [1]
    lines = replay(path).lines
    assert len(lines) == 1
    assert "substep" in lines[0]
    assert "joint_qd[" in lines[0]
