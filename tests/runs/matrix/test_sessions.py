"""How far a run of a matrix has come, and that its sessions share one limit in minutes."""

import dataclasses
import time
from typing import Any

import pytest
from killing import Killed, kill_at
from own_algorithms import Plain

from dva import runs
from dva.runs import Run, UsageError
from dva.runs.matrix.plan import Cell, Matrix
from dva.runs.matrix.sessions import Standing, find_standing, lock_of, next_session
from dva.runs.session import Session

STEPS = 4 * 4
"""Environment steps of one iteration."""
CELL = Cell("cartpole", "own", 0)


def matrix(**changes: Any) -> Matrix:
    values: dict[str, Any] = {"env_steps": 6 * STEPS, **changes}
    return Matrix(("cartpole",), ("own",), 1, "cpu", 1, **values)


@pytest.fixture
def config(own: Any, tmp_path) -> Any:
    """Makes configurations of the cell's run."""

    def make(**changes: Any) -> runs.TrainConfig:
        return own(**{"run_dir": tmp_path / CELL.name, **changes})

    return make


def test_a_run_of_steps_from_its_beginning_to_its_end(config, tmp_path):
    path = str(tmp_path / CELL.name)
    plan = matrix()
    standing = find_standing(tmp_path, plan, CELL)
    assert standing == Standing("new")
    arguments = next_session(tmp_path, plan, CELL, standing)
    assert arguments == ["train", *plan.flags(CELL), "--run-dir", path]

    (tmp_path / CELL.name).mkdir()  # killed before its configuration was written
    lock_of(tmp_path, CELL).touch()
    assert find_standing(tmp_path, plan, CELL) == Standing("new")

    with pytest.raises(Killed):
        runs.train(config(), kill_at(2))
    standing = find_standing(tmp_path, plan, CELL)
    assert standing == Standing("begun")  # without a checkpoint: it begins anew in its folder
    assert next_session(tmp_path, plan, CELL, standing) == ["train", "--resume", path]

    run = Run.open(path)
    limited = dataclasses.replace(run.config.run, stop_at=4 * STEPS)
    runs.train(dataclasses.replace(run.config, run=limited), resume=run)
    standing = find_standing(tmp_path, plan, CELL)
    assert (standing.state, standing.env_steps) == ("begun", 4 * STEPS)
    assert standing.wall_time > run.metrics()[-1]["wall_time"] > 0
    assert next_session(tmp_path, plan, CELL, standing) == ["train", "--resume", path]

    runs.train(resume=Run.open(path))
    standing = find_standing(tmp_path, plan, CELL)
    assert (standing.state, standing.env_steps) == ("finished", 6 * STEPS)


def test_a_run_that_was_killed_in_its_evaluation_is_evaluated(config, tmp_path, monkeypatch):
    def killed(self):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Session, "_evaluate", killed)
        runs.train(config(evaluation_episodes=2))
    plan = matrix()
    standing = find_standing(tmp_path, plan, CELL)
    assert (standing.state, standing.env_steps) == ("trained", 6 * STEPS)
    arguments = next_session(tmp_path, plan, CELL, standing)
    assert arguments == ["train", "--resume", str(tmp_path / CELL.name), "--stop-at", "96"]

    run = Run.open(tmp_path / CELL.name)
    before, sessions = run.metrics(), len(run.sessions)
    limited = dataclasses.replace(run.config.run, stop_at=standing.env_steps)
    outcome = runs.train(dataclasses.replace(run.config, run=limited), resume=run)
    run = Run.open(run.path)
    assert outcome.reason == "finished"
    assert (run.evaluation() or {})["env_steps"] == 6 * STEPS
    assert (run.metrics(), len(run.sessions)) == (before, sessions)
    assert find_standing(tmp_path, plan, CELL).state == "finished"
    whole = runs.train(config(evaluation_episodes=2, run_dir=tmp_path / "whole"))
    assert whole.evaluation is not None and outcome.evaluation is not None
    assert whole.evaluation["returns"] == outcome.evaluation["returns"]
    with pytest.raises(UsageError, match="has finished 96 of 96 planned steps"):
        runs.train(resume=run)


def test_an_evaluation_of_fewer_steps_does_not_count(config, tmp_path):
    runs.train(config(evaluation_episodes=2, stop_at=2 * STEPS))
    assert find_standing(tmp_path, matrix(), CELL).state == "begun"
    run = Run.open(tmp_path / CELL.name)
    assert not run.lacks_evaluation(2 * STEPS) and run.lacks_evaluation(6 * STEPS)


def test_sessions_share_their_minutes(config, tmp_path, monkeypatch):
    """Iterations of a second, a limit of 30: killed after 13, it has 20 left at its checkpoint."""
    now = [0.0]
    iterate = Plain.iterate

    def timed(self):
        now[0] += 1.0
        return iterate(self)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Plain, "iterate", timed)
    plan = matrix(minutes=0.5, env_steps=None)
    with pytest.raises(Killed):
        runs.train(
            config(minutes=0.5, env_steps=10**12, checkpoint_interval=10 * STEPS), kill_at(13)
        )
    standing = find_standing(tmp_path, plan, CELL)
    assert standing == Standing("begun", 10 * STEPS, 10.0)
    arguments = next_session(tmp_path, plan, CELL, standing)
    assert arguments[-2] == "--minutes" and float(arguments[-1]) == pytest.approx(20 / 60)

    run = Run.open(tmp_path / CELL.name)
    left = dataclasses.replace(run.config.run, minutes=float(arguments[-1]))
    outcome = runs.train(dataclasses.replace(run.config, run=left), resume=run)
    assert outcome.reason == "finished"
    assert 28.0 <= run.metrics()[-1]["wall_time"] <= 30.0
    assert find_standing(tmp_path, plan, CELL).state == "finished"
    # One that became slower than its plan ends by its time.
    assert find_standing(tmp_path, matrix(minutes=0.48, env_steps=None), CELL).state == "finished"


def test_a_run_that_its_time_ends_is_at_its_end(config, tmp_path, monkeypatch):
    now = [0.0]
    iterate = Plain.iterate

    def timed(self):  # slower at the end
        now[0] += 1.0 if self.env_steps < 17 * STEPS else 5.0
        return iterate(self)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Plain, "iterate", timed)
    outcome = runs.train(config(minutes=20 / 60, env_steps=10**12))
    assert outcome.reason == "minutes"
    run = Run.open(tmp_path / CELL.name)
    assert run.metrics()[-1]["env_steps"] < run.config.run.env_steps
    for minutes, state in ((20 / 60, "finished"), (1.0, "begun")):
        standing = find_standing(tmp_path, matrix(minutes=minutes, env_steps=None), CELL)
        assert standing.state == state


def test_another_run_in_the_folder_is_refused(config, tmp_path):
    runs.train(config(seed=1))
    with pytest.raises(UsageError, match="seed=1.*and the benchmark's is.*seed=0"):
        find_standing(tmp_path, matrix(), CELL)
