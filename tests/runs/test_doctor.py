"""The checks pass here, and a failing part is named with advice."""

import pytest
import torch

from dva.runs import UsageError, doctor
from dva.runs.nan_guard import dump_nonfinite, replay


def test_every_check_passes():
    checks = list(doctor.check_installation("cartpole", "cpu"))
    assert [check for check in checks if not check.ok] == []
    assert [check.name for check in checks] == [
        "versions", "devices", "kernel compilation", "stepping", "rendering", "gradient", "ffmpeg",
    ]  # fmt: skip


def test_a_failing_part_is_named_and_the_rest_goes_on(monkeypatch):
    def fail(task: str) -> float:
        return 0.5

    monkeypatch.setattr(doctor, "gradient_error", fail)
    checks = {check.name: check for check in doctor.check_installation("cartpole", "cpu")}
    assert not checks["gradient"].ok
    assert "5.0e-01" in checks["gradient"].detail
    assert "pip check" in checks["gradient"].advice
    assert checks["ffmpeg"].ok


def test_reinstalling_takes_the_checkout_not_a_namesake(monkeypatch):
    monkeypatch.setattr(doctor, "versions", lambda: {"warp-lang": "not installed"})
    check = next(doctor.check_installation("cartpole", "cpu"))
    assert not check.ok
    assert check.advice.endswith("pip install --force-reinstall -e .")


def test_the_gradient_of_contact_is_right_too():
    assert doctor.gradient_error("hopper", steps=1, num_envs=1) < doctor.GRADIENT_TOLERANCE


def test_replay_names_what_was_bad_before_and_what_became_bad(tmp_path):
    state = {
        "joint_q": torch.tensor([[0.0, 0.1], [0.0, 0.1], [0.0, 0.1]]),
        "joint_qd": torch.tensor([[0.0, 9e5], [0.0, 0.0], [0.0, 0.0]]),
        "action": torch.tensor([[0.0], [float("nan")], [0.5]]),
    }
    path = dump_nonfinite(tmp_path, "state", state, {"task": "cartpole"})
    found = replay(path)
    assert found.task == "cartpole"
    assert len(found.lines) == 2
    assert found.lines[0].startswith("environment 0: at substep 1 of 4: ")
    assert "action[0] = nan" in found.lines[1]
    assert "already before the step" in found.lines[1]


def test_replay_refuses_other_files(tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_text("nothing")
    for name in (path, tmp_path / "missing.safetensors"):
        with pytest.raises(UsageError, match="not a state saved by --nan-guard"):
            replay(name)
