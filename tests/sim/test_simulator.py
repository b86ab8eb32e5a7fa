"""Bad input is refused with the value, what is allowed and the fix."""

from typing import Any

import pytest
import torch

from dva import robots
from dva.sim import WarpSimulator, load_model

from .robots import step

MODEL = load_model(robots.mjcf_path("cartpole"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"substeps": 0, "mass_matrix_interval": 1}, "substeps is 0"),
        ({"substeps": 4, "mass_matrix_interval": 5}, "1 to substeps"),
        ({"control_dt": 0.0}, "must be positive"),
        ({"threads": 0}, "threads is 0"),
        ({"dtype": torch.float16}, "torch.float32 and torch.float64"),
        ({"state_storage": "disk"}, "'full', 'recompute'"),
    ],
)
def test_options(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        WarpSimulator(MODEL, **{"num_envs": 2, **options})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 2), (2, 2), (2, 1)), r"joint_q has shape \(3, 2\); expected \(num_envs, 2\)"),
        (((2, 2), (2, 3), (2, 1)), "joint_qd has shape"),
        (((2, 2), (2, 2), (2, 2)), "action has shape"),
    ],
)
def test_shapes(shapes, message: str):
    with pytest.raises(ValueError, match=message):
        step(WarpSimulator(MODEL, 2, substeps=4), *(torch.zeros(shape) for shape in shapes))


def test_dtype():
    state = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"torch.float64 on cpu; expected torch.float32"):
        step(WarpSimulator(MODEL, 2, substeps=4), state, state, torch.zeros(2, 1))


def test_action_is_clipped():
    sim = WarpSimulator(MODEL, 2, substeps=4)
    state = torch.zeros(2, 2), torch.zeros(2, 2)
    inside, outside = torch.tensor([[1.0], [-1.0]]), torch.tensor([[3.0], [-7.0]])
    assert torch.equal(step(sim, *state, inside)[1], step(sim, *state, outside)[1])
