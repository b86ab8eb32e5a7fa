"""Training: from a configuration, or a run to resume, to the evaluated policy."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dva import learning
from dva.compute.distributed import ALONE, Group
from dva.compute.errors import UsageError
from dva.compute.random_streams import stream_seed
from dva.runs.build import Built, build, memory_errors
from dva.runs.config import TrainConfig
from dva.runs.expert import keep_expert
from dva.runs.follower import Order, give_order, obey
from dva.runs.learner import require_savable
from dva.runs.pace import PacedPlan
from dva.runs.resume import continued_config, require_continuable
from dva.runs.run import Run
from dva.runs.session import Session
from dva.runs.trackers import require_tracker, tracking

__all__ = ["Interrupted", "Outcome", "Report", "Update", "follow", "train"]


@dataclasses.dataclass(frozen=True)
class Update:
    """What training tells its caller: a message, or an iteration's metrics, or both."""

    message: str | None = None
    """A line worth keeping on the screen."""
    row: dict[str, Any] | None = None
    """The row of the metrics just written."""
    last_step: int = 0
    """Environment steps after which training stops."""
    seconds_left: float | None = None
    """Estimated time to the end; None where it is not known yet."""

    def __str__(self) -> str:
        lines = [] if self.message is None else [self.message]
        if self.row is not None:
            found = self.row.get("return")  # an algorithm may report none
            mean = "-" if found is None else f"{found:,.1f}"
            lines.append(f"{self.row['env_steps']:,} / {self.last_step:,} steps  return {mean}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a training session ended."""

    run: Run
    reason: str
    """finished, minutes (they were over before the planned end), stop_at, interrupted or hopeless
    (no update was ever made)."""
    signal: int | None = None
    """The signal that came while it trained, if any. For every reason but "interrupted" it came in
    the last iteration and changed nothing."""
    evaluation: dict[str, Any] | None = dataclasses.field(default=None, repr=False)
    """What `evaluation.json` holds, if an evaluation was made."""
    warning: str | None = None
    """What went wrong with learning, if anything did."""
    learned_nothing: bool = False
    """Whether updates were tried and none was made."""


Report = Callable[[Update], None]


class Interrupted(KeyboardInterrupt):
    """A signal has ended training, or the evaluation after it, at once: a second one, or one for
    which nothing was left to be saved.

    Attributes:
        run: as it is now; it can be resumed.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


def train(
    config: TrainConfig | None = None,
    report: Report = lambda update: None,
    resume: Run | None = None,
    group: Group = ALONE,
    track: str | None = None,
) -> Outcome:
    """Trains until the planned environment steps, the time or a signal ends it.

    On a CPU the same configuration gives the same metrics, bit for bit, except those of
    `is_timing`; stopping and resuming changes nothing.

    Args:
        config: a new run; for `resume`, the run's configuration with other `env_steps`, `minutes`
            or `stop_at`, or None to train to the planned end: the limits of the last session,
            `minutes` and `stop_at`, do not carry on, but what was planned by `minutes` does,
            unless `env_steps` differ.
        report: called with an `Update` after every iteration and with messages.
        resume: a run to continue from its latest checkpoint.
        group: processes that train together, of which this is the first; the others call `follow`.
        track: a tracker that is told of every iteration, of `TRACKERS`.

    Raises:
        UsageError: a value is not allowed, the run's folder is taken, a value other than those
            three differs from the run's, the tracker's package is missing, or there is nothing to
            do.
        Interrupted: a signal ended it at once, after the run's folder was made or opened.
    """
    started = time.perf_counter()
    if config is None:
        if resume is None:
            raise UsageError("Give a configuration, or a run to resume.")
        config = continued_config(resume.config)
    config.validate()
    if track is not None:
        require_tracker(track)
    stored: Run | None = None
    paced: tuple[PacedPlan, ...] = ()
    if resume is None:
        Run.require_free(config.run.run_dir)
    else:
        # What the folder says counts: the caller may have changed `resume.config` itself.
        stored = Run.open(resume.path)
        require_continuable(stored.config, config)
        if config.run.env_steps == stored.config.run.env_steps:
            paced = stored.paced

    def say(text: str) -> None:
        report(Update(message=text))

    # Built before the folder is made: what cannot be built leaves no empty run behind.
    say("Building the environment (the first time compiles kernels)")
    with _built(config, group, resume) as built:
        run = Run.create(config) if resume is None else resume
        run.config, run.paced = config, paced
        if resume is None:
            say(f"Run folder: {run.path}")
        try:
            with run.locked():
                if stored is not None:
                    _require_unchanged(stored)
                return _train(run, built, stored, started, report, track)
        except KeyboardInterrupt as error:
            raise Interrupted(run) from error


def _train(
    run: Run, built: Built, stored: Run | None, started: float, report: Report, track: str | None
) -> Outcome:
    """Trains in a run whose lock is held, evaluates, and says how it ended.

    Args:
        run: where to.
        built: what to train.
        stored: the run as it was, if it continues.
        started: `time.perf_counter()` when the session began.
        report: as for `train`.
        track: as for `train`.
    """

    def say(text: str) -> None:
        report(Update(message=text))

    with tracking(track, run, say) as told:

        def show(row: dict[str, Any], last_step: int, seconds_left: float | None) -> None:
            told.log(row)
            report(Update(None, row, last_step, seconds_left))

        if built.expert is not None:
            keep_expert(run, built.expert)
        session = Session(run, built.env, built.algorithm, built.context, started, say, show)
        if stored is not None:
            session.restore(stored.config.run.env_steps)
        reason = session.train()
        give_order(built.context.group, Order.STOP)
        built.context.group.leave()
        evaluation = told.evaluation = session.conclude(reason)
        told.finished = reason != "interrupted"
    signal, watch = session.interrupt.signal, session.watch
    return Outcome(run, reason, signal, evaluation, watch.last_warning, watch.learned_nothing)


def _require_unchanged(stored: Run) -> None:
    """Makes sure that nobody has trained in a run since it was read: that would be undone.

    Raises:
        UsageError: another process has.
    """
    if Run.open(stored.path).sessions != stored.sessions:
        raise UsageError(
            f"Another process has trained in {stored.path} meanwhile. Give the command again to "
            "continue from there."
        )


def follow(config: TrainConfig, group: Group, resume: Run | None = None) -> int | None:
    """Trains with process 0 of a group, which calls `train`, until that stops.

    Args:
        config: as there.
        group: the processes; this is one of the others.
        resume: as there.

    Returns:
        The signal that ended the training, None without one.

    Raises:
        UsageError: as `train`.
        ProcessLost: another process has ended.
    """
    config.validate()
    with _built(config, group, resume) as built:
        signal = obey(config, built, resume)
        group.leave()
    return signal


@contextmanager
def _built(config: TrainConfig, group: Group, resume: Run | None) -> Iterator[Built]:
    """Builds what a run trains; makes sure that it can be saved."""
    torch.manual_seed(stream_seed(config.run.seed, "torch"))
    with memory_errors(config), build(config, group, resume) as built:
        require_savable(built.algorithm, learning.get(config.algo), built.env.device)
        yield built
