"""One session of a run: iterations with metrics, checkpoints, videos, and a clean stop."""

import dataclasses
import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch

from dva.compute.errors import UsageError
from dva.compute.files import write_atomically
from dva.envs import VectorEnv
from dva.learning import Algorithm, TrainingContext
from dva.runs.build import build_env, threads_inside
from dva.runs.checkpoint import save_checkpoint
from dva.runs.curve import draw_curve
from dva.runs.evaluation import EVALUATION_SEED, evaluate, film
from dva.runs.extras import Extras
from dva.runs.follower import Order, give_order
from dva.runs.health import LearningWatch
from dva.runs.interrupt import Interrupt
from dva.runs.intervals import CheckpointClock, VideoClock
from dva.runs.learner import (
    LARGE_STATE,
    collect_tensors,
    require_agreement,
    restore_learner,
    save_large_state,
)
from dva.runs.machine import describe_machine
from dva.runs.metrics import MetricsWriter, peak_memory_mb, require_iteration, truncate_metrics
from dva.runs.nan_guard import dump_nonfinite
from dva.runs.pace import PacedPlan, Planner, plan_at
from dva.runs.policy import POLICY
from dva.runs.run import Run
from dva.sim import State

__all__ = ["Session"]

VIDEO_STEPS = 240
VIDEO_TILE = 128
"""Side of one of the four tiles in pixels: small, because training waits."""


