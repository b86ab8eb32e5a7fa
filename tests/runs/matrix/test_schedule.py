"""The order of the runs, what is tried again, and what a signal does, with workers that pretend."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dva.runs import UsageError
from dva.runs.locks import hold_lock
from dva.runs.matrix import schedule
from dva.runs.matrix.plan import Matrix
from dva.runs.matrix.schedule import Outcome, run_matrix
from dva.runs.matrix.sessions import Standing
from dva.runs.matrix.workers import Ending, Job

MATRIX = Matrix(("cartpole",), ("dva", "shac"), 2, "cpu", 1, env_steps=100)
NAMES = [cell.name for cell in MATRIX.cells()]


class Pretended:
    """Workers whose jobs end at the next look, as `endings` says: with 0, unless the name is there.

    A job that ends with 0 finishes its run.
    """

    places: Sequence[str | None] = (None,)

    def __init__(self, capacity: int = 1) -> None:
        self.capacity = capacity
        self.standings = {name: Standing("new") for name in NAMES}
        self.endings: dict[str, list[int | None]] = {}
        self.started: list[str] = []
        self.arguments: list[tuple[str, ...]] = []
        self.running: list[Job] = []
        self.most = 0
        self.stopped = self.killed = 0
        self.until_stopped = False
        """Whether jobs go on until they are stopped."""
        self.at_look: Callable[[], object] = lambda: None

    def start(self, job: Job) -> None:
        assert job.name not in [other.name for other in self.running]
        self.started.append(job.name)
        self.arguments.append(job.arguments)
        self.running.append(job)
        self.most = max(self.most, len(self.running))

    def ended(self) -> list[Ending]:
        self.at_look()
        if self.until_stopped and not self.stopped:
            return []
        found = []
        for job in self.running:
            status = self.endings.get(job.name, []).pop(0) if self.endings.get(job.name) else 0
            if status == 0 and job.name in NAMES:
                self.standings[job.name] = Standing("finished", 100, 1.0)
            found.append(Ending(job, status, "its machine was lost"))
        self.running.clear()
        return found

    def stop(self) -> None:
        self.stopped += 1

    def kill(self) -> None:
        self.killed += 1
        self.running.clear()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    workers = Pretended()

    def find(folder, matrix, cell) -> Standing:
        found = workers.standings[cell.name]
        if found is None:
            raise UsageError(f"{cell.name} is damaged.")
        return found

    monkeypatch.setattr(schedule, "find_standing", find)
    monkeypatch.setattr(schedule.Run, "open", lambda path: _Metrics())
    monkeypatch.setattr(schedule, "POLL", 0.001)
    return workers


class _Metrics:
    def metrics(self):
        return [{"return": 1234.5}]


def work(workers: Pretended, folder: Path, **changes) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    options = {"warm_up": False, **changes}
    return run_matrix(folder, MATRIX, workers, said.append, **options), said


def test_all_runs_come_to_their_end_in_order(workers, tmp_path):
    outcome, said = work(workers, tmp_path)
    assert workers.started == outcome.finished == NAMES
    assert (outcome.failed, outcome.signal, workers.most) == ({}, None, 1)
    assert said[0].startswith(f"4 runs in {tmp_path}: 0 finished, 0 to go on with, 4 to begin")
    assert said[1:3] == [
        "[1/4] cartpole-dva-s0 begins",
        "[1/4] cartpole-dva-s0 finished: return 1,234.5 after 100 steps, 1 s",
    ]
    assert workers.arguments[1][:4] == ("train", "cartpole", "--video-interval", "0")


def test_as_many_run_as_there_is_room_for(workers, tmp_path):
    workers.capacity = 3
    work(workers, tmp_path)
    assert workers.most == 3


def test_finished_runs_are_kept_and_others_go_on(workers, tmp_path):
    workers.standings["cartpole-dva-s0"] = Standing("finished", 100, 2.0)
    workers.standings["cartpole-shac-s0"] = Standing("begun", 40, 1.0)
    workers.standings["cartpole-dva-s1"] = Standing("trained", 100, 2.0)
    outcome, said = work(workers, tmp_path)
    assert workers.started == NAMES[1:] and sorted(outcome.finished) == sorted(NAMES)
    assert "1 finished, 2 to go on with, 1 to begin" in said[0]
    assert "[2/4] cartpole-shac-s0 goes on after 40 steps, 1 s" in said
    assert "[3/4] cartpole-dva-s1 is evaluated" in said
    resume = ("train", "--resume", str(tmp_path / "cartpole-shac-s0"))
    assert workers.arguments[0] == resume
    assert workers.arguments[1][-2:] == ("--stop-at", "100")


def test_a_run_that_is_killed_is_tried_again_a_few_times(workers, tmp_path):
    workers.endings = {"cartpole-dva-s0": [-9, None], "cartpole-shac-s0": [-9, 1, 1, 1]}
    outcome, said = work(workers, tmp_path)
    assert workers.started.count("cartpole-dva-s0") == 3
    assert workers.started.count("cartpole-shac-s0") == 3
    assert "[1/4] cartpole-dva-s0 ended early (killed by SIGKILL): tried again" in said
    assert "[1/4] cartpole-dva-s0 ended early (its machine was lost): tried again" in said
    log = tmp_path / "logs" / "cartpole-shac-s0.log"
    assert outcome.failed == {"cartpole-shac-s0": f"exit status 1; see {log}"}
    assert said[-1].startswith("[4/4]")  # the others went on
    assert len(outcome.finished) == 3


def test_what_is_refused_is_not_tried_again(workers, tmp_path):
    workers.endings = {"cartpole-dva-s1": [2]}
    outcome, _ = work(workers, tmp_path)
    assert workers.started == NAMES
    assert list(outcome.failed) == ["cartpole-dva-s1"]


def test_a_run_that_ends_before_its_end_fails(workers, tmp_path, monkeypatch):
    begun = Standing("begun", 5, 1.0)
    monkeypatch.setattr(schedule, "find_standing", lambda folder, matrix, cell: begun)
    outcome, _ = work(workers, tmp_path, retries=0)
    assert len(outcome.failed) == 4
    assert outcome.failed["cartpole-dva-s0"].startswith("ended before its end (exit status 0)")


def test_a_damaged_run_is_named_and_the_others_go_on(workers, tmp_path):
    workers.standings["cartpole-shac-s0"] = None
    outcome, said = work(workers, tmp_path)
    assert outcome.failed == {"cartpole-shac-s0": "cartpole-shac-s0 is damaged."}
    assert len(outcome.finished) == 3
    assert "[2/4] cartpole-shac-s0 failed: cartpole-shac-s0 is damaged." in said


def test_a_run_of_another_process_is_waited_for(workers, tmp_path):
    folder = tmp_path / "cartpole-dva-s0"
    folder.mkdir()
    held = hold_lock(folder / ".lock", "")
    held.__enter__()

    def let_go() -> None:
        if workers.started == NAMES[1:]:
            held.__exit__(None, None, None)

    workers.at_look = let_go
    outcome, said = work(workers, tmp_path)
    assert workers.started == [*NAMES[1:], NAMES[0]]
    assert said.count("[1/4] cartpole-dva-s0 is being trained by another process: waiting") == 1
    assert len(outcome.finished) == 4


def test_a_signal_stops_what_runs_and_starts_nothing_more(workers, tmp_path):
    workers.capacity = 2
    workers.endings = {name: [143] for name in NAMES}

    workers.until_stopped = True
    workers.at_look = lambda: workers.stopped or signal.raise_signal(signal.SIGINT)
    outcome, said = work(workers, tmp_path)
    assert (outcome.signal, workers.stopped, workers.killed) == (signal.SIGINT, 1, 0)
    assert workers.started == NAMES[:2]
    assert outcome.failed == {} and outcome.finished == []
    assert said[-1].startswith("Stopping cartpole-dva-s0, cartpole-shac-s0, each at its next check")


def test_a_second_signal_does_not_wait(workers, tmp_path):
    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    workers.at_look = interrupt
    with pytest.raises(KeyboardInterrupt):
        work(workers, tmp_path)
    assert workers.killed == 1


def test_a_warm_up_is_thrown_away(workers, tmp_path):
    workers.capacity = 2
    workers.places = ("one", "two")
    workers.endings = {"warm-up 0": [1]}  # what fails here fails again, with its name
    workers.standings["cartpole-shac-s0"] = Standing("finished", 100, 2.0)
    outcome, said = work(workers, tmp_path, warm_up=True)
    assert workers.started == [*(f"warm-up {i}" for i in range(4)), *(NAMES[i] for i in (0, 2, 3))]
    short = ("--stop-at", "1", "--evaluation-episodes", "0", "--run-dir")
    assert workers.arguments[0][-6:] == (*short, str(tmp_path / "warm-up" / "0"))
    assert said[1].startswith("Warming up: one iteration of 2 kind(s) of run")
    assert len(outcome.finished) == 4
    workers.standings = {name: Standing("finished", 100, 2.0) for name in NAMES}
    workers.started.clear()
    work(workers, tmp_path, warm_up=True)
    assert workers.started == []
