"""Sessions: what drives, what a reset, a push and another checkpoint do."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_sources import task_source

from dva.runs import Run, UsageError
from dva.runs.checkpoint import load_checkpoint, save_checkpoint
from dva.sim import Model
from dva.sim.mass import InitialPose
from dva.viewer.live.push import pushable, velocity_change
from dva.viewer.live.session import Session
from dva.viewer.live.source import find_source
from dva.viewer.live.trace import Trace


def test_the_driver_chooses_actions_and_the_trace_keeps_them():
    session = Session(task_source(), 2)
    assert session.drivers == ["zero", "random", "action sliders", "joint sliders"]
    session.drive("zero")
    session.step()
    session.drive("action sliders")
    session.set_action(0, 0.25)
    session.step()
    session.set_action(0, 7.0)
    session.step()
    session.drive("random")
    session.step()
    actions = session.trace.actions(1)
    assert actions.shape == (1, 4) and actions[0, :3].tolist() == [0.0, 0.25, 1.0]
    assert 0.0 < abs(actions[0, 3]) < 1.0
    assert session.trace.times()[-1] == pytest.approx(4 / 60)
    assert session.episode_return() == pytest.approx(session.trace.rewards(0).sum(), rel=1e-4)
    with pytest.raises(UsageError, match="joystick.*action sliders"):
        session.drive("joystick")


def test_a_reset_draws_other_starts_unless_they_are_to_be_the_same():
    session = Session(task_source(), 2)
    first = session.env.state.joint_q.clone()
    session.step()
    session.reset(again=True)
    assert torch.equal(session.env.state.joint_q, first)
    assert session.episode_step() == 0 and len(session.trace) == 0
    session.reset()
    assert not torch.equal(session.env.state.joint_q, first)


def test_a_memory_goes_on_through_steps_and_begins_anew_with_each_episode(counting):
    session = Session(counting, 2)
    assert session.driver == "policy"
    for _ in range(5):
        session.step()
    counts = np.round(100 * session.trace.actions(1)[0])
    assert counts.tolist() == [1, 2, 3, 1, 2]  # three steps are an episode
    (one, other) = session.episodes
    assert (one.robot, one.length, one.failed) == (0, 3, False) and other.robot == 1
    assert one.total == pytest.approx(session.trace.rewards(0)[:3].sum(), rel=1e-4)
    session.reset()
    session.step()
    assert 100 * session.trace.actions(0)[0, 0] == pytest.approx(1)
    session.drive("zero")
    session.step()
    session.drive("policy")
    session.step()
    assert 100 * session.trace.actions(0)[0, -1] == pytest.approx(1)  # it has not seen the others


def test_another_checkpoint_is_loaded_while_the_session_goes_on(tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run().path, folder)
    run = Run.open(folder)
    session = Session(find_source(run), 1)
    assert session.loaded is not None and session.loaded.info["env_steps"] == 32
    first = session.env.state.joint_q.clone()
    session.step()
    assert not session.is_outdated()

    found = load_checkpoint(run.checkpoints)  # as if training had gone on
    tensors = {**found.tensors, "policy.actor.mean.bias": torch.full((1,), 20.0)}
    info = {**found.info, "env_steps": 64, "iteration": 9}
    save_checkpoint(run.checkpoints, tensors, info, ("latest",))
    assert session.is_outdated()
    session.drive("zero")
    session.choose_checkpoint("latest")
    assert session.driver == "policy" and session.loaded.info["iteration"] == 9
    assert torch.equal(session.env.state.joint_q, first) and not session.is_outdated()
    session.step()
    assert session.trace.actions(0)[0, 0] == pytest.approx(1.0)  # tanh of the large bias

    (run.checkpoints / "best.json").unlink(missing_ok=True)
    for name in ("best", "step-000000000032"):
        with pytest.raises(UsageError, match=name):
            session.choose_checkpoint(name)
    session.step()
    assert session.loaded.checkpoint == "latest" and session.trace.steps == 2


def test_a_push_changes_the_momentum_of_a_free_robot_by_the_impulse():
    session = Session(task_source("ant"), 2)
    session.drive("random")
    for _ in range(3):
        session.step()
    model, state = session.env.simulator.model, session.env.state
    assert isinstance(model, Model)
    before, step = state.joint_qd.clone(), session.episode_step()
    impulse = np.array([3.0, -2.0, 5.0])
    session.push(impulse.tolist(), "front_left_leg", robot=1)
    change = (session.env.state.joint_qd - before).double().numpy()
    assert np.all(change[0] == 0.0) and session.episode_step() == step
    pose = InitialPose(dataclasses.replace(model, initial_q=state.joint_q[1].double().numpy()))
    momentum = sum(
        model.link_mass[link] * pose.jacobian(link, pose.place(link, model.link_com[link]))[0]
        for link in range(model.num_links)
    )
    np.testing.assert_allclose(momentum @ change[1], impulse, rtol=1e-4, atol=1e-4)
    # What a policy reads of the state knows of it: the task describes the pushed robot.
    known = session.env.observation["state"][1]
    described = session.env.task.state_observation(
        session.env.state.joint_q, session.env.state.joint_qd, session._last_action
    )[1]
    assert torch.equal(known, described)
    session.step()
    assert session.episode_step() == step + 1


def test_a_push_at_a_cart_with_a_level_pole_moves_both_as_one_mass():
    session = Session(task_source("cartpole"), 1)
    model = session.env.simulator.model
    assert isinstance(model, Model)
    level = np.array([0.3, np.pi / 2])  # nothing of the cart's motion turns a level pole
    change = velocity_change(model, level, pushable(model)["cart"], (10.0, 4.0, 1.0))
    mass = model.link_mass.sum() + model.dof_armature[0]  # the motor's rotor moves along
    assert change[0] == pytest.approx(10.0 / mass)
    assert change[1] == pytest.approx(0.0, abs=1e-9)
    assert list(session.bodies)[0] == "cart" and "world" not in session.bodies
    assert velocity_change(model, level, 0, (1.0, 0.0, 0.0)).tolist() == [0.0, 0.0]


def test_joint_sliders_pose_all_robots_and_let_them_stand():
    session = Session(task_source(), 2)
    with pytest.raises(UsageError, match="joint sliders"):
        session.set_joint(0, 1.0)
    session.step()
    session.drive("joint sliders")
    session.set_joint(1, 0.5)
    session.step()
    state = session.env.state
    assert state.joint_q[:, 1].tolist() == [0.5, 0.5] and not state.joint_qd.any()
    assert session.episode_step() == 0 and len(session.trace) == 0
    session.drive("zero")
    session.step()
    assert session.env.state.joint_qd.any()  # physics goes on from there


def test_wrong_values_are_named():
    session = Session(task_source(), 2)
    for call, text in (
        (lambda: session.choose_robot(2), "robot is 2.*0 to 1"),
        (lambda: session.choose_speed(0.0), "speed is 0.0.*0.05 to 4"),
        (lambda: session.push((1.0, 0.0, 0.0), "wheel"), "wheel.*cart"),
        (lambda: session.push((1.0, float("nan"), 0.0)), "three finite numbers"),
        (lambda: session.choose_checkpoint("latest"), "no checkpoints"),
        (lambda: Session(task_source(), 0), "num_envs"),
    ):
        with pytest.raises(UsageError, match=text):
            call()
    session.choose_robot(1)
    session.choose_speed(2.0)
    assert (session.robot, session.speed) == (1, 2.0)


def test_a_trace_keeps_the_last_steps_and_their_times():
    trace = Trace(0.5, length=3)
    for number in range(5):
        trace.add(torch.tensor([number, -number]), torch.full((2, 2), number / 10))
    assert trace.times().tolist() == [1.5, 2.0, 2.5]
    assert trace.rewards(1).tolist() == [-2.0, -3.0, -4.0]
    assert trace.actions(0).shape == (2, 3) and trace.steps == 5
    trace.clear()
    assert len(trace) == 0 and trace.steps == 0


def test_a_word_is_a_task_or_a_run(tiny_run, tmp_path, monkeypatch):
    run = tiny_run()
    for what in (run, run.path, str(run.path)):
        found = find_source(what)
        assert found.run is not None and found.checkpoints()[0] == "latest"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ant").mkdir()  # an empty folder is no run
    assert find_source("ant").run is None
    for what, text in (
        ("antt", "Did you mean 'ant'.*folder of a run"),
        ("runs/none", "There is no run in runs/none"),
    ):
        with pytest.raises(UsageError, match=text):
            find_source(what)


def test_a_task_of_ones_own_is_shown_with_its_sensors(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3] / "examples")
    source = find_source("heading_compass:ant-scout", ("ahead", "state"), 16, device="cpu")
    session = Session(source, 1)
    assert source.name == "ant-scout" and [entry.name for entry in session.images] == ["ahead"]
    session.step()
    assert session.observed("ahead").shape[0] == 1
