"""Who carries out the sessions of a matrix: processes of this machine, each on its own cores."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch

from dva.compute.errors import UsageError, explain_file_errors

__all__ = ["Ending", "Job", "LocalWorkers", "Workers", "available_cores", "launch", "share_cores"]

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclasses.dataclass(frozen=True)
class Job:
    """One session of a run: a process `dva ...`."""

    name: str
    """Of the run; no two jobs of one name run at a time."""
    arguments: tuple[str, ...]
    """Those of `dva`."""
    log: Path
    """File to which its output is added."""
    threads: int = 1
    """CPU threads that it uses."""
    place: str | None = None
    """One of `Workers.places`, where it must run; None: anywhere."""


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a job ended."""

    job: Job
    status: int | None
    """Exit status, as `subprocess` gives it; None: the worker itself was lost."""
    fault: str = ""
    """What happened to the worker, where it was lost."""

    def __str__(self) -> str:
        if self.status is None:
            return self.fault
        if self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        return f"exit status {self.status}"


class Workers(Protocol):
    """Carries out jobs at the same time."""

    capacity: int
    """How many at most."""

    @property
    def places(self) -> Sequence[str | None]:
        """What keeps compiled kernels of its own: None for this machine, or names of machines."""
        ...

    def start(self, job: Job) -> None:
        """Begins a job. There must be less than `capacity` running."""
        ...

    def ended(self) -> list[Ending]:
        """Returns the jobs that ended since the last call; does not wait."""
        ...

    def stop(self) -> None:
        """Tells all jobs to end at their next checkpoint; they end later."""
        ...

    def kill(self) -> None:
        """Ends all jobs at once."""
        ...


class LocalWorkers:
    """Processes of this machine. Each has the same number of cores, which no other one uses.

    Args:
        jobs: how many at a time.
        threads: CPU threads of each, one for each core.

    Raises:
        UsageError: there are not that many cores.
    """

    places: Sequence[str | None] = (None,)

    def __init__(self, jobs: int, threads: int) -> None:
        self.capacity = jobs
        self._cores = share_cores(available_cores(), jobs, threads)
        self._gpus = _visible_gpus()
        self._running: dict[int, tuple[Job, subprocess.Popen]] = {}
        """By the number of the slot, which stands for cores and a GPU."""

    def start(self, job: Job) -> None:
        """See `Workers`."""
        slot = next(number for number in range(self.capacity) if number not in self._running)
        more = {"CUDA_VISIBLE_DEVICES": self._gpus[slot % len(self._gpus)]} if self._gpus else {}
        self._running[slot] = job, launch(job, self._cores[slot], more)

    def ended(self) -> list[Ending]:
        """See `Workers`."""
        found = []
        for slot, (job, process) in list(self._running.items()):
            status = process.poll()
            if status is not None:
                del self._running[slot]
                found.append(Ending(job, status))
        return found

    def stop(self) -> None:
        """See `Workers`."""
        for _, process in self._running.values():
            process.terminate()

    def kill(self) -> None:
        """See `Workers`."""
        for _, process in self._running.values():
            process.kill()
        for _, process in self._running.values():
            process.wait()
        self._running.clear()


def launch(
    job: Job, cores: Sequence[int], more: Mapping[str, str], folder: Path | None = None
) -> subprocess.Popen:
    """Starts the process of a job.

    It gets no signal of the terminal: whoever started it passes on what it shall hear.

    Args:
        job: what to start.
        cores: numbers of the cores that it may use; none: any.
        more: environment variables beside ours.
        folder: where it works; None: where we do.

    Raises:
        FileError: its log cannot be written.
    """
    numbers = ",".join(map(str, cores))
    command = [sys.executable, str(LAUNCHER), str(os.getpid()), numbers, *job.arguments]
    with explain_file_errors(job.log):
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("a", encoding="utf-8")
    with log:
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} dva {' '.join(job.arguments)}\n")
        log.flush()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": str(job.threads), **more},
            start_new_session=True,
        )


def available_cores() -> list[int]:
    """Lists the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share_cores(cores: Sequence[int], jobs: int, threads: int) -> list[list[int]]:
    """Gives each of some jobs as many cores as it has threads.

    Raises:
        UsageError: there are not that many.
    """
    if jobs * threads > len(cores):
        raise UsageError(
            f"{jobs} job(s) of {threads} thread(s) each need {jobs * threads} cores, and "
            f"{len(cores)} are available. Give fewer --jobs"
            + (", or fewer --threads to a new benchmark." if threads > 1 else ".")
        )
    return [list(cores[job * threads : (job + 1) * threads]) for job in range(jobs)]


def _visible_gpus() -> list[str]:
    """Lists what CUDA_VISIBLE_DEVICES may be set to for one GPU each."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return (given.split(",") if given else [str(number) for number in range(count)])[:count]
