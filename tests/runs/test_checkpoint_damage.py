"""A damaged checkpoint is refused with one line, however it is damaged."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from dva.runs import UsageError
from dva.runs.checkpoint import Checkpoint, load_checkpoint, read_pointer, save_checkpoint
from dva.runs.layout import check_layout

TENSORS = {
    "actor.weight": torch.arange(12.0).reshape(3, 4),
    "actor.bias": torch.zeros(3),
    "episodes": torch.ones(2, 2, dtype=torch.float64),
    "generator": torch.arange(16, dtype=torch.uint8),
    "iteration": torch.tensor(2),
}
INFO = {"iteration": 2, "env_steps": 32, "wall_time": 1.5, "return": 3.0, "best_return": 3.0}
FIRST = {**INFO, "iteration": 1, "env_steps": 16}
STEP_1, STEP_2 = "step-000000000016", "step-000000000032"
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a best checkpoint at 16 steps and a latest one at 32."""
    folder = tmp_path_factory.mktemp("pristine") / "checkpoints"
    older = {**TENSORS, "iteration": torch.tensor(1)}
    save_checkpoint(folder, older, FIRST, ("latest", "best"))
    save_checkpoint(folder, TENSORS, INFO)
    (folder.parent / "outside").mkdir()
    for path in folder.iterdir():
        shutil.copy(path, folder.parent / "outside")
    return folder


def load(folder: Path) -> Checkpoint:
    checkpoint = load_checkpoint(folder)
    check_layout(checkpoint.path, checkpoint.tensors, TENSORS)
    return checkpoint


def refusal(folder: Path, forged: bool = False) -> str | None:
    """The text with which a checkpoint is refused; None if it is read and is what was saved.

    With `forged`, the info file may hold other values, as its digest says.
    """
    try:
        found = load(folder)
    except UsageError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return str(error)
    assert all(torch.equal(found.tensors[name], value) for name, value in TENSORS.items())
    assert found.tensors.keys() == TENSORS.keys()
    assert forged or {name: found.info[name] for name in INFO} == INFO
    return None


def rewrite(folder: Path, tensors: dict[str, torch.Tensor], info: dict[str, Any] = INFO) -> None:
    """Writes the latest checkpoint anew, with digests that match."""
    save_checkpoint(folder, tensors, info)


