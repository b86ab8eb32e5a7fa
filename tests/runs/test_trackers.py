"""Trackers: offline, told of every iteration, gone on with after a resume, and dispensable."""

import dataclasses
import importlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dva import runs
from dva.cli import main
from dva.runs import UsageError, trackers
from dva.runs.metrics import is_timing
from dva.runs.trackers import FILE, require_tracker

STEPS = 16
"""Environment steps of one iteration."""


class Recorder:
    """Keeps what it is told."""

    module = "json"  # a package that is there
    made: list["Recorder"] = []
    broken_at: int | None = None

    @classmethod
    def require(cls) -> None:
        importlib.import_module(cls.module)

    def __init__(self, run: runs.Run, known: str | None) -> None:
        self.known, self.identity = known, known or "first"
        self.rows: list[tuple[dict[str, float], int]] = []
        self.end: Any = None
        Recorder.made.append(self)

    def log(self, numbers: Any, step: int) -> None:
        if step == self.broken_at:
            raise ConnectionError("the network is gone")
        self.rows.append((dict(numbers), step))

    def close(self, evaluation: Any, finished: bool) -> None:
        self.end = (evaluation, finished)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(Recorder, "broken_at", None)
    monkeypatch.setitem(trackers.TRACKERS, "recorder", Recorder)
    return Recorder


@pytest.fixture
def needed() -> Callable[[str], Any]:
    """Imports an optional package, which must be there where CI is set; else tests are skipped."""
    return importlib.import_module if os.environ.get("CI") else pytest.importorskip


def test_a_tracker_is_told_of_every_iteration_and_goes_on_after_a_resume(tiny, recorder):
    config = tiny(env_steps=4 * STEPS, stop_at=2 * STEPS, evaluation_episodes=2)
    run = runs.train(config, track="recorder").run
    longer = dataclasses.replace(config, run=dataclasses.replace(config.run, stop_at=None))
    runs.train(longer, resume=runs.Run.open(run.path), track="recorder")
    first, second = recorder.made
    assert [step for _, step in first.rows + second.rows] == [1, 2, 3, 4]
    stored = [row["actor_loss"] for row in run.metrics()]
    assert [numbers["actor_loss"] for numbers, _ in first.rows + second.rows] == stored
    assert (first.known, second.known) == (None, "first")
    assert json.loads((run.path / FILE).read_text()) == {"recorder": "first"}
    evaluation, finished = second.end
    assert finished and evaluation["mean"] == evaluated(run)


def test_a_fault_is_said_once_and_training_goes_on(tiny, recorder, monkeypatch):
    monkeypatch.setattr(Recorder, "broken_at", 2)
    said: list[str] = []
    outcome = runs.train(
        tiny(env_steps=4 * STEPS),
        lambda update: said.append(update.message or ""),
        track="recorder",
    )
    assert outcome.reason == "finished" and len(outcome.run.metrics()) == 4
    faults = [line for line in said if "the network is gone" in line]
    assert faults == ["recorder is told no more; training goes on: the network is gone."]


def test_a_missing_package_is_named_before_anything_is_made(tiny, recorder, monkeypatch):
    monkeypatch.setattr(Recorder, "module", "no_such_package")
    config = tiny(env_steps=STEPS)
    with pytest.raises(UsageError, match=r"pip install 'dva-rl\[recorder\]'"):
        runs.train(config, track="recorder")
    assert not config.run.run_dir.exists()
    with pytest.raises(UsageError, match="Unknown tracker"):
        require_tracker("nobody")


def records(path: Path) -> Iterator[Any]:
    """Reads what W&B keeps offline: messages in LevelDB's log format, in blocks of 32 KiB."""
    record: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    raw, place, held = path.read_bytes(), 7, b""
    while place + 7 <= len(raw):
        left = 2**15 - place % 2**15
        if left < 7:  # too few for a header
            place += left
            continue
        length, kind = int.from_bytes(raw[place + 4 : place + 6], "little"), raw[place + 6]
        held += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record.FromString(held)
            held = b""


