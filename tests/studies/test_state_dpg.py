"""Learning curves are drawn from runs as they lie on disk."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dva import runs
from dva.cli import main
from dva.studies import curves, state_dpg, visual_shac
from dva.studies.report import silent

ITERATION = 64 * 32
"""Environment steps of one iteration of Cartpole, from states."""


def small_run(folder: Path, algo: str, seed: int, observe: str = "state", **more: Any) -> runs.Run:
    values: dict[str, Any] = {
        "observe": observe, "device": "cpu", "num_envs": 2, "horizon": 16, "env_steps": 1024,
        "image_size": 32, "critic_iterations": 1, "evaluation_episodes": 0, "video_interval": 0,
        "threads": 1, **more,
    }  # fmt: skip
    path = folder / f"{algo}-{observe}-{seed}"
    config = runs.default_config("cartpole", algo, "paper", seed=seed, run_dir=path, **values)
    return runs.train(config).run


def small_study(folder: Path, stop_at: int) -> state_dpg.Config:
    return state_dpg.Config(tasks=("cartpole",), stop_at=stop_at, run_dir=folder, device="cpu")


def test_seeds_are_averaged_and_drawn(tmp_path: Path) -> None:
    made = [small_run(tmp_path, algo, seed) for algo in ("shac", "dva") for seed in (0, 1)]
    paths = [str(run.path) for run in made]
    output = tmp_path / "out" / "figure"
    assert main(["study", "state-dpg", "--runs", *paths, "--output", str(output)]) == 0
    result = json.loads(output.with_suffix(".json").read_text())
    assert result["study"] == "state-dpg" and result["device"] == "cpu"
    assert set(result["curves"]["cartpole"]) == {"shac", "dva"}
    curve = result["curves"]["cartpole"]["shac"]
    assert curve["seeds"] == [0, 1]
    for axis in ("env_steps", "wall_time"):
        line = curve[axis]
        assert line["lowest"][-1] <= line["mean"][-1] <= line["highest"][-1]
    last = [run.metrics()[-1]["return"] for run in made[:2]]
    assert curve["env_steps"]["mean"][-1] == pytest.approx(sum(last) / 2, abs=0.1)
    assert set(curve["env_steps"]["seed_count"]) == {2}
    assert output.with_suffix(".png").stat().st_size > 5_000
    assert "<svg" in output.with_suffix(".svg").read_text()
    # a second study overwrites nothing
    assert main(["study", "state-dpg", "--runs", *paths, "--output", str(output)]) == 0
    assert (tmp_path / "out" / "figure-2.json").exists()


def test_a_short_curve_does_not_cut_a_long_one(tmp_path: Path) -> None:
    long = small_run(tmp_path, "shac", 0, env_steps=1536)
    short = small_run(tmp_path, "shac", 1)
    line = curves.collect([long, short])["cartpole"]["shac"]["env_steps"]
    last = {run.config.run.seed: run.metrics()[-1] for run in (long, short)}
    assert line["positions"][-1] == last[0]["env_steps"] == 1536
    assert line["mean"][-1] == pytest.approx(last[0]["return"], abs=0.1)
    expected = [2 if position <= last[1]["env_steps"] else 1 for position in line["positions"]]
    assert line["seed_count"] == expected and set(expected) == {1, 2}
    assert "1 of 2 seed(s)" in curves.end_of_curves(curves.collect([long, short]), {})[0]


def test_runs_of_another_kind_are_refused(tmp_path: Path) -> None:
    pixels = small_run(tmp_path, "dva", 0, "pixels")
    with pytest.raises(runs.UsageError, match="runs from states"):
        state_dpg.measure(state_dpg.Config(runs=(pixels.path,)))
    with pytest.raises(runs.UsageError, match="differentiable camera"):
        visual_shac.measure(visual_shac.Config(runs=(pixels.path,)))


def test_finished_runs_are_not_trained_again(tmp_path: Path) -> None:
    config = small_study(tmp_path / "runs", 8 * ITERATION)
    first = state_dpg.measure(config)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
    assert len(stamps) == 2
    assert state_dpg.measure(config) == first
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_an_unfinished_run_is_continued(tmp_path: Path) -> None:
    changes = {"observe": "state", "device": "cpu", "evaluation_episodes": 0}
    returns = {}
    for name, stops in {"once": (8,), "twice": (6, 8)}.items():
        for stop in stops:
            what = (silent, tmp_path / name, ("dva",), ("cartpole",), (0,))
            (run,) = curves.train_runs(*what, **changes, stop_at=stop * ITERATION)
            assert run.metrics()[-1]["env_steps"] == stop * ITERATION
        returns[name] = [row["return"] for row in run.metrics()]
    assert returns["once"] == returns["twice"]


def test_a_run_of_another_configuration_is_not_taken(tmp_path: Path) -> None:
    changes = {"observe": "state", "device": "cpu", "stop_at": ITERATION, "evaluation_episodes": 0}
    where = (silent, tmp_path, ("dva",), ("cartpole",), (0,))
    curves.train_runs(*where, **changes)
    with pytest.raises(runs.UsageError, match="discount"):
        curves.train_runs(*where, **changes, discount=0.9)


def test_an_interruption_stops_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = runs.train

    def interrupted(*arguments: Any, **options: Any) -> runs.Outcome:
        return dataclasses.replace(train(*arguments, **options), reason="interrupted")

    monkeypatch.setattr(curves, "train", interrupted)
    arguments = ["--tasks", "cartpole", "--stop-at", str(ITERATION), "--device", "cpu"]
    folder = tmp_path / "runs"
    assert main(["study", "state-dpg", *arguments, "--run-dir", str(folder)]) == 130
    assert [path.name for path in folder.iterdir()] == ["cartpole-shac-0"]
    assert "The same command goes on" in capsys.readouterr().out
