"""Comparisons of runs: numbers worked out by hand, what is cut, and what is missing."""

import csv
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run

from dva.cli import main
from dva.runs import UsageError
from dva.runs.matrix.plan import Matrix, write_matrix
from dva.studies.comparison import compare
from dva.studies.comparison_report import (
    curve_rows,
    draw_phases,
    draw_returns,
    number_rows,
    phase_rows,
    table,
)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def make_seeds(folder: Path, *seeds: list[float | None], **changes: Any) -> None:
    for seed, returns in enumerate(seeds):
        make_run(folder / f"run-{seed}", returns, seed=seed, **changes)


def test_the_numbers_of_one_run(tmp_path):
    rows = [
        {"updates": 0, "peak_memory_mb": 80.0, "steps_per_second": 400.0},  # 0.25 s
        {"updates": 3, "peak_memory_mb": 120.0},
        {"updates": 6, "peak_memory_mb": 110.0},
    ]
    make_run(tmp_path / "run", [None, 7.0, 5.0], rows=rows, evaluation=6.5)
    _, (row,) = number_rows(compare([tmp_path / "run"], (6.0, 8.0)))
    assert (row["task"], row["algorithm"], row["seed"]) == ("cartpole", "dva (pixels)", 0)
    assert row["complete"] is True
    expected = {
        "return": 5.0, "evaluation": 6.5, "env_steps": 300, "minutes": 7 / 60,
        "steps_per_second": 300 / 4.25, "updates_per_second": 9 / 4.25, "peak_memory_mb": 120.0,
        "minutes_to_6": 5 / 60, "env_steps_to_6": 200,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row["minutes_to_8"] is row["env_steps_to_8"] is None


def test_the_numbers_of_four_seeds(tmp_path):
    make_seeds(tmp_path, [10.0, 20.0], [0.0, 40.0], [4.0, 8.0], [6.0, 100.0])
    comparison = compare([tmp_path], (20.0, 50.0))
    groups, runs = number_rows(comparison)
    (row,) = groups
    assert len(runs) == row["seeds"] == 4
    assert row["return"] == 30.0  # the mean of 20 and 40
    assert 8.0 <= row["return_low"] < 30.0 < row["return_high"] <= 100.0
    assert row["evaluation"] is None and row["evaluation_low"] is None
    assert (row["reached_20"], row["reached_50"]) == (3, 1)
    # After 2, 2 and 2 iterations, and never: the median run took two.
    assert (row["minutes_to_20"], row["env_steps_to_20"]) == (pytest.approx(5 / 60), 200)
    assert row["minutes_to_50"] is row["env_steps_to_50"] is None
    line = table(comparison)[1]
    assert "5 s (3 of 4)" in line and "- (1 of 4)" in line


def test_the_mean_of_a_curve_is_interquartile_at_each_position(tmp_path):
    make_seeds(tmp_path, [10.0, 20.0], [0.0, 40.0], [4.0, 8.0], [6.0, 100.0])
    means = [row for row in curve_rows(compare([tmp_path])) if row["seed"] is None]
    by_steps = [row for row in means if row["axis"] == "env_steps"]
    assert (by_steps[0]["position"], by_steps[-1]["position"]) == (100.0, 200.0)
    assert (by_steps[0]["return"], by_steps[-1]["return"]) == (5.0, 30.0)
    for row in by_steps:  # until 10 + 10 x is lowest but one and highest but one elsewhere
        x = (row["position"] - 100.0) / 100.0
        values = sorted((10 + 10 * x, 40 * x, 4 + 4 * x, 6 + 94 * x))
        assert row["return"] == pytest.approx((values[1] + values[2]) / 2)
        bounds = values[0], row["low"], row["return"], row["high"], values[3]
        assert all(a <= b + 1e-9 for a, b in zip(bounds, bounds[1:], strict=False))
    by_time = [row for row in means if row["axis"] == "minutes"]
    assert by_time[-1]["position"] == pytest.approx(5 / 60)


def test_a_mean_ends_with_its_shortest_run_and_says_so(tmp_path):
    make_seeds(tmp_path, [1.0] * 10, [2.0] * 10, [3.0] * 6)
    comparison = compare([tmp_path])
    (group,) = comparison.groups
    assert group.means["env_steps"]["positions"][-1] == 600.0
    assert group.members[0].line("env_steps")[0][-1] == 1000  # the line of the seed goes on
    assert group.cut == {"minutes": True, "env_steps": True}
    (note,) = [note for note in comparison.notes if note.startswith("Shortened")]
    assert "0.2 of 0.3 minutes and at 600 of 1,000 steps" in note
    figure = draw_returns(comparison)
    lines = figure.axes[1].get_lines()
    assert [len(line.get_xdata()) for line in lines] == [10, 10, 6, 200, 1]
    assert "the mean ends with its shortest run" in figure._supxlabel.get_text()


def test_few_seeds_have_lines_of_their_own(tmp_path):
    make_seeds(tmp_path, [1.0, 2.0], [3.0, 4.0])
    comparison = compare([tmp_path])
    (group,) = comparison.groups
    assert group.means == {} and group.numbers["return"] == 3.0
    assert group.numbers["return_low"] is None
    assert [len(axes.get_lines()) for axes in draw_returns(comparison).axes] == [2, 2]
    assert not any("Shortened" in note for note in comparison.notes)


def test_a_curve_keeps_its_ends_when_it_is_thinned(tmp_path):
    run = make_run(tmp_path / "run", [float(i) for i in range(2000)])
    (group,) = compare([run.path]).groups
    positions, values = group.members[0].line("env_steps")
    assert len(positions) == 400
    assert (positions[0], positions[-1], values[-1]) == (100, 200_000, 1999.0)


def test_phases_add_up_to_the_whole(tmp_path):
    rows = [
        {"seconds_rollout": 0.9, "seconds_rendering": 0.2, "seconds_simulation": 0.3},
        {"seconds_rollout": 0.7, "seconds_rendering": 0.1, "seconds_simulation": 0.1,
         "seconds_critic": 0.8},
    ]  # fmt: skip
    make_run(tmp_path / "a", [1.0, 2.0], rows=rows)
    hidden = [{**rows[0], "seconds_rendering": None}, rows[1]]
    make_run(tmp_path / "b", [1.0, 2.0], rows=hidden, task="hopper", steps=1000)
    comparison = compare([tmp_path])
    first, second = comparison.groups
    million = 1e6 / 200  # of 200 steps in 4 s
    assert first.phases == pytest.approx(
        {"rendering": 0.3 * million, "simulation": 0.4 * million, "rollout": 0.9 * million,
         "critic": 0.8 * million, "other": 1.6 * million}
    )  # fmt: skip
    assert sum(first.phases.values()) == pytest.approx(4 * million)
    assert "rendering" not in second.phases
    assert second.phases["rollout"] == pytest.approx(1.2e6 / 2000)
    bars = phase_rows(comparison)
    assert bars[0]["other"] == pytest.approx(8000.0) and bars[1]["rendering"] is None
    figure = draw_phases(comparison)
    heights = [sum(patch.get_height() for patch in axes.patches) for axes in figure.axes]
    assert heights == pytest.approx([4 * million, 4e6 / 2000])


@pytest.mark.parametrize("times, scale", [(4, "linear"), (40, "log")])
def test_very_different_steps_are_drawn_along_a_logarithmic_axis(tmp_path, times, scale):
    make_run(tmp_path / "dva", [1.0, 2.0], steps=100 * times)
    make_run(tmp_path / "ppo", [1.0, 2.0], algo="ppo")
    figure = draw_returns(compare([tmp_path]))
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", scale]


def test_bars_of_very_different_height_show_shares(tmp_path):
    for name, seconds in (("dva", 0.5), ("ppo", 40.0)):
        phases = {"seconds_rollout": seconds, "seconds_critic": seconds}
        rows = [{**phases, "steps_per_second": 100 / (2 * seconds)}] * 2
        make_run(tmp_path / name, [1.0, 2.0], rows=rows, algo=name)
    figure = draw_phases(compare([tmp_path]))
    assert figure.axes[0].get_ylabel().startswith("share")
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert [height for height in heights if height] == pytest.approx([50.0] * 4)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "10,000 s" in texts and "800,000 s" in texts


def test_a_phase_that_does_not_always_occur_counts_where_it_does(tmp_path):
    """As an expert that is trained before the rollouts begin."""
    rows = [
        {"seconds_expert": 1.5, "seconds_rollout": None, "seconds_simulation": None},
        {"seconds_expert": None, "seconds_rollout": 0.8, "seconds_simulation": 0.3},
    ]
    make_run(tmp_path / "run", [None, 2.0], rows=rows)
    (group,) = compare([tmp_path / "run"]).groups
    assert group.phases == pytest.approx(
        {"expert": 7500.0, "simulation": 1500.0, "rollout": 2500.0, "other": 8500.0}
    )


def test_incomplete_runs_are_named(tmp_path):
    make_seeds(tmp_path, [1.0, 2.0], [None, None])
    make_run(tmp_path / "short", [1.0], seed=2, env_steps=500)
    make_run(tmp_path / "stopped", [1.0], seed=3, env_steps=500, evaluation=1.0)
    make_run(tmp_path / "begun", [], seed=4, env_steps=500)
    notes = compare([tmp_path]).notes
    assert sorted(note.partition(":")[0] for note in notes) == [
        "Incomplete", "Left out", "No curve", "Not alike", "Shortened",
    ]  # fmt: skip
    assert f"Incomplete: {tmp_path / 'short'} has 100 of 500 steps." in notes


def test_a_benchmark_names_what_has_not_begun(tmp_path):
    matrix = Matrix(("cartpole",), ("dva", "shac"), 2, "cpu", 1, env_steps=400)
    write_matrix(tmp_path, matrix)
    make_run(tmp_path / "cartpole-dva-s0", [1.0, 2.0], env_steps=400)
    comparison = compare([tmp_path])
    missing = ("cartpole-shac-s0", "cartpole-dva-s1", "cartpole-shac-s1")
    assert comparison.notes == [
        *(f"Not begun: {tmp_path / name}." for name in missing),
        f"Incomplete: {tmp_path / 'cartpole-dva-s0'} has 200 of 400 steps.",
    ]  # fmt: skip


def test_runs_of_different_machines_are_not_alike(tmp_path):
    for seed, name in enumerate(("fast", "fast", "slow")):
        run = make_run(tmp_path / str(seed), [1.0], seed=seed)
        run.write_config({"device_name": name, "commit": "c", "versions": {"torch": "1"}})
    assert compare([tmp_path]).notes == [
        "Not alike: the runs have more than one device: fast; slow."
    ]


def test_what_cannot_be_averaged_is_refused(tmp_path):
    make_run(tmp_path / "a", [1.0], seed=0)
    make_run(tmp_path / "b", [1.0], seed=0)
    with pytest.raises(UsageError, match="have the same seed, 0"):
        compare([tmp_path])
    assert len(compare([tmp_path / "a", tmp_path / "a"]).groups[0].members) == 1
    make_run(tmp_path / "c", [1.0], seed=1, num_envs=3)
    with pytest.raises(UsageError, match="num_envs is 16 in one and 3 in the other"):
        compare([tmp_path / "a", tmp_path / "c"])
    make_run(tmp_path / "d", [1.0], observe="state")
    assert len(compare([tmp_path / "a", tmp_path / "d"]).groups) == 2
    with pytest.raises(UsageError, match="There is no run in"):
        compare([tmp_path / "nothing"])
    make_run(tmp_path / "e", [], env_steps=500)
    with pytest.raises(UsageError, match="No run in .* has metrics yet"):
        compare([tmp_path / "e"])


def test_the_command_draws_and_overwrites_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_seeds(Path("runs"), [1.0, 200.0], [3.0, 400.0], [None, 500.0])
    Path("runs/comparison").mkdir()
    assert main(["compare", "runs", "--thresholds", "300"]) == 0
    out = capsys.readouterr().out
    assert "367 (200 to 500)" in out and "to 300" in out and "5 s (2 of 3)" in out
    assert "runs/comparison-2/table.csv" in out
    assert list(Path("runs/comparison").iterdir()) == []
    made = {path.name: path for path in Path("runs/comparison-2").iterdir()}
    figures = {f"{name}.{kind}" for name in ("returns", "phases") for kind in ("png", "svg", "csv")}
    assert made.keys() == figures | {"table.csv", "runs.csv"}
    (row,) = read(made["table.csv"])
    assert (row["seeds"], row["reached_300"], row["env_steps_to_300"]) == ("3", "2", "200")
    assert float(row["return"]) == pytest.approx(1100 / 3) and row["evaluation"] == ""
    assert [row["return"] for row in read(made["runs.csv"])] == ["200.0", "400.0", "500.0"]
    points = read(made["returns.csv"])
    assert points[0]["axis"] == "minutes" and points[0]["low"] == "" != points[-1]["low"]
    assert read(made["phases.csv"])[0]["other"] == "20000.0"
    assert made["returns.png"].stat().st_size > 10_000
    assert main(["compare"]) == 2
    assert "Give the folders of runs" in capsys.readouterr().err


def test_a_single_run_gets_no_folder_of_others(tmp_path, monkeypatch):
    from dva.cli import compare_command

    monkeypatch.chdir(tmp_path)
    make_run(Path("run"), [1.0])
    monkeypatch.setattr(
        compare_command, "save_comparison", lambda found, folder: asked.append(folder)
    )
    asked: list[Path] = []
    assert main(["compare", "run"]) == 0
    assert main(["compare", "run", "run"]) == 0
    assert asked == 2 * [Path("studies/comparison")]
