"""Figure 13 is drawn from runs as they lie on disk."""

import json
from pathlib import Path

import pytest

from dva import runs
from dva.studies.state_dpg import draw_state_dpg


def small_run(folder: Path, algo: str, seed: int, observe: str = "state") -> runs.Run:
    config = runs.default_config(
        "cartpole", algo, "paper", observe=observe, device="cpu", num_envs=2, horizon=16,
        iterations=32, image_size=32, critic_iterations=1, seed=seed, evaluation_episodes=0,
        video_interval=0, run_dir=folder / f"{algo}-{observe}-{seed}", threads=1,
    )  # fmt: skip
    return runs.train(config).run


def test_seeds_are_averaged_and_drawn(tmp_path: Path) -> None:
    made = [small_run(tmp_path, algo, seed) for algo in ("shac", "dva") for seed in (0, 1)]
    curves = draw_state_dpg(made, tmp_path / "out" / "figure")
    assert set(curves["cartpole"]) == {"shac", "dva"}
    curve = curves["cartpole"]["shac"]
    assert curve["seeds"] == [0, 1]
    assert curve["lowest"][-1] <= curve["mean"][-1] <= curve["highest"][-1]
    last = [run.metrics()[-1]["return"] for run in made[:2]]
    assert curve["mean"][-1] == pytest.approx(sum(last) / 2, abs=0.1)
    assert json.loads((tmp_path / "out" / "figure.json").read_text()) == curves
    assert (tmp_path / "out" / "figure.png").stat().st_size > 5_000
    assert "<svg" in (tmp_path / "out" / "figure.svg").read_text()


def test_runs_from_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sees pixels"):
        draw_state_dpg([small_run(tmp_path, "dva", 0, "pixels")], tmp_path / "figure")
