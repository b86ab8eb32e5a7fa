"""Training: iterations of a learner, with metrics, checkpoints, videos, and a clean stop."""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from dva.runs.checkpoint import load_checkpoint, read_pointer, save_checkpoint, write_atomically
from dva.runs.config import TrainConfig, resolve_device
from dva.runs.curve import draw_curve
from dva.runs.errors import UsageError
from dva.runs.evaluation import EVALUATION_SEED, evaluate, evaluation_env, record
from dva.runs.interrupt import Interrupt
from dva.runs.machine import describe_machine
from dva.runs.metrics import MetricsWriter, peak_memory_mb, truncate_metrics
from dva.runs.nan_guard import dump_nonfinite, watch_nonfinite
from dva.runs.run import Run

__all__ = ["Outcome", "Update", "train"]

RNG = "torch_generator"
"""Name of torch's own random state among a checkpoint's tensors."""
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
    """Estimated time to the end."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a training session ended."""

    run: Run
    reason: str
    """finished, minutes, stop_at or interrupted."""
    signal: int | None = None
    """The signal that interrupted it."""
    evaluation: dict[str, Any] | None = None
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
            `minutes` or `stop_at`, or none to take it as it is.
        report: called with an `Update` after every iteration and with messages.
        resume: a run to continue from its latest checkpoint.

    Raises:
        UsageError: a value is not allowed, the run's folder is taken, or there is nothing to do.
    """
    started = time.perf_counter()
    if config is None:
        if resume is None:
            raise UsageError("Give a configuration, or a run to resume.")
        config = resume.config
    config.validate()
    if resume is None:
        Run.require_free(config.run_dir)
    # Built before the folder is made: what cannot be built leaves no empty run behind.
    session = _Session(config, report, started)
    run = Run.create(config) if resume is None else resume
    run.config = config
    with run.locked():
        return session.run_to_end(run, resume is not None)


class _Session:
    """One process' share of a run."""

    run: Run

    def __init__(self, config: TrainConfig, report: Report, started: float) -> None:
        self.config, self.report, self.started = config, report, started
        self.interrupt = Interrupt()
        self.earlier_seconds = 0.0
        self.best_return: float | None = None
        self.nonfinite: dict[str, torch.Tensor] | None = None
        self.device = torch.device(resolve_device(self.config.device))
        torch.manual_seed(self.config.seed)
        self._build()

    def run_to_end(self, run: Run, resuming: bool) -> Outcome:
        """Trains within `run`, whose lock is held."""
        self.run = run
        if resuming:
            self._restore()
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
        self._draw()
        self.env.close()
        return Outcome(self.run, reason, self.interrupt.signal, evaluation)

    def _build(self) -> None:
        from dva import tasks
        from dva.learning import ALGORITHMS

        config, learner = self.config, self.config.learner
        self.report(Update(message="Building the environment (the first time compiles kernels)"))
        options = {
            name: getattr(learner, name)
            for name in ("image_size", "frame_stack", "pixels")
            if hasattr(learner, name)
        }
        self.env = tasks.make(
            config.task,
            num_envs=learner.num_envs,
            device=self.device,
            seed=config.seed,
            final_pixels=False,
            threads=config.threads,
            **options,
        )
        if config.nan_guard:
            watch_nonfinite(self.env, self._keep_nonfinite)
        entry = ALGORITHMS[config.algo]
        self.learner = entry.learner_class(self.env, learner, seed=config.seed)

    def _restore(self) -> None:
        """Puts learner, environment and files back to the latest checkpoint."""
        if read_pointer(self.run.checkpoints, "latest") is None:
            truncate_metrics(self.run.metrics_path, 0)
            self.report(Update(message="No checkpoint was saved yet: starting anew"))
            return
        checkpoint = load_checkpoint(self.run.checkpoints, "latest")
        tensors = dict(checkpoint.tensors)
        torch.set_rng_state(tensors.pop(RNG))
        self.learner.load_state_dict(tensors)
        self.earlier_seconds = checkpoint.info["wall_time"]
        self.best_return = checkpoint.info["best_return"]
        truncate_metrics(self.run.metrics_path, self.learner.iteration)
        if self.learner.iteration >= self.config.last_iteration:
            raise UsageError(
                f"The run has finished {self.learner.iteration} of {self.config.last_iteration} "
                f"iterations. To train on, give more: --iterations {2 * self.learner.iteration}."
            )
        self.report(Update(message=f"Resumed after iteration {self.learner.iteration}"))

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
            self.report(Update(None, row, config.last_iteration, self._seconds_left(pace)))
            self._dump_nonfinite()
            if self.interrupt.signal is not None:
                reason = "interrupted"
                break
            if config.minutes is not None and self._session_seconds() >= 60 * config.minutes:
                reason = "minutes"
                break
            last = learner.iteration == config.last_iteration
            if learner.iteration % config.checkpoint_interval == 0 and not last:
                writer.flush()
                self._save(row)
            if config.video_interval and learner.iteration % config.video_interval == 0:
                self._film()
        writer.flush()
        self._save(row)
        return reason

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
        save_checkpoint(self.run.checkpoints, tensors, info, pointers)

    def _film(self) -> None:
        """Films the deterministic policy; training's randomness is left as it was."""
        path = self.run.videos / f"iteration-{self.learner.iteration:06d}.mp4"
        with torch.random.fork_rng():
            env = evaluation_env(self.config, 4)
            steps = min(VIDEO_STEPS, env.episode_length)
            record(self.learner.act, env, path, steps, seed=0, image_size=VIDEO_TILE)
            env.close()
        self._draw()
        self.report(Update(message=f"Video: {path}"))

    def _draw(self) -> None:
        config = self.config
        title = f"{config.task}, {config.algo}, seed {config.seed}"
        draw_curve(self.run.metrics_path, self.run.curve, title)

    def _evaluate(self) -> dict[str, Any]:
        episodes = self.config.evaluation_episodes
        self.report(Update(message=f"Evaluating {episodes} episodes"))
        found = evaluate(
            self.learner.act,
            lambda num_envs: evaluation_env(self.config, num_envs),
            episodes,
        )
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
