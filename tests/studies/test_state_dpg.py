"""Learning curves are drawn from runs as they lie on disk."""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from dva import runs
from dva.cli import main
from dva.learning import SHAC
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
    line = curve["env_steps"]
    assert line["lowest"][-1] <= line["mean"][-1] <= line["highest"][-1]
    last = [run.metrics()[-1]["return"] for run in made[:2]]
    assert curve["env_steps"]["mean"][-1] == pytest.approx(sum(last) / 2, abs=0.1)
    assert curve["minutes"] == [
        pytest.approx(run.metrics()[-1]["wall_time"] / 60, abs=0.01) for run in made[:2]
    ]
    assert output.with_suffix(".png").stat().st_size > 5_000
    assert "<svg" in output.with_suffix(".svg").read_text()
    # a second study overwrites nothing
    assert main(["study", "state-dpg", "--runs", *paths, "--output", str(output)]) == 0
    assert (tmp_path / "out" / "figure-2.json").exists()


def test_every_seed_covers_every_position_of_a_mean(tmp_path: Path) -> None:
    long = small_run(tmp_path, "shac", 0, env_steps=1536)
    short = small_run(tmp_path, "shac", 1, env_steps=1536, stop_at=1024)
    found = curves.collect([long, short])
    line = found["cartpole"]["shac"]["env_steps"]
    assert line["positions"][-1] == short.metrics()[-1]["env_steps"] == 1024
    there = [row["return"] for run in (long, short) for row in run.metrics()
             if row["env_steps"] == 1024]  # fmt: skip
    assert line["mean"][-1] == pytest.approx(sum(there) / 2, abs=0.1)
    assert "2 seed(s)" in curves.end_of_curves(found, {})[0]


def test_a_curve_by_time_ends_with_the_fastest_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [small_run(tmp_path, "shac", seed) for seed in (0, 1)]
    times = {0: [60.0, 120.0, 180.0], 1: [120.0, 180.0, 240.0], 2: [200.0, 210.0, 220.0]}

    def rows(run: runs.Run) -> list[dict[str, Any]]:
        moments = times[run.config.run.seed]
        return [
            {"return": 10.0 * i, "env_steps": 100 * i, "wall_time": moment}
            for i, moment in enumerate(moments)
        ]

    monkeypatch.setattr(runs.Run, "metrics", rows)
    line = curves.collect(made)["cartpole"]["shac"]["wall_time"]
    assert (line["positions"][0], line["positions"][-1]) == (2.0, 3.0)
    assert (line["mean"][0], line["mean"][-1]) == (5.0, 15.0)
    times[1] = times[2]  # its first return comes after the other's end
    found = curves.collect(made)
    assert found["cartpole"]["shac"]["wall_time"]["positions"] == []
    assert curves.draw_curves(found, {}) and curves.end_of_curves(found, {})


def test_runs_that_were_cut_short_are_refused_by_name(tmp_path: Path) -> None:
    whole = small_run(tmp_path, "shac", 0)
    short = small_run(tmp_path, "shac", 1, minutes=1e-9)
    with pytest.raises(runs.UsageError, match=f"{short.path} was cut short: it has 32 of 1,024"):
        state_dpg.measure(state_dpg.Config(runs=(whole.path, short.path)))
    runs.train(resume=short)
    result = state_dpg.measure(state_dpg.Config(runs=(whole.path, short.path)))
    assert result["curves"]["cartpole"]["shac"]["seeds"] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discount": 0.9}, "discount is 0.99 in one and 0.9 in the other"),
        ({"num_envs": 4}, "num_envs is 2 in one and 4 in the other"),
        ({"env_steps": 1056}, "shac-state-1 plans env_steps = 1056"),
    ],
)
def test_runs_of_unlike_configurations_are_not_averaged(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    made = [small_run(tmp_path, "shac", 0), small_run(tmp_path, "shac", 1, **changes)]
    with pytest.raises(runs.UsageError, match=message):
        curves.collect(made)


def test_a_seed_counts_once(tmp_path: Path) -> None:
    run = small_run(tmp_path, "shac", 0)
    with pytest.raises(runs.UsageError, match="same seed, 0"):
        state_dpg.measure(state_dpg.Config(runs=(run.path, run.path)))


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


def test_a_run_of_another_plan_is_not_taken(tmp_path: Path) -> None:
    changes = {"observe": "state", "device": "cpu", "stop_at": ITERATION, "evaluation_episodes": 0}
    where = (silent, tmp_path, ("dva",), ("cartpole",), (0,))
    curves.train_runs(*where, **changes, env_steps=10 * ITERATION)
    with pytest.raises(runs.UsageError, match="cartpole-dva-0 plans env_steps = 20480.*40960"):
        curves.train_runs(*where, **changes, env_steps=20 * ITERATION)


def test_a_training_that_gives_up_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(config: runs.TrainConfig, resume: runs.Run | None) -> runs.Outcome:
        short = dataclasses.replace(config.run, minutes=1e-9)
        return runs.train(dataclasses.replace(config, run=short), resume=resume)

    monkeypatch.setattr(curves, "train", give_up)
    with pytest.raises(runs.UsageError, match="cartpole-shac-0 was cut short"):
        state_dpg.measure(small_study(tmp_path, 2 * ITERATION))


def test_full_size_plans_as_much_for_both_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[runs.TrainConfig] = []
    monkeypatch.setattr(curves, "train_run", lambda report, config: asked.append(config))
    monkeypatch.setattr(visual_shac, "collect", lambda runs: {})
    config = visual_shac.Config(
        full=True, seeds=1, tasks=("cartpole", "humanoid"), run_dir=tmp_path, device="cpu"
    )
    visual_shac.measure(config)
    planned = {
        (one.env.task, one.algo): one.run.env_steps // (one.env.num_envs * one.algorithm.horizon)
        for one in asked
    }
    assert planned == {
        ("cartpole", "dva"): 800, ("cartpole", "shac"): 800,
        ("humanoid", "dva"): 2_000, ("humanoid", "shac"): 2_000,
    }  # fmt: skip
    assert all((one.preset, one.env.camera) == ("paper", "differentiable") for one in asked)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("iteration", [1, 2])
def test_a_signal_ends_the_study_with_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    number: int, iteration: int,
) -> None:  # fmt: skip
    iterate = SHAC.iterate

    def interrupted(algorithm: SHAC) -> Any:
        if algorithm.iteration == iteration - 1:
            signal.raise_signal(number)
        return iterate(algorithm)

    monkeypatch.setattr(SHAC, "iterate", interrupted)
    arguments = ["--tasks", "cartpole", "--stop-at", str(2 * ITERATION), "--device", "cpu"]
    folder = tmp_path / "runs"
    assert main(["study", "state-dpg", *arguments, "--run-dir", str(folder)]) == 128 + number
    assert [path.name for path in folder.iterdir()] == ["cartpole-shac-0"]
    said = capsys.readouterr()
    assert "The same command goes on" in said.out and "Traceback" not in said.err
    monkeypatch.undo()
    assert len(runs.Run.open(folder / "cartpole-shac-0").metrics()) == iteration


def test_an_interruption_between_trainings_ends_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> runs.Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(curves, "train", interrupted)
    arguments = ["--tasks", "cartpole", "--run-dir", str(tmp_path), "--device", "cpu"]
    assert main(["study", "state-dpg", *arguments]) == 130
    assert "interrupted" in capsys.readouterr().err