def values(items: Any) -> dict[str, Any]:
    return {(item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in items}


def test_weights_and_biases_offline(needed, tmp_path, monkeypatch):
    needed("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = train_twice("wandb", tmp_path)
    first, second = sorted((path / "wandb").glob("offline-run-*/run-*.wandb"))
    identity = json.loads((path / FILE).read_text())["wandb"]
    assert {first.name, second.name} == {f"run-{identity}.wandb"}
    seen = {file: [*records(file)] for file in (first, second)}
    told = [
        values(record.history.item)
        for file in seen
        for record in seen[file]
        if record.WhichOneof("record_type") == "history"
    ]
    rows = runs.Run.open(path).metrics()
    assert [one["_step"] for one in told] == [1, 2, 3, 4]
    assert [one["actor_loss"] for one in told] == [row["actor_loss"] for row in rows]
    (start,) = (record.run for record in seen[first] if record.HasField("run"))
    assert start.project == "dva" and values(start.config.update)["env"]["task"] == "cartpole"
    summary: dict[str, Any] = {}
    for record in seen[second]:
        summary |= values(record.summary.update)
    assert summary["evaluation_mean"] == evaluated(runs.Run.open(path))
    assert [record.exit.exit_code for record in seen[second] if record.HasField("exit")] == [0]

    # Nothing that is learned depends on who is told of it.
    alone = tmp_path / "alone"
    assert main([*TRAIN, "--evaluation-episodes", "0", "--run-dir", str(alone)]) == 0
    assert [learned(row) for row in runs.Run.open(alone).metrics()] == [learned(x) for x in rows]


def evaluated(run: runs.Run) -> float:
    found = run.evaluation()
    assert found is not None
    return found["mean"]


def learned(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not is_timing(name)}


def test_weights_and_biases_ask_for_no_key_in_the_middle(needed, monkeypatch):
    wandb = needed("wandb")
    online = SimpleNamespace(settings=SimpleNamespace(mode="online"))
    monkeypatch.setattr(wandb, "setup", lambda: online)
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    with pytest.raises(UsageError, match="wandb login.*WANDB_MODE=offline"):
        require_tracker("wandb")


def test_mlflow_without_a_server(needed, tmp_path, monkeypatch):
    mlflow = needed("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = train_twice("mlflow", tmp_path)
    client = mlflow.MlflowClient(tracking_uri=(path / "mlruns").absolute().as_uri())
    identity = json.loads((path / FILE).read_text())["mlflow"]
    kept = client.get_metric_history(identity, "actor_loss")
    rows = runs.Run.open(path).metrics()
    assert [one.step for one in kept] == [1, 2, 3, 4]
    assert [one.value for one in kept] == [row["actor_loss"] for row in rows]
    found = client.get_run(identity)
    assert found.info.status == "FINISHED" and found.data.params["env.task"] == "cartpole"
    assert found.data.metrics["evaluation_mean"] == evaluated(runs.Run.open(path))
    (experiment,) = (one for one in client.search_experiments() if one.name == "dva")
    assert len(client.search_runs([experiment.experiment_id])) == 1

    # Iterations that are computed once more after a kill are not told twice.
    tracker = trackers._Mlflow(runs.Run.open(path), identity)
    tracker.log({"actor_loss": 0.0}, 4)
    tracker.log({"actor_loss": 5.0}, 5)
    kept = client.get_metric_history(identity, "actor_loss")
    assert [one.step for one in kept] == [1, 2, 3, 4, 5]


def test_a_server_that_is_not_there_does_not_end_training(needed, tmp_path, monkeypatch, capsys):
    needed("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    flags = ["--evaluation-episodes", "0", "--run-dir", str(tmp_path / "run")]
    assert main([*TRAIN, *flags, "--track", "mlflow"]) == 0
    assert capsys.readouterr().out.count("mlflow is told no more; training goes on") == 1
    assert len(runs.Run.open(tmp_path / "run").metrics()) == 4


TRAIN = (
    "train cartpole --preset cpu --device cpu --threads 1 --num-envs 4 --horizon 4 "
    "--image-size 32 --video-interval 0 --env-steps 64"
).split()


def train_twice(tracker: str, folder: Path) -> Path:
    """Trains two iterations, and two more after a resume; returns the run's folder."""
    path = folder / "run"
    first = ["--stop-at", "32", "--evaluation-episodes", "2", "--run-dir", str(path)]
    assert main([*TRAIN, *first, "--track", tracker]) == 0
    assert main(["train", "--resume", str(path), "--track", tracker]) == 0
    return path
