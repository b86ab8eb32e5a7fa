"""Metrics are JSON, survive a kill in the middle of a line, and can be cut back."""

import json

import torch

from dva.runs.curve import draw_curve
from dva.runs.metrics import (
    MetricsWriter,
    is_timing,
    peak_memory_mb,
    read_metrics,
    truncate_metrics,
)


def write(path, iterations, tensorboard=None):
    writer = MetricsWriter(path, tensorboard)
    for iteration in iterations:
        writer.write({"iteration": iteration, "return": iteration * 1.5, "loss": float("nan")})
    writer.close()


def test_rows_are_strict_json_with_null_for_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [1, 2], tmp_path / "tensorboard")

    def refuse(text):
        raise AssertionError(text)

    rows = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert rows[1] == {"iteration": 2, "return": 3.0, "loss": None}
    assert isinstance(rows[1]["iteration"], int)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_cut_line_is_left_out_and_later_rows_can_be_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [1, 2, 3])
    with path.open("a") as file:
        file.write('{"iteration": 4, "ret')
    assert [row["iteration"] for row in read_metrics(path)] == [1, 2, 3]
    truncate_metrics(path, 2)
    assert [row["iteration"] for row in read_metrics(path)] == [1, 2]
    write(path, [3])
    assert [row["iteration"] for row in read_metrics(path)] == [1, 2, 3]
    assert read_metrics(tmp_path / "nothing.jsonl") == []


def test_timings_are_told_apart():
    assert all(map(is_timing, ("wall_time", "seconds_critic", "steps_per_second")))
    assert not any(map(is_timing, ("return", "iteration", "actor_loss")))
    assert 10 < peak_memory_mb(torch.device("cpu")) < 1e6


def test_the_curve_needs_a_finished_episode(tmp_path):
    path, picture = tmp_path / "metrics.jsonl", tmp_path / "curve.png"
    path.write_text('{"iteration": 1, "return": null}\n')
    assert not draw_curve(path, picture, "title")
    row = {"iteration": 2, "return": 5.0, "env_steps": 2048, "wall_time": 3.0}
    path.write_text(json.dumps(row) + "\n")
    assert draw_curve(path, picture, "title")
    assert picture.read_bytes().startswith(b"\x89PNG")
