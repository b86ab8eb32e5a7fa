"""Dumps of the NaN guard come back, and damaged ones are refused with one line."""

from pathlib import Path

import pytest
import torch

from dva.cli import main
from dva.compute.errors import FileError, UsageError
from dva.runs.nan_guard import dump_nonfinite, replay
from dva.sim import registry

STATE = {
    "joint_q": torch.zeros(2, 2),
    "joint_qd": torch.tensor([[0.0, 0.0], [0.0, 9e9]]),
    "action": torch.zeros(2, 1),
}


def dump(folder: Path, state: dict[str, torch.Tensor] = STATE, task: object = "cartpole") -> Path:
    return dump_nonfinite(folder, "iteration-000001", state, {"task": task})


def test_a_dump_comes_back(tmp_path):
    found = replay(dump(tmp_path))
    assert found.task == "cartpole"
    assert found.lines == ("environment 1: already before the step: joint_qd[1] = 9e+09",)


def test_a_dump_is_replayed_by_the_simulator_that_made_it(tmp_path, monkeypatch, simulator):
    simulator.spoil = {1: float("nan")}
    monkeypatch.setitem(registry._SIMULATORS.entries, "stand-in", simulator.build)
    still = {**STATE, "joint_qd": torch.zeros(2, 2)}
    assert replay(dump(tmp_path, still)).lines == ()
    info = {"task": "cartpole", "simulator": "stand-in"}
    found = replay(dump_nonfinite(tmp_path, "other", still, info))
    assert found.lines == ("environment 1: at substep 1 of 4: joint_q[0] = nan, joint_q[1] = nan",)


@pytest.mark.parametrize("name", ["wrap", 3])
def test_a_foreign_simulator_is_refused(tmp_path, name, capsys):
    info = {"task": "cartpole", "simulator": name}
    check_refused(dump_nonfinite(tmp_path, "state", STATE, info), "simulator", capsys)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"action": None}, "it holds ['joint_q', 'joint_qd'], expected"),
        ({"more": torch.zeros(1)}, "'more'], expected"),
        ({"joint_q": torch.zeros(2, 3)}, "joint_q has shape (2, 3), expected (n, 2) for cartpole"),
        ({"action": torch.zeros(3, 1)}, "action has shape (3, 1), expected (n, 1)"),
        ({"joint_qd": torch.zeros(2)}, "joint_qd has shape (2,)"),
        ({"joint_q": torch.tensor(0.0)}, "joint_q has shape ()"),
        ({name: torch.zeros(0, x.shape[1]) for name, x in STATE.items()}, "n from 1 on"),
        ({"joint_q": torch.zeros(2, 2).double()}, "joint_q is torch.float64"),
        ({"action": torch.zeros(2, 1, dtype=torch.int32)}, "action is torch.int32"),
    ],
)
def test_tensors_that_are_no_dump_are_refused(tmp_path, change, fault, capsys):
    state = {name: value for name, value in {**STATE, **change}.items() if value is not None}
    check_refused(dump(tmp_path, state), fault, capsys)


@pytest.mark.parametrize("task", ["hopper", "nothing", "os:slide", "", 3, None, ["cartpole"]])
def test_a_foreign_task_is_refused(tmp_path, task, capsys):
    check_refused(dump(tmp_path, task=task), "", capsys)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"17", b"{}", b"\xff", b"[" * 100_000, b'{"task": NaN}', None]
)
def test_a_damaged_info_file_is_refused(tmp_path, content, capsys):
    path = dump(tmp_path)
    if content is None:
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_bytes(content)
    check_refused(path, "", capsys)


def test_damaged_tensors_are_refused(tmp_path, capsys):
    path = dump(tmp_path)
    content = path.read_bytes()
    for length in (0, 4, 8, 20, len(content) - 1):
        path.write_bytes(content[:length])
        check_refused(path, "", capsys)
    for bit in range(8 * 60):  # the header: a flipped bit of a number is a number
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            replay(path)
        except UsageError as error:
            assert "\n" not in str(error)
    path.unlink()
    check_refused(path, "No such file", capsys)
    path.mkdir()
    check_refused(path, "Is a directory", capsys)


def test_a_folder_that_takes_no_dump_is_named(tmp_path):
    (tmp_path / "nan").write_text("")
    with pytest.raises(FileError, match=f"{tmp_path}/nan.* cannot be written"):
        dump(tmp_path / "nan")


def check_refused(path: Path, fault: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--replay", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {path} is not a state saved by --nan-guard: ")
    assert fault in err and err.count("\n") == 1
