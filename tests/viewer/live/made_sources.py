"""Sources of sessions: tasks, and policies that nobody trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dva.envs import VectorEnv, make
from dva.runs.build import build_env
from dva.spec import ActionSpec, Observation, ObservationSpec, StateTensors
from dva.tasks import Task
from dva.viewer.live.source import Loaded, Source


@dataclass(frozen=True)
class MadeSource(Source):
    """A task with a policy that nobody trained."""

    policy: Any = None
    config: Any = None
    """Of a run whose environments these are; None: those of the task."""

    def make_env(self, num_envs: int) -> VectorEnv:
        if self.config is not None:
            return build_env(self.config, num_envs, "cpu", self.seed, threads=1)
        return make(self.task, num_envs, "cpu", self.seed, self.observe, self.image_size, threads=1)

    def checkpoints(self) -> list[str]:
        return ["latest"]

    def newest(self, checkpoint: str) -> Path | None:
        return Path(checkpoint)

    def load(self, checkpoint: str) -> Loaded:
        info = {"iteration": 1, "env_steps": 2, "return": None}
        return Loaded(self.policy, checkpoint, Path(checkpoint), info)


class CountingPolicy:
    """Remembers how many steps of the episode there were; its action is a hundredth of that."""

    def __init__(self, observation_spec: ObservationSpec, action_spec: ActionSpec) -> None:
        self.observation_spec, self.action_spec = observation_spec, action_spec

    def initial_state(self, n: int) -> StateTensors:
        return {"count": torch.zeros(n)}

    def act(self, observation: Observation, state: StateTensors) -> tuple[Any, StateTensors]:
        count = state["count"] + 1
        return (count / 100)[:, None].expand(-1, self.action_spec.size), {"count": count}

    def reset(self, state: StateTensors, done: torch.Tensor) -> StateTensors:
        return {"count": torch.where(done, 0.0, state["count"])}


def task_source(
    task: str | Task = "cartpole", observe: str = "state", policy: Any = None, config: Any = None
) -> Source:
    """Makes a source on the CPU; with a policy it stands for a run."""
    run: Any = object() if policy is not None else None
    kind = MadeSource if policy is not None else Source
    more = {"policy": policy, "config": config} if policy is not None else {}
    return kind("made", run, task, (observe,), 32, "cpu", 0, **more)
