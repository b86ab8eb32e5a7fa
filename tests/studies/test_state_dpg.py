"""Learning curves are drawn from runs as they lie on disk."""

import json
from pathlib import Path

import pytest

from dva import runs
from dva.cli import main
from dva.studies import state_dpg, visual_shac


def small_run(folder: Path, algo: str, seed: int, observe: str = "state") -> runs.Run:
    config = runs.default_config(
        "cartpole", algo, "paper", observe=observe, device="cpu", num_envs=2, horizon=16,
        iterations=32, image_size=32, critic_iterations=1, seed=seed, evaluation_episodes=0,
        video_interval=0, run_dir=folder / f"{algo}-{observe}-{seed}", threads=1,
    )  # fmt: skip
    return runs.train(config).run


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
    assert output.with_suffix(".png").stat().st_size > 5_000
    assert "<svg" in output.with_suffix(".svg").read_text()
    # a second study overwrites nothing
    assert main(["study", "state-dpg", "--runs", *paths, "--output", str(output)]) == 0
    assert (tmp_path / "out" / "figure-2.json").exists()


def test_runs_of_another_kind_are_refused(tmp_path: Path) -> None:
    pixels = small_run(tmp_path, "dva", 0, "pixels")
    with pytest.raises(runs.UsageError, match="runs from states"):
        state_dpg.measure(state_dpg.Config(runs=(pixels.path,)))
    with pytest.raises(runs.UsageError, match="differentiable camera"):
        visual_shac.measure(visual_shac.Config(runs=(pixels.path,)))


def test_finished_runs_are_not_trained_again(tmp_path: Path) -> None:
    config = state_dpg.Config(
        tasks=("cartpole",), stop_at=8, run_dir=tmp_path / "runs", device="cpu"
    )
    first = state_dpg.measure(config)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("metrics.jsonl")}
    assert len(stamps) == 2
    assert state_dpg.measure(config) == first
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