def flip(name: str, bit: int) -> Damage:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[bit // 8 % len(content)] ^= 1 << bit % 8
        (folder / name).write_bytes(content)

    return damage


def cut(name: str, length: int) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def overwrite(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def mutate(name: str, key: str, value: object, rehash: bool = False) -> Damage:
    """Sets an entry of a JSON file (`...` takes it out); `rehash` mends the pointer's digest."""

    def damage(folder: Path) -> None:
        stored = json.loads((folder / name).read_text())
        if value is ...:
            stored.pop(key, None)
        else:
            stored[key] = value
        text = json.dumps(stored)
        (folder / name).write_text(text)
        if rehash:
            digest = hashlib.sha256(text.encode()).hexdigest()
            mutate("latest.json", "sha256", digest)(folder)

    return damage


def replace_tensor(name: str, value: torch.Tensor | None) -> Damage:
    """Saves a checkpoint whose digests are right and whose tensors are not."""

    def damage(folder: Path) -> None:
        changed = {key: tensor for key, tensor in TENSORS.items() if key != name}
        rewrite(folder, changed if value is None else {**changed, name: value})

    return damage


def swap(first: str, second: str) -> Damage:
    def damage(folder: Path) -> None:
        a, b = (folder / first).read_bytes(), (folder / second).read_bytes()
        (folder / first).write_bytes(b)
        (folder / second).write_bytes(a)

    return damage


VALUES = (
    ..., None, True, -1, 1.5, 99, 10**400, "", "x\ny", "NaN", [], {}, [[]], float("nan"),
    float("inf"), {"a": 1},
)  # fmt: skip
OUTSIDE = (
    f"../outside/{STEP_2}", f"./{STEP_2}", f"../checkpoints/{STEP_2}", "..", ".", "/etc/passwd",
    f"/tmp/{STEP_2}", f"{STEP_2}/", f"{STEP_2}\x00", f"{STEP_2}\n", "step-1", "latest",
    "step-٠٠٠٠٠٠٠٠٠٠٣٢", f"{STEP_2}.safetensors", STEP_1, "step-000000000099",
)  # fmt: skip
CONTENTS = (
    b"", b"\x00" * 100, b"null", b"17", b"[]", b'"text"', b"{}", b"{", b"\xff\xfe", b"NaN",
    b"[" * 100_000, b'{"a":' * 100_000, b"\x80\x04K\x01.",
)  # fmt: skip


def damages() -> Iterator[tuple[str, Damage]]:
    """Every way of damage, named; the latest checkpoint is what is damaged."""
    draw = random.Random(0)
    tensors, info, pointer = f"{STEP_2}.safetensors", f"{STEP_2}.json", "latest.json"
    for name, bits in ((tensors, 10_000), (info, 2_000), (pointer, 1_000)):
        for _ in range(50):
            bit = draw.randrange(bits)
            yield f"flip bit {bit} of {name}", flip(name, bit)
        for length in (0, 1, 7, 8, 9, 60, -60, -3):
            yield f"cut {name} to {length}", cut(name, length)
        for content in CONTENTS:
            yield f"{name} = {content[:9]!r}", overwrite(name, content)
        yield f"remove {name}", lambda folder, name=name: (folder / name).unlink()
    for key in INFO | {"format": 0, "sha256": 0}:
        for value in VALUES:
            for rehash in (False, True):
                how = " with its digest" if rehash else ""
                yield f"info {key} = {value!r}{how}", mutate(info, key, value, rehash)
    for key in ("format", "checkpoint", "sha256"):
        for value in VALUES:
            yield f"pointer {key} = {value!r}", mutate(pointer, key, value)
    for value in OUTSIDE:
        yield f"pointer to {value!r}", mutate(pointer, "checkpoint", value)
    for name in (tensors, info, pointer):
        for other in (f"{STEP_1}.json", f"{STEP_1}.safetensors", "best.json"):
            if (name, other) != (pointer, "best.json"):  # this is how one resumes from the best
                yield f"swap {name} and {other}", swap(name, other)
    for name, value in TENSORS.items():
        yield f"without {name}", replace_tensor(name, None)
        yield f"wider {name}", replace_tensor(name, torch.zeros(7, 3, 2).to(value.dtype))
        yield f"other dtype of {name}", replace_tensor(name, value.to(torch.int32))
        for bad in (torch.nan, torch.inf, -torch.inf):
            if value.is_floating_point():
                filled = value.clone()
                filled.view(-1)[-1] = bad
                yield f"{bad} in {name}", replace_tensor(name, filled)
    yield "one tensor more", replace_tensor("more\nthan one line", torch.zeros(1))


def test_every_damage_is_one_line(pristine: Path, tmp_path: Path):
    count = 0
    for name, damage in damages():
        shutil.rmtree(tmp_path)
        shutil.copytree(pristine.parent, tmp_path)
        folder = tmp_path / "checkpoints"
        damage(folder)
        # An info file may say whatever is allowed there, if its digest is right as well.
        forged = name.startswith("info") and name.endswith("with its digest")
        text = refusal(folder, forged)
        assert forged or text is not None, f"{name}: read as if nothing had happened"
        count += 1
    assert count > 500


def test_more_iterations_than_steps_are_refused(pristine: Path, tmp_path: Path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pristine, folder)
    mutate(f"{STEP_2}.json", "iteration", 10**18, rehash=True)(folder)
    with pytest.raises(UsageError, match='"iteration" is 1000000000000000000, more than "env_st'):
        load_checkpoint(folder)


def test_a_flipped_bit_of_the_tensors_is_never_read(pristine: Path, tmp_path: Path):
    size = 8 * (pristine / f"{STEP_2}.safetensors").stat().st_size
    for bit in range(0, size, size // 60):
        folder = tmp_path / str(bit)
        shutil.copytree(pristine, folder)
        flip(f"{STEP_2}.safetensors", bit)(folder)
        text = refusal(folder)
        assert text is not None and "its digest is not the one in step-000000000032.json" in text


def test_the_other_checkpoint_is_named_only_if_it_is_whole(pristine: Path, tmp_path: Path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pristine, folder)
    flip(f"{STEP_2}.safetensors", 3000)(folder)
    text = refusal(folder)
    assert text is not None
    assert f"{folder / STEP_2}.safetensors is damaged" in text
    assert f"The best checkpoint, {STEP_1}.safetensors of iteration 1, is whole" in text
    assert "--checkpoint best" in text
    assert f"copy {folder / 'best.json'} over {folder / 'latest.json'}" in text
    assert load_checkpoint(folder, "best").info["iteration"] == 1
    flip(f"{STEP_1}.safetensors", 3000)(folder)
    text = refusal(folder)
    assert text is not None and "There is no other whole checkpoint" in text
    with pytest.raises(UsageError, match="no other whole checkpoint"):
        load_checkpoint(folder, "best")


def test_the_best_pointer_copied_over_the_latest_is_how_one_resumes(pristine, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pristine, folder)
    cut(f"{STEP_2}.json", 9)(folder)
    shutil.copy(folder / "best.json", folder / "latest.json")
    assert load(folder).info["iteration"] == 1


def test_a_lost_latest_pointer_is_not_taken_for_a_new_run(pristine: Path, tmp_path: Path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pristine, folder)
    (folder / "latest.json").unlink()
    with pytest.raises(UsageError, match="latest.json is damaged: it is missing, though there is"):
        read_pointer(folder, "latest")
    for suffix in ("json", "safetensors"):
        (folder / f"{STEP_2}.{suffix}").unlink()
    assert load_checkpoint(folder).info["iteration"] == 1  # as a kill in the first save leaves it


def test_saving_beside_a_damaged_pointer_loses_nothing(pristine: Path, tmp_path: Path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pristine, folder)
    (folder / "best.json").write_text("{")
    save_checkpoint(folder, TENSORS, {**INFO, "env_steps": 48})
    assert load(folder).info["env_steps"] == 48
    assert (folder / f"{STEP_1}.safetensors").is_file()  # it may be the best one


def test_a_checkpoint_of_the_former_format_is_refused(tmp_path: Path):
    safetensors.torch.save_file(TENSORS, tmp_path / "iteration-000002.safetensors")
    (tmp_path / "iteration-000002.json").write_text(json.dumps({"format": 1, **INFO}))
    (tmp_path / "latest.json").write_text('{"checkpoint": "iteration-000002"}')
    text = refusal(tmp_path)
    assert text is not None
    assert "checkpoint of format 1; this version of dva reads format 2" in text
    assert "config.yaml" in text


def test_a_layout_names_the_tensor_and_what_is_expected():
    path = Path("run/step.safetensors")
    one = {"a": torch.zeros(2, 3)}
    check_layout(path, one, one)
    for tensors, message in (
        ({}, "lacks the tensor 'a'"),
        ({**one, "b": torch.zeros(1)}, "a tensor 'b' that nothing asks for"),
        ({"a": torch.zeros(3, 2)}, r"shape \(3, 2\), expected \(2, 3\)"),
        ({"a": torch.zeros(2, 3).double()}, "torch.float64, expected torch.float32"),
        ({"a": torch.full((2, 3), torch.nan)}, "6 of 6 entries that are not finite"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            check_layout(path, tensors, one)
        assert str(path) in str(caught.value)
