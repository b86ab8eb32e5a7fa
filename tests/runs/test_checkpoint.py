"""Checkpoints are whole, few, readable without pickle, and say what is wrong with a bad one."""

import os
import stat
from pathlib import Path

import pytest
import torch

from dva.compute.errors import FileError
from dva.compute.files import write_atomically
from dva.runs import UsageError, checkpoint
from dva.runs.checkpoint import load_checkpoint, read_pointer, save_checkpoint


def save(folder: Path, iteration: int, **options) -> Path:
    tensors = {"a": torch.full((2, 3), float(iteration))}
    info = {"iteration": iteration, "env_steps": 16 * iteration}
    return save_checkpoint(folder, tensors, info, **options)


def test_every_kind_of_tensor_comes_back(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "transposed": base.t(),
        "shared": base,
        "scalar": torch.tensor(3),
        "bytes": torch.tensor([1, 2], dtype=torch.uint8),
        "double": torch.tensor([torch.pi], dtype=torch.float64),
        "empty": torch.zeros(0, 2),
        "nan": torch.tensor([float("nan")]),
        "graph": torch.ones(2, requires_grad=True),
    }
    save_checkpoint(tmp_path, tensors, {"iteration": 1, "env_steps": 16, "return": None})
    found = load_checkpoint(tmp_path)
    assert found.info["return"] is None
    assert set(found.tensors) == set(tensors)
    for name, value in tensors.items():
        assert found.tensors[name].dtype == value.dtype
        torch.testing.assert_close(
            found.tensors[name], value.detach(), rtol=0, atol=0, equal_nan=True
        )


def test_only_latest_and_best_are_kept(tmp_path):
    save(tmp_path, 1, pointers=("latest", "best"))
    save(tmp_path, 2)
    last = save(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.json",
        "latest.json",
        "step-000000000016.json",
        "step-000000000016.safetensors",
        "step-000000000048.json",
        "step-000000000048.safetensors",
    ]
    assert load_checkpoint(tmp_path, "best").info["iteration"] == 1
    assert load_checkpoint(tmp_path, "latest").path == last
    assert stat.S_IMODE(os.stat(last).st_mode) == 0o644


def test_a_kill_between_the_pointers_leaves_latest_as_it_was(tmp_path, monkeypatch):
    save(tmp_path, 1, pointers=("latest", "best"))
    write = checkpoint.write_json

    def killed(path: Path, value) -> None:
        if path.name == "latest.json":
            raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(checkpoint, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, pointers=("latest", "best"))
    assert load_checkpoint(tmp_path, "best").info["iteration"] == 2
    assert load_checkpoint(tmp_path, "latest").info["iteration"] == 1


def test_a_failed_write_leaves_the_former_checkpoint(tmp_path):
    save(tmp_path, 1)

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(FileError, match="latest.json cannot be written: disk full"):
        write_atomically(tmp_path / "latest.json", fail)
    assert load_checkpoint(tmp_path).info["iteration"] == 1
    assert not list(tmp_path.glob(".*"))


def test_left_overs_of_a_killed_writer_are_cleared(tmp_path):
    (tmp_path / ".step-000000000016.safetensors.77.tmp").write_text("half")
    (tmp_path / "step-000000000016.safetensors").write_text("written, but no pointer yet")
    save(tmp_path, 2)
    assert not list(tmp_path.glob(".*.tmp"))
    assert not (tmp_path / "step-000000000016.safetensors").exists()


@pytest.mark.parametrize("whole", [True, False])
def test_what_others_put_beside_checkpoints_stays(tmp_path, whole):
    stem = "step-000000000016"
    copies = [f"{stem} (copy).safetensors", f"{stem}.safetensors.bak", ".mine.tmp"]
    names = [*copies, f"{stem}.onnx", "step-one.json"]
    for name in names:
        (tmp_path / name).write_text("mine")
    (tmp_path / "step-000000099999.json").mkdir()
    (tmp_path / "step-old").mkdir()
    (tmp_path / ".step-old.tmp").mkdir()
    if not whole:
        (tmp_path / "best.json").write_text("{")
    for iteration in (1, 2, 3):
        save(tmp_path, iteration)
        assert load_checkpoint(tmp_path).info["iteration"] == iteration
    assert [name for name in names if not (tmp_path / name).is_file()] == []
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 3


def test_what_is_not_a_tensor_is_refused(tmp_path):
    with pytest.raises(TypeError, match="'a' is a int"):
        save_checkpoint(tmp_path, {"a": 3}, {"iteration": 1})  # type: ignore[dict-item]


def test_missing_checkpoints_are_explained(tmp_path):
    assert read_pointer(tmp_path, "latest") is None
    with pytest.raises(UsageError, match="no best checkpoint"):
        load_checkpoint(tmp_path, "best")
    with pytest.raises(UsageError, match="Allowed: best, latest"):
        load_checkpoint(tmp_path, "newest")


def test_saving_the_same_steps_again_never_touches_what_a_pointer_names(tmp_path, monkeypatch):
    first = save(tmp_path, 1, pointers=("latest", "best"))
    before = first.read_bytes()
    write = checkpoint.write_json
    monkeypatch.setattr(checkpoint, "write_json", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        save(tmp_path, 1)
    assert first.read_bytes() == before
    assert load_checkpoint(tmp_path).path == first
    monkeypatch.setattr(checkpoint, "write_json", write)
    second = save(tmp_path, 1)
    assert second.name == "step-000000000016-2.safetensors"
    assert load_checkpoint(tmp_path).path == second
    assert load_checkpoint(tmp_path, "best").path == first
    assert save(tmp_path, 1).name == "step-000000000016-3.safetensors"


@pytest.mark.parametrize("at", ["info", "tensors"])
def test_a_checkpoint_that_is_removed_while_it_is_read_is_read_anew(tmp_path, monkeypatch, at):
    save(tmp_path, 1)
    parse, resolve = checkpoint.parse_object, checkpoint._resolve
    saved = []

    def train_on() -> None:
        if not saved:
            saved.append(save(tmp_path, 2))

    def parse_late(content):
        if at == "tensors":
            train_on()
        return parse(content)

    def resolve_late(folder, pointer):
        found = resolve(folder, pointer)
        if at == "info":
            train_on()
        return found

    monkeypatch.setattr(checkpoint, "parse_object", parse_late)
    monkeypatch.setattr(checkpoint, "_resolve", resolve_late)
    found = load_checkpoint(tmp_path)
    assert found.path == saved[0] and found.info["iteration"] == 2
    info = checkpoint.read_info(tmp_path)
    assert info is not None and info["iteration"] == 2
    assert checkpoint.read_info(tmp_path / "nowhere") is None


class Killed(BaseException):
    pass


def test_a_pickle_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = save(tmp_path, 1)
    torch.save(Trap(), path)
    with pytest.raises(UsageError, match="is damaged"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "sprung").exists()