class Session:
    """Trains within a run whose lock is held.

    Args:
        run: where everything is written.
        env: the training environments.
        algorithm: trains in them.
        context: what the algorithm was told, with the CPU threads of both, and the processes that
            train together, of which this is the first.
        started: `time.perf_counter()` when the session began, set-up included.
        say: takes a line worth keeping on the screen.
        show: takes a row of the metrics, the environment steps after which training stops, and the
            estimated seconds to the end, None if not known.
    """

    def __init__(
        self,
        run: Run,
        env: VectorEnv,
        algorithm: Algorithm,
        context: TrainingContext,
        started: float,
        say: Callable[[str], None],
        show: Callable[[dict[str, Any], int, float | None], None],
    ) -> None:
        self.run, self.env, self.algorithm, self.context = run, env, algorithm, context
        self.threads, self.group = context.threads, context.group
        self.config = run.config
        self.started = started
        self.interrupt = Interrupt()
        self.say = self.interrupt.guarded(say)

        def show_row(shown: tuple[dict[str, Any], int, float | None]) -> None:
            show(*shown)

        self.show = self.interrupt.guarded(show_row)
        self.extras = Extras(self.say)
        self.watch = LearningWatch(self.config.env.task)
        self.iteration = 0
        self.earlier_seconds = 0.0
        self.checkpoints = CheckpointClock(self.config.run.checkpoint_interval)
        self.videos = VideoClock(self.config.run.video_interval)
        self.best_return: float | None = None
        self.nonfinite: dict[str, torch.Tensor] | None = None
        self.planner: Planner | None = None
        """Plans the run's steps; None where there is no limit to fit, or an earlier session has
        planned them."""
        if self.config.run.minutes is not None and not run.paced:
            self.planner = Planner(60 * self.config.run.minutes, self.config.run.env_steps)
        self.device = env.device
        if self.config.run.nan_guard:
            env.on_nonfinite = self._keep_nonfinite

    def restore(self, planned_before: int) -> None:
        """Puts algorithm, environment and files back to the latest checkpoint.

        Args:
            planned_before: environment steps that the run planned until now.

        Raises:
            UsageError: the checkpoint cannot be read, or nothing is left to do.
        """
        checkpoint = restore_learner(self.run, self.algorithm, self.config.algo, self.device)
        if checkpoint is None:
            truncate_metrics(self.run.metrics_path, 0)
            self.say("No checkpoint was saved yet: starting anew")
            return
        self.iteration = checkpoint.info["iteration"]
        self.earlier_seconds = checkpoint.info["wall_time"]
        self.best_return = checkpoint.info["best_return"]
        self.videos.plan(self._wall_time())
        self._require_work(planned_before)
        damage = truncate_metrics(self.run.metrics_path, self.iteration)
        if damage is not None:
            self.say(damage)
        self._compare_threads()
        self.say(f"Resumed after {self.algorithm.env_steps:,} steps")

    def _compare_threads(self) -> None:
        """Says so if the numbers will differ from those of a run that was not stopped."""
        former = self.run.sessions[-1].get("threads") if self.run.sessions else None
        if threads_inside(self.config) and former not in (None, self.threads):
            self.say(
                f"The session before had {former} thread(s), this one has {self.threads}: "
                f"{self.config.algo} rounds otherwise now. OMP_NUM_THREADS={former} repeats it."
            )

    def train(self) -> str:
        """Trains; returns why it stopped. A checkpoint of the last iteration is left behind."""
        if self._lacks_end():
            return self._reason_at_last_step()
        self.run.write_config(
            {
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "first_iteration": self.iteration + 1,
                "processes": self.group.size,
                "threads": self.threads,
                **describe_machine(self.device),
            }
        )
        with self.interrupt:
            writer = MetricsWriter(
                self.run.metrics_path, self.run.tensorboard, self.iteration + 1, self.say
            )
            try:
                return self._iterate(writer)
            finally:
                writer.close()

    def conclude(self, reason: str) -> dict[str, Any] | None:
        """Evaluates, unless a signal ended training or that was done, and draws; returns the
        evaluation."""
        evaluation = None
        if reason != "interrupted" and self.config.run.evaluation_episodes:
            if self.run.lacks_evaluation(self.algorithm.env_steps):
                evaluation = self._evaluate()
            else:
                evaluation = self.run.evaluation()
        self.extras.attempt("The curve", self._draw)
        return evaluation

    def _require_work(self, planned_before: int) -> None:
        """Makes sure that steps are left; the advice never shrinks the run's plan."""
        run, done = self.config.run, self.algorithm.env_steps
        planned, stop = run.env_steps, run.stop_at
        if done < run.last_step or self._lacks_end():
            return
        if done < planned:
            raise UsageError(
                f"The run has finished {done} of {planned} steps, and stop-at is {stop}. To train "
                f"on, give a --stop-at above {done}, or leave it out to train to the end."
            )
        more = max(2 * done, planned_before)
        also = "" if stop is None or stop > done else ", and leave --stop-at out"
        raise UsageError(
            f"The run has finished {done} of {planned} planned steps. To train on, plan more: "
            f"--env-steps {more}{also}."
        )

    def _lacks_end(self) -> bool:
        """Tells whether training is done, and was ended before its evaluation or its curve."""
        done = self.algorithm.env_steps
        if done < self.config.run.last_step:
            return False
        return self.run.lacks_evaluation(done) or self.run.lacks_curve()

    def _reason_at_last_step(self) -> str:
        run = self.config.run
        return "finished" if run.last_step == run.env_steps else "stop_at"

    def _iterate(self, writer: MetricsWriter) -> str:
        algorithm = self.algorithm
        row: dict[str, Any] = {}
        pace, first = 0.0, self.iteration + 1
        reason = None
        while algorithm.env_steps < self.config.run.last_step:
            before, began = algorithm.env_steps, time.perf_counter()
            self.context.env_steps = self._planned()
            give_order(self.group, Order.ITERATE, self.context.env_steps)
            metrics = algorithm.iterate()
            self.interrupt.agree(self.group)
            seconds = time.perf_counter() - began
            require_iteration(self.config.algo, metrics, algorithm.env_steps, before)
            self.iteration += 1
            steps = algorithm.env_steps - before
            # The first iterations are slow (caches, compilation) and say nothing of the rest.
            early = self.iteration <= first + 1
            pace = seconds / steps if early else 0.9 * pace + 0.1 * seconds / steps
            row = writer.write(
                {
                    "iteration": self.iteration,
                    "env_steps": algorithm.env_steps,
                    **metrics,
                    "wall_time": self._wall_time(),
                    "steps_per_second": steps / seconds,
                    "peak_memory_mb": peak_memory_mb(self.device),
                }
            )
            self._plan_by_pace(row, steps, time.perf_counter() - began)
            last_step = self.config.run.last_step
            self.show((row, last_step, None if early else self._seconds_left(pace)))
            self.run.require_in_place()
            self._dump_nonfinite()
            self.watch.look(row, steps)
            if self.watch.warning:
                self.say(self.watch.warning)
            # After the last iteration training is done, whatever else happened meanwhile.
            left = algorithm.env_steps < last_step
            if left and (reason := self._reason_to_stop()):
                break
            if left and self.checkpoints.due(before, algorithm.env_steps):
                writer.flush()
                self._save(row)
            if self.videos.due(before, algorithm.env_steps, self._wall_time()):
                self.videos.plan(self._wall_time())
                self.extras.attempt("The video", self._film)
                self.extras.attempt("The curve", self._draw)
        writer.flush()
        self._save(row)
        return reason or self._reason_at_last_step()

    def _planned(self) -> int:
        """Returns the environment steps that schedules go by in the next iteration.

        A plan by pace counts from where it was set, though a checkpoint may lie before.
        """
        paced = self.run.paced
        return plan_at(paced, self.algorithm.env_steps) if paced else self.config.run.env_steps

    def _plan_by_pace(self, row: dict[str, Any], steps: int, seconds: float) -> None:
        """Measures an iteration; now and then sets the planned steps to what fits into the
        minutes."""
        run, done = self.config.run, self.algorithm.env_steps
        if self.planner is None or run.minutes is None:
            return
        if row.get("updates") != 0:  # an algorithm may collect first, faster than it learns
            self.planner.measure(steps, seconds)
        planned = self.planner.plan(done, self._session_seconds())
        if planned is None:
            return
        plan = PacedPlan(planned, done, run.env_steps, run.minutes)
        self.run.paced = (*self.run.paced, plan)
        self.config = dataclasses.replace(
            self.config, run=dataclasses.replace(run, env_steps=planned)
        )
        self.run.config = self.config
        self.run.write_config()
        self.say(f"Planned {planned:,} steps to fit {run.minutes:g} min")

    def _reason_to_stop(self) -> str | None:
        minutes = self.config.run.minutes
        if self.interrupt.signal is not None:
            return "interrupted"
        if minutes is not None and self._session_seconds() >= 60 * minutes:
            return "minutes"
        return "hopeless" if self.watch.hopeless else None

    def _session_seconds(self) -> float:
        return time.perf_counter() - self.started

    def _wall_time(self) -> float:
        return self.earlier_seconds + self._session_seconds()

    def _seconds_left(self, pace: float) -> float:
        left = (self.config.run.last_step - self.algorithm.env_steps) * pace
        if self.config.run.minutes is not None:
            left = min(left, 60 * self.config.run.minutes - self._session_seconds())
        return max(left, 0.0)

    def _save(self, row: dict[str, Any]) -> None:
        mean = row.get("return")
        better = mean is not None and (self.best_return is None or mean > self.best_return)
        if better:
            self.best_return = mean
        info = {
            "iteration": self.iteration,
            "env_steps": self.algorithm.env_steps,
            "wall_time": self._wall_time(),
            "return": mean,
            "best_return": self.best_return,
            "task": self.config.env.task,
            "algo": self.config.algo,
            POLICY: self.algorithm.policy.description(),
        }
        pointers = ("latest", "best") if better else ("latest",)
        with self.interrupt.deferred():
            give_order(self.group, Order.SAVE)
            info[LARGE_STATE] = save_large_state(self.algorithm, self.run)
            tensors = collect_tensors(self.algorithm, self.device)
            require_agreement(tensors, self.group)
            save_checkpoint(self.run.checkpoints, tensors, info, pointers)
        self.checkpoints.restart()

    def _film(self) -> None:
        """Films the deterministic policy; training's randomness is left as it was."""
        path = self.run.videos / f"step-{self.algorithm.env_steps:012d}.mp4"
        with torch.random.fork_rng():
            with closing(build_env(self.config, 4, seed=0, threads=self.threads)) as env:
                steps = min(VIDEO_STEPS, env.episode_length)
                film(self.algorithm.policy, env, path, steps, seed=0, image_size=VIDEO_TILE)
        self.say(f"Video: {path}")

    def _draw(self) -> None:
        title = self.config.title.replace("-", ", ")
        draw_curve(self.run.metrics_path, self.run.curve, title)

    def _evaluate(self) -> dict[str, Any]:
        episodes = self.config.run.evaluation_episodes
        self.say(f"Evaluating {episodes} episodes")
        found = evaluate(
            self.algorithm.policy,
            lambda num_envs: build_env(self.config, num_envs, seed=0, threads=self.threads),
            episodes,
        )
        result = {
            "iteration": self.iteration,
            "env_steps": self.algorithm.env_steps,
            "wall_time": self._wall_time(),
            "seed": EVALUATION_SEED,
            **found.to_dict(),
        }
        text = json.dumps(result, indent=2) + "\n"
        write_atomically(self.run.evaluation_path, lambda temporary: temporary.write_text(text))
        return result

    def _keep_nonfinite(self, state: State, action: torch.Tensor, mask: torch.Tensor) -> None:
        if self.nonfinite is None:  # the first of an iteration: later ones may follow from it
            self.nonfinite = {
                "joint_q": state.joint_q[mask],
                "joint_qd": state.joint_qd[mask],
                "action": action[mask],
                "environment": torch.nonzero(mask).flatten().cpu() * self.group.size,
            }

    def _dump_nonfinite(self) -> None:
        if self.nonfinite is None:
            return
        info = {
            "task": self.config.env.task,
            "simulator": self.config.env.simulator,
            "iteration": self.iteration,
            "seed": self.config.run.seed,
            "environments": self.nonfinite.pop("environment").tolist(),
        }
        name = f"step-{self.algorithm.env_steps:012d}"
        path = dump_nonfinite(self.run.nan_dumps, name, self.nonfinite, info)
        self.nonfinite = None
        self.say(f"Non-finite state saved; replay it: dva doctor --replay {path}")
