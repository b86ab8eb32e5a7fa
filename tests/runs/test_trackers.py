"""Trackers: offline, told of every iteration, gone on with after a resume, and dispensable."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from dva import runs
from dva.cli import main
from dva.runs import UsageError, trackers
from dva.runs.trackers import FILE, require_tracker

STEPS = 16
"""Environment steps of one iteration."""


class Recorder:
    """Keeps what it is told."""

    module = "json"  # a package that is there
    made: list["Recorder"] = []
    broken_at: int | None = None

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
    assert finished and evaluation["mean"] == run.evaluation()["mean"]


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
    with pytest.raises(UsageError, match=r"pip install 'dva\[recorder\]'"):
        runs.train(config, track="recorder")
    assert not config.run.run_dir.exists()
    with pytest.raises(UsageError, match="Unknown tracker"):
        require_tracker("nobody")


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = train_with("wandb", tmp_path)
    (stored,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"actor_grad_norm" in stored.read_bytes()
    assert json.loads((run / FILE).read_text())["wandb"] in stored.name


def test_mlflow_without_a_server(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = train_with("mlflow", tmp_path)
    client = mlflow.MlflowClient(tracking_uri=(run / "mlruns").absolute().as_uri())
    identity = json.loads((run / FILE).read_text())["mlflow"]
    kept = client.get_metric_history(identity, "actor_loss")
    rows = runs.Run.open(run).metrics()
    assert [one.step for one in kept] == [1, 2]
    assert [one.value for one in kept] == [row["actor_loss"] for row in rows]
    found = client.get_run(identity)
    assert found.info.status == "FINISHED" and found.data.params["env.task"] == "cartpole"


def train_with(tracker: str, folder: Path) -> Path:
    """Trains two iterations from the command line; returns the run's folder."""
    flags = (
        "train cartpole --preset cpu --device cpu --threads 1 --num-envs 4 --horizon 4 "
        "--image-size 32 --evaluation-episodes 0 --video-interval 0 --env-steps 32"
    )
    assert main([*flags.split(), "--track", tracker, "--run-dir", str(folder / "run")]) == 0
    return folder / "run"
