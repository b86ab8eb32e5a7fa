"""What an environment refuses, in one line that says what to do."""

import weakref

import pytest
import torch

import dva
from dva.envs import EnvConfig
from dva.sensors import JointAngles


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"num_envs": 2.5}, "num_envs is 2.5"),
        ({"image_size": -1}, "image_size is -1"),
        ({"image_size": (8, 8, 8)}, "image_size is"),
        ({"frame_stack": 0}, "frame_stack is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "gpu"}, "'cuda' or 'cuda:INDEX'"),
        ({"device": "cuda:99"}, "'cuda:99'"),
        ({"task": "cartpol"}, "Did you mean 'cartpole'"),
        ({"observe": "touch"}, "observe names 'touch', which task 'cartpole' does not offer"),
        ({"observe": ("state", "pixel")}, "Did you mean 'pixels'"),
        ({"observe": ()}, r"observe is \(\); give one name or more"),
        ({"observe": ("state", "state")}, r"observe is \('state', 'state'\); .* each once"),
        ({"sensors": (JointAngles("x"),) * 2}, r"make\(\) lists two sensors named 'x'"),
        ({"device": "cpu:1"}, "'cpu:1'"),
    ],
)
def test_make_names_what_is_wrong(arguments, words):
    with pytest.raises(ValueError, match=words):
        dva.make(**{"task": "cartpole", "device": "cpu", "observe": "state", **arguments})


def test_a_configuration_observes_each_name_once():
    with pytest.raises(ValueError, match=r"observe is \('state', 'state'\); .* give each once"):
        EnvConfig("cartpole", observe=("state", "state"))


def test_a_sensor_keeps_its_makers_name(make, camera):
    camera.name = "photo"
    with pytest.raises(ValueError, match=r"maker 'photo' .* named 'pixels'\. Give both one name"):
        make(observe="photo", sensors=[camera])


def test_make_takes_names_and_tasks_only():
    with pytest.raises(TypeError, match="task is 3"):
        dva.make(3)  # pyright: ignore[reportArgumentType]


def test_step_names_what_is_wrong(make):
    env = make()
    with pytest.raises(RuntimeError, match=r"Call reset\(\)"):
        env.step(torch.zeros(3, 1))
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(2, 1\), expected \(3, 1\)"):
        env.step(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"torch.float64, expected torch.float32"):
        env.step(torch.zeros(3, 1).double())
    with pytest.raises(TypeError, match="action is a list"):
        env.step([[0.0]] * 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="action is on meta"):
        env.step(torch.zeros(3, 1, device="meta"))
    with pytest.raises(ValueError, match="joint_q has an entry that is not finite"):
        env.set_state(torch.full((3, 2), float("nan")), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="joint_qd has shape"):
        env.set_state(torch.zeros(3, 2), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="no observation 'pixels'.*environment's observe"):
        env.newest("pixels")
    with pytest.raises(ValueError, match="from 0 to 2"):
        env.render(8, [3])


def test_close_lets_go_of_simulator_and_camera(make, camera, simulator):
    parts = [type(camera)(), type(simulator)()]
    held = [weakref.ref(part) for part in parts]
    env = make(sensors=[parts[0]], simulator=parts[1].build, observe="pixels", image_size=4)
    env.reset()
    state = env.state
    parts.clear()
    env.close()
    assert [x() for x in held] == [None, None]
    env.close()  # again: nothing happens
    step = lambda: env.step(torch.zeros(3, 1))  # noqa: E731
    move = lambda: env.transition(state, torch.zeros(3, 1))  # noqa: E731
    for use in (env.reset, lambda: env.state, lambda: env.recordable, env.render, step, move):
        with pytest.raises(RuntimeError, match="closed"):
            use()


def test_load_state_dict_names_what_is_wrong(make):
    env = make()
    env.reset()
    saved = env.state_dict()
    with pytest.raises(ValueError, match="expected"):
        env.load_state_dict({"physics.joint_q": saved["physics.joint_q"]})
    message = r"'physics.joint_q' has shape \(3, 2\), expected \(2, 2\)"
    with pytest.raises(ValueError, match=message):
        make(num_envs=2).load_state_dict(saved)


WRONG = {
    "lacking": lambda saved: saved.pop("episode.step"),
    "another shape": lambda saved: saved.update({"observed.state": torch.zeros(3, 1)}),
    "another type": lambda saved: saved.update({"episode.step": torch.zeros(3)}),
    "no tensor": lambda saved: saved.update({"episode.return": [0.0] * 3}),
    "generator of 3 bytes": lambda saved: saved.update(
        {"generator": torch.zeros(3, dtype=torch.uint8)}
    ),
    "generator of numbers": lambda saved: saved.update({"generator": torch.zeros(5056)}),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("ready", [True, False])
def test_a_state_that_is_refused_changes_nothing(make, wrong, ready):
    env, twin = make(seed=3), make(seed=3)
    other = make(seed=4)
    other.reset()
    saved = other.state_dict()
    WRONG[wrong](saved)
    for one in (env, twin):
        if ready:
            one.reset()
            one.step(torch.full((3, 1), 0.5))
    with pytest.raises(ValueError):
        env.load_state_dict(saved)
    if not ready:
        with pytest.raises(RuntimeError, match="no state yet"):
            _ = env.state
        env.reset()
        twin.reset()
    found, expected = env.state_dict(), twin.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_new_environment_takes_a_state_without_a_reset(make):
    env = make(seed=3)
    env.reset()
    env.step(torch.full((3, 1), 0.5))
    other = make(seed=4)
    other.load_state_dict(env.state_dict())
    action = torch.full((3, 1), -0.5)
    for ours, theirs in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
        pairs = [(ours["state"], theirs["state"])] if isinstance(ours, dict) else [(ours, theirs)]
        assert all(torch.equal(first, second) for first, second in pairs)
