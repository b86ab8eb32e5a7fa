"""Training: iterations of a learner, with metrics, checkpoints, videos, and a clean stop."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from dva.runs.checkpoint import check_layout, load_checkpoint, read_pointer, save_checkpoint
from dva.runs.config import TrainConfig, resolve_device
from dva.runs.curve import draw_curve
from dva.runs.errors import UsageError, explain_value_errors
from dva.runs.evaluation import EVALUATION_SEED, evaluate, make_env, record
from dva.runs.extras import dispensable
from dva.runs.files import write_atomically
from dva.runs.interrupt import Interrupt
from dva.runs.machine import describe_machine
from dva.runs.metrics import MetricsWriter, peak_memory_mb, truncate_metrics
from dva.runs.nan_guard import dump_nonfinite, watch_nonfinite
from dva.runs.resume import continued_config, require_continuable
from dva.runs.run import Run
from dva.runs.threads import lanes

__all__ = ["Outcome", "Update", "train"]

RNG = "torch_generator"
"""Name of torch's own random state among a checkpoint's tensors."""
CHECKPOINT_SECONDS = 60.0
"""Between checkpoints, unless an interval is given: their cost does not depend on how long an
iteration takes."""
FIRST_VIDEO_SECONDS = 60.0
"""Wall time before the first video; the next ones come after twice, four times, ... as long."""
VIDEO_STEPS = 240
VIDEO_TILE = 128
"""Side of one of the four tiles in pixels: small, because training waits."""


@dataclasses.dataclass(frozen=True)
class Update:
    """What training tells its caller: a message, or an iteration's metrics, or both."""

    message: str | None = None
    """A line worth keeping on the screen."""
    row: dict[str, Any] | None = None
    """The row of the metrics just written."""
    last_iteration: int = 0
    """The iteration after which training stops."""
    seconds_left: float | None = None
    """Estimated time to the end; None where it is not known yet."""

    def __str__(self) -> str:
        lines = [] if self.message is None else [self.message]
        if self.row is not None:
            mean = "-" if self.row["return"] is None else f"{self.row['return']:,.1f}"
            done = f"{self.row['iteration']:,} / {self.last_iteration:,}"
            lines.append(f"iteration {done}  return {mean}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a training session ended."""

    run: Run
    reason: str
    """finished, minutes, stop_at or interrupted."""
    signal: int | None = None
    """The signal that interrupted it; none for every other reason, even if a signal came."""
    evaluation: dict[str, Any] | None = dataclasses.field(default=None, repr=False)
    """What `evaluation.json` holds, if an evaluation was made."""


Report = Callable[[Update], None]


def train(
    config: TrainConfig | None = None,
    report: Report = lambda update: None,
    resume: Run | None = None,
) -> Outcome:
    """Trains until the planned iterations, the time or a signal ends it.

    On a CPU the same configuration gives the same metrics, bit for bit, except those of
    `is_timing`; stopping and resuming changes nothing.

    Args:
        config: a new run; for `resume`, the run's configuration with other `iterations`,
            `minutes` or `stop_at`, or none to train to the planned end: the limits of the last
            session, `minutes` and `stop_at`, do not carry on.
        report: called with an `Update` after every iteration and with messages.
        resume: a run to continue from its latest checkpoint.

    Raises:
        UsageError: a value is not allowed, the run's folder is taken, a value other than those
            three differs from the run's, or there is nothing to do.
    """
    started = time.perf_counter()
    if config is None:
        if resume is None:
            raise UsageError("Give a configuration, or a run to resume.")
        config = continued_config(resume.config)
    config.validate()
    if resume is None:
        Run.require_free(config.run_dir)
        planned = 0
    else:
        # What the folder says counts: the caller may have changed `resume.config` itself.
        stored = Run.open(resume.path).config
        require_continuable(stored, config)
        planned = stored.planned_iterations
    with lanes(config) as threads:
        # Built before the folder is made: what cannot be built leaves no empty run behind.
        session = _Session(config, report, started, threads)
        run = Run.create(config) if resume is None else resume
        with run.locked():
            run.config = config
            return session.run_to_end(run, resume is not None, planned)


class _Session:
    """One process' share of a run."""

    run: Run

    def __init__(
        self, config: TrainConfig, report: Report, started: float, threads: int | None
    ) -> None:
        self.config, self.started = config, started
        self.threads = threads
        self.interrupt = Interrupt()
        self.report = self.interrupt.guarded(report)
        self.earlier_seconds = 0.0
        self.last_save = started
        self.next_video = FIRST_VIDEO_SECONDS
        """Wall time of the run after which a video is due."""
        self.best_return: float | None = None
        self.nonfinite: dict[str, torch.Tensor] | None = None
        self.device = torch.device(resolve_device(self.config.device))
        torch.manual_seed(self.config.seed)
        self._build()

    def run_to_end(self, run: Run, resuming: bool, planned_before: int) -> Outcome:
        """Trains within `run`, whose lock is held and which planned so many iterations before."""
        self.run = run
        if resuming:
            self._restore(planned_before)
        self.run.write_config(
            {
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "first_iteration": self.learner.iteration + 1,
                **describe_machine(self.device),
            }
        )
        writer = MetricsWriter(
            self.run.metrics_path, self.run.tensorboard, self.learner.iteration + 1
        )
        try:
            with self.interrupt:
                reason = self._iterate(writer)
        finally:
            writer.close()
        evaluation = None
        if reason != "interrupted" and self.config.evaluation_episodes:
            evaluation = self._evaluate()
        with dispensable("The curve", self._say):
            self._draw()
        self.env.close()
        signal = self.interrupt.signal if reason == "interrupted" else None
        return Outcome(self.run, reason, signal, evaluation)

    def _build(self) -> None:
        from dva.learning import ALGORITHMS

        config, learner = self.config, self.config.learner
        self.report(Update(message="Building the environment (the first time compiles kernels)"))
        self.env = self._make_env(learner.num_envs, config.seed)
        if config.nan_guard:
            watch_nonfinite(self.env, self._keep_nonfinite)
        entry = ALGORITHMS[config.algo]
        with explain_value_errors():
            self.learner = entry.learner_class(
                self.env,
                learner,
                seed=config.seed,
                threads=self.threads,
                cuda_graphs=config.cuda_graphs,
            )

    def _make_env(self, num_envs: int, seed: int = 0) -> Any:
        return make_env(self.config, num_envs, seed=seed, threads=self.threads)

    def _restore(self, planned_before: int) -> None:
        """Puts learner, environment and files back to the latest checkpoint."""
        if read_pointer(self.run.checkpoints, "latest") is None:
            truncate_metrics(self.run.metrics_path, 0)
            self.report(Update(message="No checkpoint was saved yet: starting anew"))
            return
        checkpoint = load_checkpoint(self.run.checkpoints, "latest")
        tensors = dict(checkpoint.tensors)
        expected = {**self.learner.state_dict(), RNG: torch.get_rng_state()}
        check_layout(checkpoint.path, tensors, expected, varying=("episodes",))
        torch.set_rng_state(tensors.pop(RNG))
        self.learner.load_state_dict(tensors)
        self.earlier_seconds = checkpoint.info["wall_time"]
        self.best_return = checkpoint.info["best_return"]
        self._plan_video()
        truncate_metrics(self.run.metrics_path, self.learner.iteration)
        self._require_work(planned_before)
        self.report(Update(message=f"Resumed after iteration {self.learner.iteration}"))

    def _require_work(self, planned_before: int) -> None:
        """Makes sure that iterations are left; the advice never shrinks the run's plan."""
        done, planned = self.learner.iteration, self.config.planned_iterations
        stop = self.config.stop_at
        if done < self.config.last_iteration:
            return
        if done < planned:
            raise UsageError(
                f"The run has finished {done} of {planned} iterations, and stop-at is {stop}. To "
                f"train on, give a --stop-at above {done}, or leave it out to train to the end."
            )
        more = max(2 * done, planned_before)
        also = "" if stop is None or stop > done else ", and leave --stop-at out"
        raise UsageError(
            f"The run has finished {done} of {planned} planned iterations. To train on, plan more: "
            f"--iterations {more}{also}."
        )

    def _iterate(self, writer: MetricsWriter) -> str:
        """Trains; returns why it stopped. A checkpoint of the last iteration is left behind."""
        config, learner = self.config, self.learner
        row: dict[str, Any] = {}
        pace, first = 0.0, learner.iteration + 1
        reason = "finished" if config.last_iteration == config.planned_iterations else "stop_at"
        while learner.iteration < config.last_iteration:
            began = time.perf_counter()
            metrics = learner.iterate()
            seconds = time.perf_counter() - began
            # The first iterations are slow (caches, compilation) and say nothing of the rest.
            early = learner.iteration <= first + 1
            pace = seconds if early else 0.9 * pace + 0.1 * seconds
            row = writer.write(
                {
                    **metrics,
                    "iteration": learner.iteration,
                    "env_steps": learner.env_steps,
                    "wall_time": self._wall_time(),
                    "steps_per_second": config.steps_per_iteration / seconds,
                    "peak_memory_mb": peak_memory_mb(self.device),
                }
            )
            seconds_left = None if early else self._seconds_left(pace)
            self.report(Update(None, row, config.last_iteration, seconds_left))
            self._dump_nonfinite()
            # After the last iteration training is done, whatever else happened meanwhile.
            left = learner.iteration < config.last_iteration
            if left and self.interrupt.signal is not None:
                reason = "interrupted"
                break
            if left and self._out_of_time():
                reason = "minutes"
                break
            if left and self._checkpoint_is_due():
                writer.flush()
                self._save(row)
            if self._video_is_due():
                with dispensable("The video", self._say):
                    self._film()
        writer.flush()
        self._save(row)
        return reason

    def _checkpoint_is_due(self) -> bool:
        interval = self.config.checkpoint_interval
        if interval is None:
            return time.perf_counter() - self.last_save >= CHECKPOINT_SECONDS
        return self.learner.iteration % interval == 0

    def _video_is_due(self) -> bool:
        interval = self.config.video_interval
        if interval is None:
            return self._wall_time() >= self.next_video
        return interval > 0 and self.learner.iteration % interval == 0

    def _out_of_time(self) -> bool:
        minutes = self.config.minutes
        return minutes is not None and self._session_seconds() >= 60 * minutes

    def _session_seconds(self) -> float:
        return time.perf_counter() - self.started

    def _wall_time(self) -> float:
        return self.earlier_seconds + self._session_seconds()

    def _seconds_left(self, pace: float) -> float:
        left = (self.config.last_iteration - self.learner.iteration) * pace
        if self.config.minutes is not None:
            left = min(left, 60 * self.config.minutes - self._session_seconds())
        return max(left, 0.0)

    def _save(self, row: dict[str, Any]) -> None:
        mean = row.get("return")
        better = mean is not None and (self.best_return is None or mean > self.best_return)
        if better:
            self.best_return = mean
        info = {
            "iteration": self.learner.iteration,
            "env_steps": self.learner.env_steps,
            "wall_time": self._wall_time(),
            "return": mean,
            "best_return": self.best_return,
            "task": self.config.task,
            "algo": self.config.algo,
        }
        tensors = {**self.learner.state_dict(), RNG: torch.get_rng_state()}
        pointers = ("latest", "best") if better else ("latest",)
        with self.interrupt.deferred():
            save_checkpoint(self.run.checkpoints, tensors, info, pointers)
        self.last_save = time.perf_counter()

    def _say(self, message: str) -> None:
        self.report(Update(message=message))

    def _film(self) -> None:
        """Films the deterministic policy; training's randomness is left as it was."""
        self._plan_video()
        path = self.run.videos / f"iteration-{self.learner.iteration:06d}.mp4"
        with torch.random.fork_rng():
            env = self._make_env(4)
            steps = min(VIDEO_STEPS, env.episode_length)
            record(self.learner.act, env, path, steps, seed=0, image_size=VIDEO_TILE)
            env.close()
        self._draw()
        self.report(Update(message=f"Video: {path}"))

    def _plan_video(self) -> None:
        while self.next_video <= self._wall_time():
            self.next_video *= 2

    def _draw(self) -> None:
        config = self.config
        title = f"{config.task}, {config.algo}, seed {config.seed}"
        draw_curve(self.run.metrics_path, self.run.curve, title)

    def _evaluate(self) -> dict[str, Any]:
        episodes = self.config.evaluation_episodes
        self.report(Update(message=f"Evaluating {episodes} episodes"))
        found = evaluate(self.learner.act, self._make_env, episodes)
        result = {
            "iteration": self.learner.iteration,
            "env_steps": self.learner.env_steps,
            "wall_time": self._wall_time(),
            "seed": EVALUATION_SEED,
            **found.to_dict(),
        }
        text = json.dumps(result, indent=2) + "\n"
        write_atomically(self.run.evaluation_path, lambda temporary: temporary.write_text(text))
        return result

    def _keep_nonfinite(self, state: dict[str, torch.Tensor]) -> None:
        if self.nonfinite is None:  # the first of an iteration: later ones may follow from it
            self.nonfinite = state

    def _dump_nonfinite(self) -> None:
        if self.nonfinite is None:
            return
        info = {
            "task": self.config.task,
            "iteration": self.learner.iteration,
            "seed": self.config.seed,
            "environments": self.nonfinite.pop("environment").tolist(),
        }
        name = f"iteration-{self.learner.iteration:06d}"
        path = dump_nonfinite(self.run.nan_dumps, name, self.nonfinite, info)
        self.nonfinite = None
        self.report(
            Update(message=f"Non-finite state saved; replay it: dva doctor --replay {path}")
        )
