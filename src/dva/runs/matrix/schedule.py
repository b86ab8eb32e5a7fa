"""Brings every run of a matrix to its end: what runs when, what is tried again, a clean stop."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dva.compute.errors import UsageError
from dva.runs.interrupt import Interrupt
from dva.runs.locks import is_locked
from dva.runs.matrix.plan import Cell, Matrix
from dva.runs.matrix.sessions import Standing, find_standing, lock_of, next_session
from dva.runs.matrix.workers import Ending, Job, Workers
from dva.runs.run import Run

__all__ = ["Outcome", "run_matrix"]

POLL = 0.2
"""Seconds between two looks at what is running."""
REFUSED = 2
"""Exit status of `dva` for what cannot be done: trying again does not help."""
LOGS = "logs"
WARM_UP = "warm-up"


@dataclass
class Outcome:
    """How a benchmark ended."""

    finished: list[str] = field(default_factory=list)
    """Names of the runs that are at their end."""
    failed: dict[str, str] = field(default_factory=dict)
    """Names of those that are not, with what went wrong the last time."""
    signal: int | None = None
    """The signal that stopped it, if any."""


class _Schedule:
    """The loop over what is to run, and what it knows of the runs."""

    def __init__(
        self,
        folder: Path,
        matrix: Matrix,
        workers: Workers,
        interrupt: Interrupt,
        say: Callable[[str], None],
        retries: int,
        trust_code: bool,
    ) -> None:
        self.folder, self.matrix, self.workers = folder, matrix, workers
        self.interrupt, self.say, self.retries = interrupt, say, retries
        self.more = ("--trust-code",) if trust_code else ()
        """What every session is given beside its own arguments."""
        self.cells = {cell.name: cell for cell in matrix.cells()}
        self.waiting = list(self.cells)
        """Names of the runs that are not at their end, in order."""
        self.running: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.held: set[str] = set()
        """Names of the runs that another process was seen to train."""
        self.outcome = Outcome()

    def survey(self) -> dict[str, Standing]:
        """Reads how far all runs have come; keeps the finished ones, and those that cannot be read
        apart."""
        found: dict[str, Standing] = {}
        for name in list(self.waiting):
            standing = self._standing(name)
            if standing is not None:
                found[name] = standing
                if standing.state == "finished":
                    self.waiting.remove(name)
                    self.outcome.finished.append(name)
        return found

    def warm_up(self) -> None:
        """Trains one iteration of every kind of run in a folder that is thrown away."""
        kinds = {(self.cells[name].task, self.cells[name].algo) for name in self.waiting}
        self.say(f"Warming up: one iteration of {len(kinds)} kind(s) of run compiles kernels")
        scratch = self.folder / WARM_UP
        shutil.rmtree(scratch, ignore_errors=True)
        jobs = []
        for place in self.workers.places:
            for task, algo in sorted(kinds):
                number = len(jobs)
                flags = self.matrix.flags(Cell(task, algo, 0))
                short = ["--stop-at", "1", "--evaluation-episodes", "0", *self.more]
                arguments = ("train", *flags, *short, "--run-dir", str(scratch / str(number)))
                log = self.folder / LOGS / f"{WARM_UP}.log"
                name = f"{WARM_UP} {number}"
                jobs.append(Job(name, arguments, log, self.matrix.threads, place))
        running = 0
        while (jobs or running) and not self.interrupt.signal:
            while jobs and running < self.workers.capacity:
                self.workers.start(jobs.pop(0))
                running += 1
            time.sleep(POLL)
            running -= len(self.workers.ended())  # what fails here fails again, with its name
        if running:
            self.workers.kill()
        shutil.rmtree(scratch, ignore_errors=True)

    def work(self) -> None:
        """Runs until nothing is left, or a signal comes; what runs then is waited for."""
        while self.running or (self.waiting and not self.interrupt.signal):
            if not self.interrupt.signal:
                self._fill()
            time.sleep(POLL)
            if self.interrupt.signal and self.outcome.signal is None:
                self._stop()
            for ending in self.workers.ended():
                self._take(ending)
        self.outcome.signal = self.interrupt.signal

    def _stop(self) -> None:
        """Passes a signal on to what is running."""
        self.outcome.signal = self.interrupt.signal
        if self.running:
            self.say(
                f"Stopping {', '.join(sorted(self.running))}, each at its next checkpoint; a "
                "second signal does not wait for that"
            )
            self.workers.stop()

    def _fill(self) -> None:
        """Starts what may start now."""
        for name in list(self.waiting):
            if len(self.running) >= self.workers.capacity:
                return
            if is_locked(lock_of(self.folder, self.cells[name])):
                if name not in self.held:
                    self.held.add(name)
                    self.say(f"{self._title(name)} is being trained by another process: waiting")
                continue
            standing = self._standing(name)
            if standing is None:
                continue
            self.waiting.remove(name)
            if standing.state == "finished":  # by that other process
                self._finish(name, standing)
                continue
            self._start(name, standing)

    def _start(self, name: str, standing: Standing) -> None:
        cell, matrix = self.cells[name], self.matrix
        arguments = [*next_session(self.folder, matrix, cell, standing), *self.more]
        log = self.folder / LOGS / f"{name}.log"
        self.workers.start(Job(name, tuple(arguments), log, matrix.threads))
        self.running.add(name)
        done = f"{standing.env_steps:,} steps, {standing.wall_time:,.0f} s"
        how = {
            "new": "begins", "begun": f"goes on after {done}", "trained": "is evaluated",
        }  # fmt: skip
        self.say(f"{self._title(name)} {how[standing.state]}")

    def _take(self, ending: Ending) -> None:
        """Looks at the run of a job that has ended: at its end, to be tried again, or failed."""
        name = ending.job.name
        self.running.discard(name)
        standing = self._standing(name)
        if standing is None:
            return
        if standing.state == "finished":
            self._finish(name, standing)
            return
        if self.interrupt.signal:
            self.waiting.append(name)
            return
        if is_locked(lock_of(self.folder, self.cells[name])):  # by a process left over
            self.waiting.insert(0, name)
            return
        self.attempts[name] = self.attempts.get(name, 0) + 1
        if ending.status == REFUSED or self.attempts[name] > self.retries:
            fault = f"ended before its end ({ending})" if ending.status == 0 else str(ending)
            self._fail(name, f"{fault}; see {ending.job.log}")
        else:
            self.say(f"{self._title(name)} ended early ({ending}): tried again")
            self.waiting.insert(0, name)

    def _standing(self, name: str) -> Standing | None:
        """Reads how far a run has come; None where that cannot be read: it has failed then."""
        try:
            return find_standing(self.folder, self.matrix, self.cells[name])
        except UsageError as error:
            self._fail(name, str(error))
            return None

    def _finish(self, name: str, standing: Standing) -> None:
        self.outcome.finished.append(name)
        rows = Run.open(self.folder / name).metrics()
        found = rows[-1].get("return") if rows else None
        mean = "-" if found is None else f"{found:,.1f}"
        self.say(
            f"{self._title(name)} finished: return {mean} after {standing.env_steps:,} steps, "
            f"{standing.wall_time:,.0f} s"
        )

    def _fail(self, name: str, reason: str) -> None:
        if name in self.waiting:
            self.waiting.remove(name)
        self.outcome.failed[name] = reason
        self.say(f"{self._title(name)} failed: {reason}")

    def _title(self, name: str) -> str:
        place = list(self.cells).index(name) + 1
        return f"[{place}/{len(self.cells)}] {name}"


def run_matrix(
    folder: Path,
    matrix: Matrix,
    workers: Workers,
    say: Callable[[str], None],
    retries: int = 2,
    warm_up: bool = True,
    trust_code: bool = False,
) -> Outcome:
    """Brings every run of a matrix to its end, from wherever it stands.

    Args:
        folder: of the benchmark; the caller holds its lock.
        matrix: what to run.
        workers: carry it out.
        say: takes a line about what happens.
        retries: how often a run is tried again that ended early, before it counts as failed.
        warm_up: train one iteration of every kind of run first and throw it away, so that no run
            spends its time on compiling kernels.
        trust_code: let the runs import modules that their configurations name.
    """
    with Interrupt() as interrupt:
        schedule = _Schedule(
            folder, matrix, workers, interrupt, interrupt.guarded(say), retries, trust_code
        )
        try:
            standings = schedule.survey()
            left = len(schedule.waiting)
            begun = sum(standing.state in ("begun", "trained") for standing in standings.values())
            schedule.say(
                f"{len(schedule.cells)} runs in {folder}: {len(schedule.outcome.finished)} "
                f"finished, {begun} to go on with, {left - begun} to begin; up to "
                f"{workers.capacity} at a time, {matrix.threads} thread(s) each"
            )
            if warm_up and schedule.waiting:
                schedule.warm_up()
            schedule.work()
        except BaseException:
            workers.kill()
            raise
    return schedule.outcome
