"""Observations, rewards and terminations against recordings of the original environments.

Both robots are planar, so that their joint coordinates are the same in the recordings' y-up world.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from dva import tasks
from dva.sim import load_model

DATA = Path(__file__).parents[1] / "data"
RECORDINGS = [("cartpole", "cartpole_prev"), ("cartpole", "cartpole"), ("hopper", "hopper")]


def flat(recording, key: str) -> torch.Tensor:
    """(seeds, steps, environments, ...) -> (all of them, ...)."""
    array = recording[key]
    return torch.from_numpy(array.reshape(-1, *array.shape[3:]))


@pytest.mark.parametrize(("name", "file"), RECORDINGS)
@pytest.mark.parametrize("interval", ["mm_cfg", "mm_1"])
def test_task_functions_give_the_recorded_numbers(name, file, interval):
    recording = np.load(DATA / f"{file}.npz")
    task = tasks.get(name)
    joint_q = flat(recording, f"rollout/{interval}/joint_q")
    joint_qd = flat(recording, f"rollout/{interval}/joint_qd")
    action = flat(recording, "input/actions")
    observed = task.state_observation(joint_q, joint_qd, action)
    torch.testing.assert_close(observed, flat(recording, f"rollout/{interval}/obs"))
    reward = task.reward(joint_q, joint_qd, action)
    expected = flat(recording, f"rollout/{interval}/reward")
    torch.testing.assert_close(reward, expected, rtol=2e-6, atol=2e-5)
    done = flat(recording, f"rollout/{interval}/done").bool()
    assert torch.equal(task.terminated(joint_q, joint_qd), done)


@pytest.mark.parametrize(("name", "file"), [RECORDINGS[0], RECORDINGS[2]])
def test_numbers_of_the_task_are_the_recorded_ones(name, file):
    recording = np.load(DATA / f"{file}.npz")
    task = tasks.get(name)
    assert task.episode_length == recording["model/episode_length"]
    assert task.substeps == recording["model/substeps"]
    assert task.mass_matrix_interval == recording["model/mm_caching_frequency"]
    assert task.control_dt == pytest.approx(float(recording["model/dt"]))
    joint_q, joint_qd = task.start(2, torch.Generator(), torch.device("cpu"), stochastic=False)
    for row in joint_q:
        np.testing.assert_allclose(row, recording["model/initial_q"], atol=1e-6)
        np.testing.assert_allclose(row, load_model(task.mjcf).initial_q, atol=1e-6)
    assert not joint_qd.any()


@pytest.mark.parametrize(("name", "file"), [RECORDINGS[0], RECORDINGS[2]])
def test_episode_follows_the_recording(name, file, make):
    recording = np.load(DATA / f"{file}.npz")
    env = make(name, num_envs=8)
    env.set_state(*(torch.from_numpy(recording[f"input/{x}"]).flatten(0, 1) for x in ("q0", "qd0")))
    running = torch.ones(8, dtype=torch.bool)
    for step in range(32):

        def recorded(key: str, step: int = step) -> torch.Tensor:
            return torch.from_numpy(recording[key][:, step]).flatten(0, 1)

        action = recorded("input/actions")
        _, reward, terminated, _, info = env.step(action)
        expected = recorded("f64/rollout/mm_cfg/reward").float()
        torch.testing.assert_close(reward[running], expected[running], rtol=2e-5, atol=2e-3)
        state = info["final_observation"]["state"]
        expected = recorded("f64/rollout/mm_cfg/obs").float()
        torch.testing.assert_close(state[running], expected[running], rtol=1e-4, atol=1e-3)
        assert torch.equal(terminated[running], recorded("rollout/mm_cfg/done").bool()[running])
        running &= ~terminated


@pytest.mark.parametrize(("name", "file"), [RECORDINGS[0], RECORDINGS[2]])
@pytest.mark.parametrize("horizon", [1, 8])
def test_gradients_are_the_recorded_ones(name, file, horizon, make):
    recording = np.load(DATA / f"{file}.npz")
    env = make(name, num_envs=8)
    start = [torch.from_numpy(recording[f"input/{x}"]).flatten(0, 1) for x in ("q0", "qd0")]
    start = [x.requires_grad_() for x in start]
    env.set_state(*start)
    actions = torch.from_numpy(recording["input/actions"][:, :horizon]).transpose(0, 1)
    actions = actions.flatten(1, 2).requires_grad_()  # (horizon, seeds * environments, A)
    torch.stack([env.step(action)[1].sum() for action in actions]).sum().backward()
    prefix = f"f64/grad/mm_cfg/reward/h{horizon}"
    expected = torch.from_numpy(recording[f"{prefix}/actions"]).transpose(0, 1).flatten(1, 2)
    pairs = [(actions.grad, expected)]
    pairs += [
        (x.grad, torch.from_numpy(recording[f"{prefix}/{key}"]).flatten(0, 1))
        for x, key in zip(start, ("q0", "qd0"), strict=True)
    ]
    for gradient, recorded in pairs:
        assert gradient is not None
        error = (gradient - recorded).norm() / recorded.norm()
        assert error < 5e-5


@pytest.mark.parametrize(
    ("name", "coordinate_range", "velocity_range"),
    [("cartpole", np.pi / 12, 0.05), ("hopper", 0.05, 0.05)],
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
