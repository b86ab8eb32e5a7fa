"""Robots of Gymnasium, as they are: they load, agree with MuJoCo, and settle on the floor."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from dva.sim import WarpSimulator, load_model, stable_substeps
from dva.sim.mjcf.agreement import (
    acceleration_error,
    limp,
    mechanical_energy,
    rest_coordinates,
    start_within_limits,
)

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
NAMES = sorted(path.stem for path in ASSETS.glob("*.xml"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error", "ignore:.*settotalmass.* is deprecated")
def test_they_load_and_accelerate_as_in_mujoco(name: str):
    model = load_model(ASSETS / f"{name}.xml")
    assert acceleration_error(model) < 1e-6
    assert stable_substeps(model, 1 / 60) < 60


@pytest.mark.filterwarnings("ignore:.*settotalmass.* is deprecated")
@pytest.mark.parametrize(
    ("name", "apart"), [("ant", 3e-3), ("humanoid", 3e-3), ("half_cheetah", 0.015)]
)
def test_they_settle_where_mujocos_do(name: str, apart: float):
    """Dropped without actuation, at the substeps that `dva doctor` proposes.

    The impedance of the cheetah's contacts rises from 0 to 0.8 with depth; ours is that half way.
    """
    model = load_model(ASSETS / f"{name}.xml")
    sim = WarpSimulator(
        limp(model), 1, dtype=torch.float64, substeps=stable_substeps(model, 1 / 60),
        mass_matrix_interval=1, threads=1,
    )  # fmt: skip
    start = start_within_limits(model)
    zeros = torch.zeros(1, model.num_dofs, dtype=torch.float64)
    states = [sim.new_state(torch.tensor(start)[None], zeros)]
    for _ in range(120):
        action = torch.zeros(1, model.num_actions, dtype=torch.float64)
        states.append(sim.step(states[-1], action))
    assert states[-1].joint_qd.abs().max() < 0.3
    height = 2 if name != "half_cheetah" else 1
    theirs = rest_coordinates(model, 2.0, start)[height]
    assert states[-1].joint_q[0, height].item() == pytest.approx(theirs, abs=apart)
    energy = mechanical_energy(model, states)
    assert np.all(energy <= energy[0] + 0.01 * (energy[0] - energy.min()))
