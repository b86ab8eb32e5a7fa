"""The checks pass here, and a failing part is named with advice."""

import sys
from pathlib import Path

import gymnasium
import pytest
import torch

from dva import robots
from dva.cli import main
from dva.runs import UsageError, doctor
from dva.runs.nan_guard import dump_nonfinite, replay
from dva.tasks import registry


def test_every_check_passes():
    checks = list(doctor.check_installation("cartpole", "cpu"))
    assert [check for check in checks if not check.ok] == []
    assert [check.name for check in checks] == [
        "versions", "devices", "kernel compilation", "substeps", "stepping", "reward",
        "rendering", "sensors", "gradient", "ffmpeg",
    ]  # fmt: skip


def test_a_failing_part_is_named_and_the_rest_goes_on(monkeypatch):
    def fail(task: str) -> float:
        return 0.5

    monkeypatch.setattr(doctor, "gradient_error", fail)
    checks = {check.name: check for check in doctor.check_installation("cartpole", "cpu")}
    assert not checks["gradient"].ok
    assert "5.0e-01" in checks["gradient"].detail
    assert "too few substeps" in checks["gradient"].advice
    assert "pip" not in checks["gradient"].advice
    assert checks["ffmpeg"].ok


def test_reinstalling_takes_the_checkout_not_a_namesake(monkeypatch):
    monkeypatch.setattr(doctor, "versions", lambda: {"warp-lang": "not installed"})
    check = next(doctor.check_installation("cartpole", "cpu"))
    assert not check.ok
    assert check.advice.endswith("pip install --force-reinstall -e .")


def test_the_gradient_of_contact_is_right_too():
    assert doctor.gradient_error("hopper", steps=1, num_envs=1) < doctor.GRADIENT_TOLERANCE


def own_task(folder: Path, mjcf: str, /, before: str = "", **changes: str) -> str:
    """Writes a module with a cartpole of one's own, after some code; returns its MODULE:NAME."""
    name = f"own_{folder.name}".replace("-", "_").lower()
    values = {"name": "'own'", "robot": "'robot.xml'", "inertia": "'physical'", **changes}
    fields = "\n".join(f"    {key}: object = {value}" for key, value in values.items())
    (folder / f"{name}.py").write_text(
        "from dataclasses import dataclass\nfrom dva import tasks\n"
        "from dva.sensors import View\n"
        f"from dva.tasks.cartpole import Cartpole\n{before}\n@dataclass(frozen=True)\n"
        f"class Own(Cartpole):\n{fields}\n\n"
        "tasks.register(Own(), replace=True)\n"
    )
    (folder / "robot.xml").write_text(mjcf)
    return f"{name}:own"


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    known, ids = dict(registry._TASKS.entries), dict(gymnasium.registry)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    registry._TASKS.entries.clear()
    registry._TASKS.entries.update(known)
    gymnasium.registry.clear()
    gymnasium.registry.update(ids)


CARTPOLE = robots.mjcf_path("cartpole").read_text()


def test_a_task_of_ones_own_is_checked(in_folder):
    task = own_task(in_folder, CARTPOLE)
    assert [check for check in doctor.check_installation(task, "cpu") if not check.ok] == []


def test_too_few_substeps_are_a_failed_check(in_folder):
    stiff = CARTPOLE.replace('range="-1000 1000" armature', 'damping="500" armature')
    task = own_task(in_folder, stiff)
    checks = {check.name: check for check in doctor.check_installation(task, "cpu")}
    assert not checks["substeps"].ok
    assert checks["substeps"].detail.startswith("4 given, ")
    assert checks["substeps"].detail.endswith(" needed")
    assert "Raise the task's substeps" in checks["substeps"].advice
    assert checks["ffmpeg"].ok


@pytest.mark.parametrize(
    ("robot", "changes", "message"),
    [
        (CARTPOLE.replace('gear="1000"', 'gear="nan"'), {}, "motor 'slide' has gear=\"nan\""),
        ("<mujoco><worldbody>", {}, "MuJoCo cannot compile"),
        ("", {}, "MuJoCo cannot compile"),
        (CARTPOLE, {"robot": "'nowhere.xml'"}, "There is no robot file 'nowhere.xml'"),
        (CARTPOLE, {"robot": "'hopper'"}, "Change start"),
        (CARTPOLE, {"start": "None"}, "TypeError"),
        (CARTPOLE, {"reward": "None"}, "TypeError"),
        (CARTPOLE, {"view": "View((0, -1, 0), (0, 0, 0), mount='torse')"}, "View.mount is 'torse'"),
        (CARTPOLE, {"inertia": "1 / 0"}, "fails with ZeroDivisionError"),
        (CARTPOLE, {"inertia": "'guessed'"}, "allowed: physical, published"),
    ],
)
def test_a_task_that_cannot_be_built_is_one_line(in_folder, capsys, robot, changes, message):
    task = own_task(in_folder, robot, **changes)
    assert main(["doctor", task, "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""


SENSOR = """

from dva.spec import Entry

class Spoilt:
    name = "spoilt"
    entry = Entry("spoilt", "vector", (2,))
    differentiable, recordable = True, True
    def build(self, request):
        return self
    def read(self, state):
        return state.joint_q.double()
"""


def test_a_sensor_that_reads_something_else_is_a_failed_check(in_folder):
    task = own_task(in_folder, CARTPOLE, before=SENSOR, sensors="(Spoilt(),)")
    checks = {check.name: check for check in doctor.check_installation(task, "cpu")}
    assert [name for name, check in checks.items() if not check.ok] == ["sensors"]
    assert "Sensor 'spoilt' returns torch.float64 (2, 2)" in checks["sensors"].detail


@pytest.mark.parametrize(
    ("formula", "detail"),
    [
        ("joint_q[:, 0].detach()", "the reward has no gradient"),
        ("(joint_q[:, 0] > 0).float() + 0 * joint_q[:, 0]", "does not change with the actions"),
        ("(0 * joint_q[:, 0]).sqrt()", "steps is not finite"),
    ],
)
def test_a_reward_without_a_useful_gradient_is_a_check_of_its_own(in_folder, formula, detail):
    reward = f"lambda joint_q, joint_qd, action: {formula}"
    task = own_task(in_folder, CARTPOLE, reward=reward)
    failed = [check for check in doctor.check_installation(task, "cpu") if not check.ok]
    assert [check.name for check in failed] == ["reward"]
    assert detail in failed[0].detail and "reward()" in failed[0].advice


def test_a_broken_installation_is_no_traceback(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "dva.runs.doctor", None)  # importing it fails
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failed  installation: ") and lines[-1] == "Failed: installation"


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
