"""The script that times updates, in the smallest sizes."""

import json
import sys
from pathlib import Path

import pytest

import updates
from dva.compute.errors import UsageError

TINY = ["num_envs=2", "updates=2", "batch_size=4", "trunk_size=4", "image_size=20"]


def measure(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    shared = ["cartpole", "--device", "cpu", "--threads", "1", "--iterations", "2"]
    monkeypatch.setattr(sys, "argv", ["updates.py", *shared, *flags])
    updates.main()


def test_each_algorithm_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    small = ["--seed-steps", "8", "--save", str(path), "--set", *TINY]
    measure(monkeypatch, "--algo", "drqv2", *small)
    (row,) = json.loads(path.read_text())["rows"]
    found = [row[name] for name in ("algo", "updates", "batch_size", "image_size")]
    assert found == ["drqv2", 2, 4, 20]
    assert row["updates_per_s"] == pytest.approx(2 / row["seconds_updates"], rel=0.2)
    assert row["samples_per_s"] == pytest.approx(4 * row["updates_per_s"], rel=0.05)


def test_an_algorithm_without_such_updates_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="dva has no phase updates. Measure it with iteration.py"):
        measure(monkeypatch, "--algo", "dva", "--set", "num_envs=2", "horizon=2", "image_size=20")
