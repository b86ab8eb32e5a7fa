"""The transfer check: a policy in a physics that it was not trained in, MuJoCo's own."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dva.compute.errors import UsageError, usage_errors
from dva.envs import VectorEnv, make
from dva.runs import Evaluation, Run, evaluate, load_policy, make_env
from dva.runs.build import threads_of
from dva.sim import MujocoSimulator

__all__ = ["Transfer", "transfer"]


@dataclass(frozen=True)
class Transfer:
    """Returns of a policy from the same starts."""

    ours: Evaluation
    """In the simulator that it was trained in."""
    mujoco: Evaluation
    """In MuJoCo, with pictures of MuJoCo's states."""

    @property
    def kept(self) -> float | None:
        """The share of the return that is kept; None where either return is not above zero."""
        if self.ours.mean <= 0.0 or self.mujoco.mean <= 0.0:
            return None
        return self.mujoco.mean / self.ours.mean

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {**dataclasses.asdict(self), "kept": self.kept}


def transfer(
    run: Run | str | Path,
    episodes: int = 16,
    checkpoint: str = "latest",
    video: str | Path | None = None,
    threads: int | None = None,
) -> Transfer:
    """Lets the policy of a run act where MuJoCo simulates the same MJCF file.

    Rewards, ends of episodes, sensors and camera are the task's; the physics is MuJoCo's with the
    file's own contacts and integrator, and the inertias that the task asks for. Both evaluations
    begin in the same states. On the CPU.

    Args:
        run: a run or its folder.
        episodes: number of episodes in each.
        checkpoint: "latest" or "best".
        video: MP4 file of the first four episodes in MuJoCo.
        threads: CPU threads; None: what the run asked for.

    Raises:
        UsageError: there is no such run or checkpoint, or MuJoCo cannot simulate its robot.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if episodes < 1:
        raise UsageError(f"episodes is {episodes}; it must be 1 or more.")
    with (
        torch.random.fork_rng(devices=[]),
        threads_of(run.config, "cpu", threads=threads) as threads,
    ):
        policy = load_policy(run, checkpoint, "cpu", threads)

        def ours(count: int) -> VectorEnv:
            return make_env(run, count, "cpu", threads=threads)

        def theirs(count: int) -> VectorEnv:
            env = run.config.env
            with usage_errors():
                return make(
                    env.task, count, "cpu", observe=env.observe, image_size=env.image_size,
                    frame_stack=env.frame_stack, camera=env.camera, final_observations=False,
                    threads=threads, simulator=MujocoSimulator,
                )  # fmt: skip

        there = evaluate(policy, theirs, episodes, video=video)
        return Transfer(evaluate(policy, ours, episodes), there)
