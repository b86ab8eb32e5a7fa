"""Humanoid and ANYmal move, and their tasks value them, as recorded.

How a recording is read and compared is that of `benchmarks/reference.py`.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import dva
import reference
from _recording import CACHING, Recording, observation_to_recorded, to_ours, to_recorded
from dva import tasks
from dva.sim import State

DATA = Path(__file__).parents[1] / "data"
NAMES = ("humanoid", "anymal")


@pytest.fixture(scope="module", params=NAMES)
def recording(request) -> Recording:
    return Recording(DATA / f"{request.param}.npz")


def test_float32_is_as_exact_as_the_originals(recording: Recording):
    rows = reference.compare(recording)
    bound = [row for row in rows if row["horizon"] in reference.BOUND_HORIZONS]
    too_large = [row for row in bound if not row["ratio"] <= reference.BOUND]
    assert not too_large
    # Values at three horizons; gradients of rewards at three and of states at two, by three inputs.
    assert len(bound) == 2 * (4 * 3 + 3 * (3 + 2))


@pytest.mark.parametrize("caching", CACHING)
def test_float64_agrees_beyond_float32(recording: Recording, caching: str):
    # What remains is that the original rounds its parameters to float32, which contacts amplify.
    with torch.no_grad():
        sim = recording.simulator(caching, torch.float64)
        q0, qd0, actions = recording.inputs
        state = State(*to_ours(recording.model, q0, qd0))
        for step in range(8):
            state = sim.step(state, actions[step])
            recorded = to_recorded(recording.model, state.joint_q, state.joint_qd)
            for name, ours in zip(("joint_q", "joint_qd"), recorded, strict=True):
                exact = recording.series(f"f64/rollout/{caching}/{name}")[step]
                error = np.abs(ours.numpy() - exact).max()
                assert error < 3e-6 * np.abs(exact).max(), f"{name} after step {step + 1}"


@pytest.mark.parametrize("caching", CACHING)
def test_task_functions_give_the_recorded_numbers(recording: Recording, caching: str):
    task, prefix = recording.task, f"f64/rollout/{caching}"
    joint_q, joint_qd = (
        torch.from_numpy(recording.series(f"{prefix}/{key}")).flatten(0, 1)
        for key in ("joint_q", "joint_qd")
    )
    state = to_ours(recording.model, joint_q, joint_qd)
    action = recording.inputs[2].flatten(0, 1)
    observed = observation_to_recorded(recording.model, task.state_observation(*state, action))
    expected = torch.from_numpy(recording.series(f"{prefix}/obs")).flatten(0, 1)
    torch.testing.assert_close(observed, expected, rtol=1e-6, atol=1e-6)
    expected = torch.from_numpy(recording.series(f"{prefix}/reward")).flatten()
    torch.testing.assert_close(task.reward(*state, action), expected, rtol=1e-6, atol=2e-6)
    done = torch.from_numpy(recording.series(f"rollout/{caching}/done")).flatten().bool()
    assert torch.equal(task.terminated(*state), done)


def test_numbers_of_the_task_are_the_recorded_ones(recording: Recording):
    task, data = recording.task, recording.data
    assert task.episode_length == data["model/episode_length"]
    assert task.substeps == data["model/substeps"]
    assert task.mass_matrix_interval == data["model/mm_caching_frequency"]
    assert task.control_dt == pytest.approx(float(data["model/dt"]))
    env = dva.make(task, num_envs=2, device="cpu", observe="state", threads=1)
    assert env.reset()["state"].shape == (2, data["model/num_obs"])
    assert env.action_size == len(data["model/action_dof"])


def test_humanoid_is_paid_for_its_height():
    task = tasks.get("humanoid")
    joint_q, joint_qd = task.start(4, torch.Generator(), torch.device("cpu"), stochastic=False)
    joint_q[:, 2] = torch.tensor([1.35, 0.9, 0.8, 0.73])
    action = torch.full((4, 21), 0.5)
    # It stands straight and looks ahead: 1.1, less the actions' cost.
    terms = task.reward(joint_q, joint_qd, action) - 1.1 + 0.002 * 21 * 0.25
    expected = [1.0, 0.6, -200 * 0.04**2, -200 * 0.11**2]
    torch.testing.assert_close(terms, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert task.terminated(joint_q, joint_qd).tolist() == [False, False, False, True]


def test_anymal_is_paid_for_speed_and_height():
    task = tasks.get("anymal")
    joint_q, joint_qd = task.start(3, torch.Generator(), torch.device("cpu"), stochastic=False)
    joint_q[:, 2] = torch.tensor([0.55, 0.55, 0.24])
    joint_qd[1, 0] = 2.0
    reward = task.reward(joint_q, joint_qd, torch.full((3, 12), -1.0))
    torch.testing.assert_close(reward + 0.06, torch.tensor([1.4, 3.4, 1.09]))
    assert task.terminated(joint_q, joint_qd).tolist() == [False, False, True]


@pytest.mark.parametrize("name", NAMES)
def test_starts_fill_their_range(name: str):
    task = tasks.get(name)
    generator = torch.Generator().manual_seed(0)
    middle, _ = task.start(1, torch.Generator(), torch.device("cpu"), stochastic=False)
    joint_q, joint_qd = task.start(4000, generator, torch.device("cpu"))
    offset = joint_q - middle
    for columns, half in ((offset[:, :3], 0.1), (offset[:, 7:], 0.2), (joint_qd[:, 6:], 0.25)):
        assert (columns.abs() <= half * (1 + 1e-4)).all()
        assert (columns.abs().amax(0) > 0.98 * half).all()
        assert (columns.mean(0).abs() < 0.05 * half).all()
    angle = 2 * torch.atan2(joint_q[:, 3:6].norm(dim=1), joint_q[:, 6])
    assert 0.98 < angle.max() / (math.pi / 24) < 1 + 1e-4
