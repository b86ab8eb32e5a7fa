"""Metrics are JSON, survive a kill in the middle of a line, and can be cut back."""

import json
import os
import sys

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


def write(path, iterations, tensorboard=None, say=lambda line: None):
    writer = MetricsWriter(path, tensorboard, say=say)
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
        ('{"iteration": 2, "env_steps": 1, "return": 1e999}', "no JSON (1e999 is too large)"),
    ],
)
def test_a_damaged_row_is_named_and_dropped_only_with_a_copy(tmp_path, line, fault):
    path = tmp_path / "metrics.jsonl"
    write(path, [1])
    with path.open("a") as file:
        file.write(f"{line}\n")
    write(path, [3])
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        read_metrics(path)
    assert str(caught.value).startswith(f"Line 2 of {path} is damaged: {fault}")
    assert "\n" not in str(caught.value) and path.read_bytes() == before
    said = truncate_metrics(path, 3)
    copy = tmp_path / "metrics.jsonl.damaged"
    assert said is not None and f"left out damaged line 2 ({fault}" in said and "\n" not in said
    assert f"the file as it was is {copy}; lacks 1 of 3 iterations, the first of them 2." in said
    assert copy.read_bytes() == before
    assert [row["iteration"] for row in read_metrics(path)] == [1, 3]


def test_a_blank_line_costs_no_row_and_a_second_copy_spares_the_first(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, range(1, 11))
    lines = path.read_text().splitlines()
    for copy in ("metrics.jsonl.damaged", "metrics.jsonl.damaged-2"):
        path.write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
        said = truncate_metrics(path, 10)
        assert said is not None and "lacks" not in said and f"is {tmp_path / copy}." in said
        assert [row["iteration"] for row in read_metrics(path)] == list(range(1, 11))
        assert (tmp_path / copy).read_text().count("\n") == 11
    assert truncate_metrics(path, 10) is None
    assert len(list(tmp_path.iterdir())) == 3


def test_rows_are_on_the_disk_before_a_checkpoint_is(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(os.fstat(number).st_size))
    writer = MetricsWriter(tmp_path / "metrics.jsonl", None)
    writer.write({"iteration": 1, "env_steps": 16})
    before = len(flushed)
    writer.flush()
    assert flushed[before:] == [(tmp_path / "metrics.jsonl").stat().st_size]
    writer.close()


def test_a_full_disk_is_one_line(tmp_path):
    writer = MetricsWriter(tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
    writer._file.close()
    writer._file = open("/dev/full", "w")
    with pytest.raises(FileError, match=f"{tmp_path}/metrics.* cannot be written: No space left"):
        writer.write({"iteration": 1, "env_steps": 1})
    with pytest.raises(FileError, match="No space left"):
        writer.close()


def test_tensorboard_is_left_out_where_it_cannot_be_imported(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "dva.runs.events", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    said = []
    write(tmp_path / "metrics.jsonl", [1, 2], tmp_path / "tensorboard", said.append)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
    (line,) = said
    assert line.startswith("TensorBoard is left out; training goes on: ") and "event_pb2" in line


def test_tensorboard_is_left_out_where_it_fails(tmp_path):
    said = []
    writer = MetricsWriter(tmp_path / "metrics.jsonl", tmp_path / "tensorboard", 1, said.append)
    assert writer._events is not None
    writer._events._file.close()
    full = writer._events._file = open("/dev/full", "wb")
    writer._events._writer = RecordWriter(full)
    for iteration in range(1, 101):
        writer.write({"iteration": iteration, "env_steps": 1})
        writer.flush()
    writer.close()
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 100
    (line,) = said
    assert line.startswith("TensorBoard is left out; training goes on: ") and "No space" in line

    (tmp_path / "file").write_text("")
    writer = MetricsWriter(tmp_path / "others.jsonl", tmp_path / "file", 1, said.append)
    writer.write({"iteration": 1, "env_steps": 1})
    writer.close()
    assert len(said) == 2 and str(tmp_path / "file") in said[1]
    assert len(read_metrics(tmp_path / "others.jsonl")) == 1


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


@pytest.mark.parametrize("iteration", [2, 1, 0, -3])
def test_a_row_that_comes_again_is_named_and_dropped_with_a_copy(tmp_path, iteration):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"iteration": x, "env_steps": 16}) for x in (1, 2, iteration, 3)]
    path.write_text("\n".join(lines) + "\n")
    fault = f'"iteration" is {iteration} after 2'
    with pytest.raises(UsageError, match=f"Line 3 .* is damaged: {fault}"):
        read_metrics(path)
    said = truncate_metrics(path, 3)
    assert said is not None and fault in said and "lacks" not in said
    assert [row["iteration"] for row in read_metrics(path)] == [1, 2, 3]


def test_what_is_missing_is_counted_however_much_it_is(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"iteration": {x}, "env_steps": 1}}\n' for x in (1, 3)))
    said = truncate_metrics(path, 10**18)
    assert said is not None
    assert f"lacks {10**18 - 2} of {10**18} iterations, the first of them 2." in said
