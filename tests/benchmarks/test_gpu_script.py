"""The script that measures on a GPU, in the smallest sizes on a CPU."""

import json
from pathlib import Path

import pytest

import gpu


def measure(folder: Path, *more: str) -> int:
    return gpu.main(["--device", "cpu", "--tiny", "--output", str(folder), *more])


def states(folder: Path) -> dict[str, str]:
    state = json.loads((folder / "gpu" / "state.json").read_text())
    return {name: noted["status"] for name, noted in state.items()}


def test_pieces_are_listed_in_the_order_of_their_importance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(["--list", "--output", str(tmp_path)]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names[1] == "tests" and len(set(names)) == len(names)
    assert {"iteration-fast-humanoid", "train-hopper-float32", "floors-paper"} <= set(names)
    assert all(piece.minutes <= 9 for piece in gpu.plan("cuda", tmp_path, tiny=False))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_is_noted_and_the_rest_follows_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = gpu.Piece("broken", ("-c", "print('so it goes'); raise SystemExit(3)"), 0.1)
    pieces = gpu.plan("cpu", tmp_path, tiny=True)
    monkeypatch.setattr(gpu, "plan", lambda *arguments: [broken, *pieces])
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    names = ("broken", "tests", "iteration-fast-cartpole", "train-cartpole")
    assert measure(tmp_path, "--only", *names, "--minutes", "0") == 1
    # without any time the first piece runs all the same, and what is left is said
    assert states(tmp_path) == {"broken": "failed"}
    assert "left: tests, iteration-fast-cartpole, train-cartpole" in capsys.readouterr().out
    assert measure(tmp_path, "--only", *names, "--minutes", "5") == 1
    assert states(tmp_path) == {
        "broken": "failed", "tests": "skipped", "iteration-fast-cartpole": "done",
        "train-cartpole": "done",
    }  # fmt: skip
    assert "exit status 3" in capsys.readouterr().out
    assert (tmp_path / "gpu" / "logs" / "broken.txt").read_text() == "so it goes\n"
    for name in names[2:]:
        result = json.loads((tmp_path / f"gpu-{name}.json").read_text())
        assert {"command", "commit", "device", "date", "versions", "rows"} <= result.keys()
        assert result["rows"][0]["task"] == "cartpole"


def test_a_training_goes_on_until_it_has_reached_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurement = gpu.Measurement(tmp_path, [], "cpu", 5.0)
    piece = next(p for p in gpu.plan("cpu", tmp_path, tiny=True) if p.name == "train-cartpole")
    commands = []
    ends = iter([(False, "no iteration yet"), (False, "half"), (False, "half"), (True, "all")])
    monkeypatch.setattr(measurement, "_progress", lambda path, task: next(ends))

    def process(
        name: str, command: tuple[str, ...], minutes: float | None = None
    ) -> tuple[int, float, list[str]]:
        commands.append(command)
        folder = tmp_path / "gpu" / "runs" / piece.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        return 0, 1.0, []

    monkeypatch.setattr(measurement, "_process", process)
    for expected in ("begun", "done"):
        measurement._train(piece, "cartpole")
        assert measurement.status(piece) == expected
    assert "--run-dir" in commands[0] and "--resume" in commands[1]
    assert commands[2][0] == "benchmarks/learning.py"
