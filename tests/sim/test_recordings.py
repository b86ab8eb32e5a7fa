"""The dynamics equal the recorded reference simulator's.

Errors are taken against its float64 recording, and compared with the error that its own float32
recording makes there, as in `benchmarks/reference.py`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reference
from _recording import CACHING, Recording, to_ours, to_recorded

from .robots import DATA, rollout

NAMES = ("cartpole_prev", "cartpole", "hopper", "cheetah", "ant")


@pytest.fixture(scope="module", params=NAMES)
def recording(request) -> Recording:
    return Recording(DATA / f"{request.param}.npz")


@pytest.fixture(scope="module")
def rows(recording: Recording) -> list[dict[str, Any]]:
    return reference.compare(recording)


@pytest.mark.parametrize("caching", CACHING)
@pytest.mark.parametrize("horizon", reference.HORIZONS)
def test_errors_are_those_of_float32(rows: list[dict[str, Any]], caching: str, horizon: int):
    here = [row for row in rows if row["mm"] == caching and row["horizon"] == horizon]
    # States, observation and reward; rewards' gradients by three inputs; states' up to horizon 4.
    assert len(here) == 4 + 3 + (3 if horizon <= 4 else 0)
    assert [row for row in here if not row["ratio"] <= reference.BOUND] == []


@pytest.mark.parametrize("caching", CACHING)
def test_float64_agrees_beyond_float32(recording: Recording, caching: str):
    # What remains are the recorded frames' quaternions, rounded to float32 and so not quite unit
    # (6e-8); presumably, since the original turns masses with them too, by direction.
    sim = recording.simulator(caching, torch.float64)
    q0, qd0, actions = recording.inputs
    with torch.no_grad():
        states = rollout(sim, *to_ours(recording.model, q0, qd0), actions)
        states = to_recorded(recording.model, *states)
    for name, ours in zip(("joint_q", "joint_qd"), states, strict=True):
        exact = recording.series(f"f64/rollout/{caching}/{name}")
        scale = np.abs(exact).max()
        assert np.abs(ours[0].numpy() - exact[0]).max() < 3e-7 * scale
        assert np.abs(ours[31].numpy() - exact[31]).max() < 3e-6 * scale


def test_coordinates_go_both_ways():
    recording = Recording(DATA / "ant.npz")
    q0, qd0, _ = recording.inputs
    again = to_recorded(recording.model, *to_ours(recording.model, q0, qd0))
    torch.testing.assert_close(again, (q0, qd0))
    # The recorded start stands upright, which is the identity in a world with z up.
    start = torch.from_numpy(recording.data["model/initial_q"]).double()
    joint_q, joint_qd = to_ours(recording.model, start, torch.zeros(14).double())
    torch.testing.assert_close(joint_q[:7], torch.tensor([0, 0, 0.75, 0, 0, 0, 1]).double())
    assert not joint_qd.any()


def test_twists_become_the_velocity_of_the_centre_of_mass():
    model = Recording(DATA / "ant.npz").model
    joint_q = torch.from_numpy(model.initial_q)
    # The base turns about the world's vertical axis, 2 m to its left (y): it moves forward.
    joint_q[1] = 2.0
    joint_qd = torch.zeros(model.num_dofs, dtype=torch.float64)
    joint_qd[0], joint_qd[5] = -2.0 * 3.0, 3.0
    twist = to_recorded(model, joint_q, joint_qd)[1][:6]
    torch.testing.assert_close(twist, torch.tensor([0.0, 3.0, 0, 0, 0, 0], dtype=torch.float64))


def test_the_file_name_tells_the_task(tmp_path):
    unnamed = Path(shutil.copy(DATA / "cartpole_prev.npz", tmp_path / "walker.npz"))
    with pytest.raises(ValueError, match=r"does not tell one of the tasks.*--task"):
        Recording(unnamed)
    assert Recording(unnamed, "cartpole_prev").task.name == "cartpole"
    named = Recording(Path(shutil.copy(DATA / "cartpole.npz", tmp_path / "new-cartpole-7.npz")))
    # The numbers of the recording tell which of the two cartpoles it is.
    assert (named.model.dof_stiffness == 100).all()
    assert not Recording(DATA / "cartpole_prev.npz").model.dof_stiffness.any()


def test_the_script_prints_json_and_fails_where_an_error_is_too_large(capsys, monkeypatch):
    path = str(DATA / "cartpole_prev.npz")
    monkeypatch.setattr("sys.argv", ["reference.py", path, "--json"])
    assert reference.main() == 0
    result = json.loads(capsys.readouterr().out)
    assert result["task"] == "cartpole" and 0 < result["worst_ratio"] <= reference.BOUND
    assert set(result["quantities"][0]) == {
        "name", "mm", "horizon", "error", "reference_error", "ratio",
    }  # fmt: skip
    monkeypatch.setattr(reference, "BOUND", 1e-6)
    assert reference.main() == 1
