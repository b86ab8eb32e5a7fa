"""Observations, rewards and terminations against recordings of the original environments.

Their world is y up; `benchmarks/_recording.py` converts.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import dva
from _recording import Recording, observation_to_recorded, to_ours, to_recorded
from dva import tasks
from dva.sim import load_model

DATA = Path(__file__).parents[1] / "data"
FILES = ("cartpole_prev", "cartpole", "hopper", "cheetah", "ant")
TASKS = ("cartpole_prev", "hopper", "cheetah", "ant")


def flat(recording: Recording, key: str) -> torch.Tensor:
    """(seeds, steps, environments, ...) -> (all of them, ...)."""
    array = recording.data[key]
    return torch.from_numpy(array.reshape(-1, *array.shape[3:]))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("interval", ["mm_cfg", "mm_1"])
def test_task_functions_give_the_recorded_numbers(file, interval):
    recording = Recording(DATA / f"{file}.npz")
    task, model = recording.task, recording.model
    states = [flat(recording, f"rollout/{interval}/{key}") for key in ("joint_q", "joint_qd")]
    joint_q, joint_qd = (x.float() for x in to_ours(model, *(x.double() for x in states)))
    action = flat(recording, "input/actions")
    observed = observation_to_recorded(model, task.state_observation(joint_q, joint_qd, action))
    expected = flat(recording, f"rollout/{interval}/obs")
    torch.testing.assert_close(observed, expected, rtol=2e-6, atol=2e-6)
    reward = task.reward(joint_q, joint_qd, action)
    expected = flat(recording, f"rollout/{interval}/reward")
    torch.testing.assert_close(reward, expected, rtol=2e-6, atol=2e-5)
    done = flat(recording, f"rollout/{interval}/done").bool()
    assert torch.equal(task.terminated(joint_q, joint_qd), done)


@pytest.mark.parametrize("file", TASKS)
def test_numbers_of_the_task_are_the_recorded_ones(file):
    recording = Recording(DATA / f"{file}.npz")
    task, data = recording.task, recording.data
    assert task.inertia == "published"
    assert task.episode_length == data["model/episode_length"]
    assert task.substeps == data["model/substeps"]
    assert task.mass_matrix_interval == data["model/mm_caching_frequency"]
    assert task.control_dt == pytest.approx(float(data["model/dt"]))
    joint_q, joint_qd = task.start(2, torch.Generator(), torch.device("cpu"), stochastic=False)
    recorded_q, recorded_qd = to_recorded(recording.model, joint_q, joint_qd)
    for ours, recorded in zip(joint_q, recorded_q, strict=True):
        np.testing.assert_allclose(recorded, data["model/initial_q"], atol=1e-6)
        np.testing.assert_allclose(ours, recording.model.initial_q, atol=1e-6)
    assert not joint_qd.any() and not recorded_qd.any()


@pytest.mark.parametrize("file", TASKS)
def test_episode_follows_the_recording(file, make):
    recording = Recording(DATA / f"{file}.npz")
    model = recording.model
    env = make(recording.task.name, num_envs=8)
    q0, qd0, actions = recording.inputs
    env.set_state(*(x.float() for x in to_ours(model, q0, qd0)))
    running = torch.ones(8, dtype=torch.bool)
    for step in range(32):

        def recorded(key: str, step: int = step) -> torch.Tensor:
            return torch.from_numpy(recording.series(key)[step])

        _, reward, terminated, _, info = env.step(actions[step].float())
        expected = recorded("f64/rollout/mm_cfg/reward").float()
        torch.testing.assert_close(reward[running], expected[running], rtol=2e-5, atol=2e-3)
        state = observation_to_recorded(model, info["final_observation"]["state"])
        expected = recorded("f64/rollout/mm_cfg/obs").float()
        torch.testing.assert_close(state[running], expected[running], rtol=1e-4, atol=1e-3)
        assert torch.equal(terminated[running], recorded("rollout/mm_cfg/done").bool()[running])
        running &= ~terminated


@pytest.mark.parametrize("file", TASKS)
@pytest.mark.parametrize("horizon", [1, 8])
def test_gradients_are_the_recorded_ones(file, horizon, make):
    recording = Recording(DATA / f"{file}.npz")
    env = make(recording.task.name, num_envs=8)
    start = [x.clone().requires_grad_() for x in recording.inputs[:2]]
    env.set_state(*(x.float() for x in to_ours(recording.model, *start)))
    actions = recording.inputs[2][:horizon].float().requires_grad_()
    torch.stack([env.step(action)[1].sum() for action in actions]).sum().backward()
    prefix = f"f64/grad/mm_cfg/reward/h{horizon}"
    expected = [recording.series(f"{prefix}/actions")]
    expected += [recording.batch(f"{prefix}/{key}") for key in ("q0", "qd0")]
    for ours, recorded in zip((actions, *start), expected, strict=True):
        assert ours.grad is not None
        gradient, recorded = ours.grad, torch.from_numpy(recorded)
        if ours is start[0] and recording.free:
            # Only along the unit quaternions do both mean the same.
            quaternion = torch.zeros_like(recorded)
            quaternion[:, 3:7] = torch.nn.functional.normalize(ours.detach()[:, 3:7], dim=1)
            gradient, recorded = (
                x - (x * quaternion).sum(1, keepdim=True) * quaternion for x in (gradient, recorded)
            )
        assert (gradient - recorded).norm() / recorded.norm() < 5e-5


def test_inertia_of_a_task_can_be_chosen(make):
    published, physical = (
        make("ant", **changes).simulator.model for changes in ({}, {"inertia": "physical"})
    )
    assert (published.link_mass == physical.link_mass).all()
    difference = np.abs(published.link_inertia - physical.link_inertia)
    assert (difference.max((1, 2)) > 0.01).all()
    with pytest.raises(ValueError, match="inertia is 'true'"):
        dva.make("ant", num_envs=1, device="cpu", observe="state", inertia="true")


@pytest.mark.parametrize(
    ("name", "coordinate_range", "velocity_range"),
    [("cartpole", np.pi / 12, 0.05), ("hopper", 0.05, 0.05), ("cheetah", 0.1, 0.25)],
)
def test_starts_fill_their_range(name, coordinate_range, velocity_range):
    task = tasks.get(name)
    generator = torch.Generator().manual_seed(0)
    joint_q, joint_qd = task.start(4000, generator, torch.device("cpu"))
    middle = torch.from_numpy(load_model(task.mjcf).initial_q).float()
    for offset, half in ((joint_q - middle, coordinate_range), (joint_qd, velocity_range)):
        assert (offset.abs() <= half * (1 + 1e-5)).all()
        assert (offset.amax(0) > 0.99 * half).all() and (offset.amin(0) < -0.99 * half).all()
        assert (offset.mean(0).abs() < 0.05 * half).all()
        assert (offset.std(0) / half - 3**-0.5).abs().max() < 0.02
    columns = torch.cat([joint_q, joint_qd], dim=1).T
    assert (torch.corrcoef(columns) - torch.eye(len(columns))).abs().max() < 0.06


def test_starts_of_a_free_base_fill_their_range():
    task = tasks.get("ant")
    model = load_model(task.mjcf)
    start = task.start(4000, torch.Generator().manual_seed(0), torch.device("cpu"))
    # In the recorded convention every velocity is drawn alike: the base's is its twist.
    joint_q, joint_qd = to_recorded(model, *start)
    middle, _ = to_recorded(model, torch.from_numpy(model.initial_q).float(), joint_qd[0])
    offset = joint_q - middle
    uniform = torch.cat([offset[:, :3] / 0.1, offset[:, 7:] / 0.2, joint_qd / 0.25], dim=1)
    assert (uniform.abs() <= 1 + 1e-5).all() and (uniform.abs().amax(0) > 0.99).all()
    assert (uniform.mean(0).abs() < 0.05).all()
    assert (uniform.std(0) - 3**-0.5).abs().max() < 0.02
    quaternion = start[0][:, 3:7]
    torch.testing.assert_close(quaternion.norm(dim=1), torch.ones(4000))
    angle = 2 * torch.atan2(quaternion[:, :3].norm(dim=1), quaternion[:, 3])
    assert 0.99 < angle.max() / (np.pi / 24) < 1 + 1e-5
    assert abs(angle.mean() / (np.pi / 48) - 1) < 0.05
    assert (quaternion[:, :3].mean(0).abs() < 0.003).all()
    columns = torch.cat([uniform, quaternion[:, :3]], dim=1).T
    assert (torch.corrcoef(columns) - torch.eye(len(columns))).abs().max() < 0.08
