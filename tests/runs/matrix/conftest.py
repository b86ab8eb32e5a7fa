"""Benchmarks small enough for tests, of algorithms that child processes can import."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dva.learning import registry

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
STEPS = 4 * 4
"""Environment steps of one iteration."""


@pytest.fixture
def algorithms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Goes to a folder with the algorithms `slow` and `broken` of `matrix_algorithms`."""
    shutil.copy(HERE / "matrix_algorithms.py", tmp_path)
    shutil.copy(HERE.parent / "own_algorithms.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(registry._ALGORITHMS, "entries", dict(registry._ALGORITHMS.entries))
    monkeypatch.delitem(sys.modules, "matrix_algorithms", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # A relative path would be another one for processes that work elsewhere.
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(":") if path]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    return tmp_path


@pytest.fixture
def tiny_benchmark(algorithms: Path) -> Callable[..., list[str]]:
    """Makes command lines of a benchmark of `slow` and other algorithms, in the folder `out`."""

    def make(*algos: str, iterations: int = 40) -> list[str]:
        names = [f"matrix_algorithms:{name}" for name in ("slow", *algos)]
        every = {
            "num-envs": 4, "observe": "state", "checkpoint-interval": 2 * STEPS,
            "evaluation-episodes": 2,
        }  # fmt: skip
        return [
            "benchmark", "--tasks", "cartpole", "--algos", *names, "--seeds", "1", "--env-steps",
            str(iterations * STEPS), "--device", "cpu", "--threads", "1", "--no-warm-up",
            "--output", "out", *(f"--set={name}={value}" for name, value in every.items()),
        ]  # fmt: skip

    return make
