"""Metrics are JSON, survive a kill in the middle of a line, and can be cut back."""

import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from dva.compute.errors import FileError, UsageError
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
        row = {"iteration": iteration, "env_steps": 16 * iteration}
        writer.write({**row, "return": iteration * 1.5, "loss": float("nan")})
    writer.close()


def test_rows_are_strict_json_with_null_for_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [1, 2], tmp_path / "tensorboard")

    def refuse(text):
        raise AssertionError(text)

    rows = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert rows[1] == {"iteration": 2, "env_steps": 32, "return": 3.0, "loss": None}
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


def test_tensorboard_reads_what_was_written(tmp_path):
    write(tmp_path / "metrics.jsonl", [1, 2, 3], tmp_path / "tensorboard")
    writer = MetricsWriter(tmp_path / "metrics.jsonl", tmp_path / "tensorboard", 3)
    writer.write({"iteration": 3, "env_steps": 48, "return": 9.0})
    writer.close()
    accumulator = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in accumulator.Scalars("return")]
    assert found == [(1, 1.5), (2, 3.0), (3, 9.0)]
    assert accumulator.Tags()["scalars"] == ["env_steps", "return"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("17", "it holds a int, not a JSON object"),
        ("null", "it holds a NoneType, not a JSON object"),
        ("{", "no JSON"),
        ("", "no JSON"),
        ("\x00\x00", "no JSON"),
        ('{"env_steps": 1}', '"iteration" is None'),
        ('{"iteration": 1}', '"env_steps" is None'),
        ('{"iteration": "1", "env_steps": 1}', "\"iteration\" is '1'"),
        ('{"iteration": 1, "env_steps": NaN}', "no JSON (NaN is not a JSON number)"),
    ],
)
def test_a_damaged_row_is_named_and_nothing_is_dropped(tmp_path, line, fault):
    path = tmp_path / "metrics.jsonl"
    write(path, [1])
    with path.open("a") as file:
        file.write(f"{line}\n")
    write(path, [3])
    before = path.read_bytes()
    for read in (read_metrics, lambda path: truncate_metrics(path, 1)):
        with pytest.raises(UsageError) as caught:
            read(path)
        assert str(caught.value).startswith(f"Line 2 of {path} is damaged: {fault}")
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["metrics", "tensorboard"])
def test_a_full_disk_is_one_line_wherever_it_strikes(tmp_path, where):
    writer = MetricsWriter(tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
    assert writer._events is not None
    if where == "metrics":
        writer._file = open("/dev/full", "w")
    else:
        full = writer._events._file = open("/dev/full", "wb")
        writer._events._writer = RecordWriter(full)
    with pytest.raises(FileError, match=f"{tmp_path}/{where}.* cannot be written: No space left"):
        for iteration in range(1000):
            writer.write({"iteration": iteration, "env_steps": 1})
            writer.flush()
    with pytest.raises(FileError, match="No space left"):
        writer.close()


def test_timings_are_told_apart():
    assert all(map(is_timing, ("wall_time", "seconds_critic", "steps_per_second")))
    assert not any(map(is_timing, ("return", "iteration", "actor_loss")))
    assert 10 < peak_memory_mb(torch.device("cpu")) < 1e6


def test_the_curve_needs_a_finished_episode(tmp_path):
    path, picture = tmp_path / "metrics.jsonl", tmp_path / "curve.png"
    path.write_text('{"iteration": 1, "env_steps": 16, "return": null}\n')
    assert not draw_curve(path, picture, "title")
    row = {"iteration": 2, "return": 5.0, "env_steps": 2048, "wall_time": 3.0}
    path.write_text(json.dumps(row) + "\n")
    assert draw_curve(path, picture, "title")
    assert picture.read_bytes().startswith(b"\x89PNG")
