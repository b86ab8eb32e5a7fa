"""The dynamics equal the recorded reference simulator's.

Errors are taken against its float64 recording, and compared with the error that its own float32
recording makes there.
"""

import numpy as np
import pytest
import torch

from dva import tasks
from dva.sim import Simulator

from .robots import DATA, recorded_model, rollout

FACTOR = 5.0
NAMES = ("cartpole_prev", "cartpole", "hopper")
CACHING = ("mm_cfg", "mm_1")


class Recording:
    """A recording with its seeds and environments merged into one axis, time first."""

    def __init__(self, name: str):
        self.name = name
        self.data = np.load(DATA / f"{name}.npz")
        self.model = recorded_model(name)

    def simulator(self, caching: str, dtype: torch.dtype) -> Simulator:
        substeps = int(self.data["model/substeps"])
        interval = int(self.data["model/mm_caching_frequency"]) if caching == "mm_cfg" else 1
        num_envs = self.batch("input/q0").shape[0]
        return Simulator(
            self.model, num_envs, dtype=dtype, substeps=substeps, mass_matrix_interval=interval
        )

    def batch(self, key: str) -> np.ndarray:
        value = self.data[key]
        return value.reshape(-1, *value.shape[2:])

    def series(self, key: str) -> np.ndarray:
        value = np.moveaxis(self.data[key], 1, 0)
        return value.reshape(len(value), -1, *value.shape[3:])

    def inputs(self, dtype: torch.dtype) -> list[torch.Tensor]:
        arrays = (self.batch("input/q0"), self.batch("input/qd0"), self.series("input/actions"))
        return [torch.tensor(array, dtype=dtype).requires_grad_() for array in arrays]


@pytest.fixture(scope="module", params=NAMES)
def recording(request) -> Recording:
    return Recording(request.param)


@pytest.mark.parametrize("caching", CACHING)
def test_states(recording: Recording, caching: str):
    sim = recording.simulator(caching, torch.float32)
    with torch.no_grad():
        states = rollout(sim, *recording.inputs(torch.float32))
    for name, ours in zip(("joint_q", "joint_qd"), states, strict=True):
        exact = recording.series(f"f64/rollout/{caching}/{name}")
        theirs = recording.series(f"rollout/{caching}/{name}")
        for steps in (1, 8, 32):
            error = np.abs(ours[steps - 1].numpy() - exact[steps - 1]).max()
            bound = FACTOR * np.abs(theirs[steps - 1] - exact[steps - 1]).max()
            assert error <= bound, f"{name} after {steps} steps: {error:.2e} > {bound:.2e}"


def relative_errors(ours: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Relative 2-norm error of each trajectory; the trajectory is the last axis but one."""
    axes = (0, 2) if ours.ndim == 3 else (1,)
    scale = np.linalg.norm(exact, axis=axes)
    return np.linalg.norm(ours - exact, axis=axes) / scale


def check_gradients(recording: Recording, prefix: str, value: torch.Tensor, inputs, horizon: int):
    gradients = torch.autograd.grad(value, inputs)
    for name, ours in zip(("q0", "qd0", "actions"), gradients, strict=True):
        read = recording.series if name == "actions" else recording.batch
        exact, theirs = read(f"f64/{prefix}/{name}"), read(f"{prefix}/{name}")
        ours = ours[:horizon].numpy() if name == "actions" else ours.numpy()
        errors, reference = relative_errors(ours, exact), relative_errors(theirs, exact)
        worst, bound = errors.max(), FACTOR * reference.max()
        assert worst <= bound, f"{prefix}/{name}: worst {worst:.2e} > {bound:.2e}"
        middle, bound = np.median(errors), FACTOR * np.median(reference)
        assert middle <= bound, f"{prefix}/{name}: median {middle:.2e} > {bound:.2e}"


@pytest.mark.parametrize("caching", CACHING)
@pytest.mark.parametrize("horizon", (1, 4))
def test_state_gradients(recording: Recording, caching: str, horizon: int):
    sim = recording.simulator(caching, torch.float32)
    inputs = recording.inputs(torch.float32)
    qs, qds = rollout(sim, inputs[0], inputs[1], inputs[2][:horizon])
    w_q, w_qd = torch.tensor(recording.batch("input/w_q")), recording.batch("input/w_qd")
    value = (w_q * qs[-1]).sum() + (torch.tensor(w_qd) * qds[-1]).sum()
    check_gradients(recording, f"grad/{caching}/final/h{horizon}", value, inputs, horizon)


@pytest.mark.parametrize("caching", CACHING)
@pytest.mark.parametrize("horizon", (1, 4, 8, 16, 32))
def test_reward_gradients(recording: Recording, caching: str, horizon: int):
    sim = recording.simulator(caching, torch.float32)
    task = tasks.get(recording.name.removesuffix("_prev"))
    inputs = recording.inputs(torch.float32)
    actions = inputs[2][:horizon]
    qs, qds = rollout(sim, inputs[0], inputs[1], actions)
    rewards = [task.reward(*row) for row in zip(qs, qds, actions, strict=True)]
    value = torch.stack(rewards).sum()
    check_gradients(recording, f"grad/{caching}/reward/h{horizon}", value, inputs, horizon)


@pytest.mark.parametrize("caching", CACHING)
def test_float64_agrees_beyond_float32(recording: Recording, caching: str):
    # What remains is that the recorded frames hold a quaternion rounded to float32 (6e-8).
    sim = recording.simulator(caching, torch.float64)
    inputs = recording.inputs(torch.float64)
    with torch.no_grad():
        joint_q, joint_qd = rollout(sim, *inputs)
    for name, ours in (("joint_q", joint_q), ("joint_qd", joint_qd)):
        exact = recording.series(f"f64/rollout/{caching}/{name}")
        scale = np.abs(exact).max()
        assert np.abs(ours[0].numpy() - exact[0]).max() < 3e-7 * scale
        assert np.abs(ours[31].numpy() - exact[31]).max() < 3e-6 * scale
