"""How far a run of a matrix has come, as its folder tells, and what is left to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dva.compute.errors import UsageError
from dva.runs.checkpoint import read_info
from dva.runs.matrix.plan import Cell, Matrix
from dva.runs.run import CONFIG, LOCK, Run

__all__ = ["Standing", "find_standing", "lock_of", "next_session"]

SLACK = 1e-3
"""Seconds of a time limit that are not worth another session."""


@dataclass(frozen=True)
class Standing:
    """How far a run has come."""

    state: Literal["new", "begun", "trained", "finished"]
    """new: not begun, or killed before its folder was whole; begun: to be continued; trained: its
    evaluation is missing."""
    env_steps: int = 0
    """Environment steps of its latest checkpoint."""
    wall_time: float = 0.0
    """Seconds of training up to there, all sessions together."""


def lock_of(folder: Path, cell: Cell) -> Path:
    """Returns the file that a process holds while it trains a run."""
    return folder / cell.name / LOCK


def find_standing(folder: Path, matrix: Matrix, cell: Cell) -> Standing:
    """Reads how far a run has come.

    Args:
        folder: of the benchmark.
        matrix: says how long a run trains.
        cell: the run.

    Raises:
        UsageError: the run in the folder cannot be read, or is another.
    """
    path = folder / cell.name
    if not (path / CONFIG).is_file():
        return Standing("new")
    run = Run.open(path)
    found = Cell(run.config.env.task, run.config.algo, run.config.run.seed)
    if found != cell:
        raise UsageError(f"The run in {path} is {found}, and the benchmark's is {cell}. Move it.")
    info = read_info(run.checkpoints)
    if info is None:
        return Standing("begun")
    done, seconds = info["env_steps"], info["wall_time"]
    over = matrix.minutes is not None and seconds >= 60 * matrix.minutes - SLACK
    if not over and done < run.config.run.env_steps:
        return Standing("begun", done, seconds)
    return Standing("trained" if run.lacks_evaluation(done) else "finished", done, seconds)


def next_session(folder: Path, matrix: Matrix, cell: Cell, standing: Standing) -> list[str]:
    """Returns the arguments of `dva` for what is left of a run.

    A limit in minutes holds for all sessions of the run together.
    """
    path = str(folder / cell.name)
    if standing.state == "new":
        return ["train", *matrix.flags(cell), "--run-dir", path]
    resume = ["train", "--resume", path]
    if standing.state == "trained":  # ended before its evaluation, which is all that is left
        return [*resume, "--stop-at", str(standing.env_steps)]
    if matrix.minutes is None:
        return resume
    return [*resume, "--minutes", repr(matrix.minutes - standing.wall_time / 60)]
