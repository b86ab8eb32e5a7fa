"""Figure 9: the gradient of SHAC through the differentiable camera against D.Va's.

D.Va trains a policy from pixels of that camera. At moments of its training, the first iterations
left out, both gradients are computed for the same parameters, from the same states with the same
noise: visual SHAC's through one graph, images included, and the decoupled one, in which images are
constants. Horizon and softness of the camera are varied, for long chains and for sharp edges.

The two can differ only as far as the policy reacts to its images, so every row has its visual
feedback: the standard deviation of the mean action before tanh over the rollout's images.

Source: D.Va, Figure 9.
"""

import dataclasses
import math
import statistics
from typing import Any

from torch import Tensor

from dva import tasks
from dva.envs import VectorEnv
from dva.learning.first_order.actor_critic import FirstOrderAlgorithm
from dva.learning.rollout import feedback
from dva.learning.state import add_prefix
from dva.runs import TrainConfig
from dva.runs.health import BLIND
from dva.sensors import CameraSensor
from dva.studies.building import build_first_order, first_order_config
from dva.studies.gradients import (
    Start,
    decoupled_gradient,
    flat,
    full_gradient,
    open_loop_gradient,
)
from dva.studies.report import Report, StudyConfig, add_row, new_figure, silent

__all__ = ["Config", "draw", "measure", "summary"]

CLAIM = 1e15
"""Norm that the paper's visual SHAC exceeds in 3D."""


@dataclasses.dataclass
class Config(StudyConfig):
    """Compare the gradients of visual SHAC and D.Va at the same parameters (Figure 9)."""

    tasks: tuple[str, ...] | None = None
    """Tasks; None: cartpole and ant, with --full the paper's four."""
    iterations: int | None = None
    """Training iterations of D.Va before the first comparison and between comparisons; None: 20,
    with --full 200."""
    comparisons: int = 2
    """Moments of training at which the gradients are compared."""
    horizons: tuple[int, ...] | None = None
    """Steps of the rollouts compared; None: 8 and 32, with --full 8, 16, 32 and 64."""
    softness: tuple[float, ...] = (1.0, 0.25, 0.05)
    """Half widths of the soft edges in the pictures compared, pixels; training has 1."""
    actor_learning_rate: float = 3e-4
    """Learning rate of the actor. The published 2e-3 can blind a policy in its first updates."""
    center_features: bool = True
    """Whether the policy subtracts a running mean from its images' features, as the paper's does
    not: so it goes on seeing."""


@dataclasses.dataclass
class _Moment:
    """A moment of training: the algorithm's state, and its metrics."""

    state: dict[str, Tensor]
    metrics: dict[str, Any]


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Trains with D.Va on each task and compares; returns one row for each gradient pair."""
    names = ("cartpole", "hopper", "ant", "humanoid") if config.full else ("cartpole", "ant")
    rows: list[dict[str, Any]] = []
    for task in config.tasks or names:
        small: dict[str, Any] = {}
        if not config.full:
            small = {"num_envs": 8, "horizon": 16, "image_size": 48}
        trained = first_order_config(
            task, "dva", "pixels", camera="differentiable", seed=config.seed, device=config.device,
            precision="float32", actor_learning_rate=config.actor_learning_rate,
            center_features=config.center_features, **small,
        )  # fmt: skip
        moments = _train(trained, config, report)
        for softness in config.softness:
            for row in _compare_all(trained, moments, softness, config):
                add_row(rows, {"task": task, "softness": softness, **row}, report)
    return {"rows": rows}


def _train(trained: TrainConfig, config: Config, report: Report) -> list[_Moment]:
    """Trains with D.Va and keeps the moments of the comparisons."""
    moments = []
    every = config.iterations or (200 if config.full else 20)
    with build_first_order(trained) as algorithm:
        for _ in range(config.comparisons):
            metrics = [algorithm.iterate() for _ in range(every)][-1]
            moments.append(_Moment(algorithm.state_dict(), dict(metrics)))
            report(f"{trained.env.task}: D.Va has trained {algorithm.iteration} iterations")
    return moments


def _compare_all(
    trained: TrainConfig, moments: list[_Moment], softness: float, config: Config
) -> list[dict[str, Any]]:
    """Compares the gradients of every moment and horizon through a camera of one softness."""
    env, run = trained.env, trained.run
    described = first_order_config(
        env.task, "shac", "pixels", camera="differentiable", seed=run.seed, device=run.device,
        precision="float32", num_envs=env.num_envs, image_size=env.image_size,
        center_features=config.center_features,
    )  # fmt: skip
    seen = dataclasses.replace(described.env, task=_with_softness(env.task, softness))
    rows = []
    with build_first_order(dataclasses.replace(described, env=seen)) as algorithm:
        for moment in moments:
            _restore(algorithm, moment)
            for horizon in config.horizons or ((8, 16, 32, 64) if config.full else (8, 32)):
                start = Start(algorithm, run.seed + algorithm.iteration, horizon)
                rows.append(
                    {
                        "iteration": algorithm.iteration,
                        "return": moment.metrics["return"],
                        "horizon": horizon,
                        **_compare(algorithm, start),
                    }
                )
    return rows


def _with_softness(task: str, softness: float) -> str:
    """Registers the task with a camera of that softness; returns the new task's name."""
    known = tasks.get(task)
    name = f"{known.name}-softness-{str(float(softness)).replace('.', 'p')}"
    sensors = (*known.sensors, CameraSensor(softness=softness))
    tasks.register(dataclasses.replace(known, name=name, sensors=sensors), replace=True)
    return name


def _restore(algorithm: FirstOrderAlgorithm, moment: _Moment) -> None:
    """Takes over networks, normalisers and the robots' coordinates of a moment, whose pictures are
    drawn anew: they were bytes of another softness."""
    assert isinstance(algorithm.env, VectorEnv)
    here = add_prefix("env", algorithm.env.state_dict())
    algorithm.load_state_dict(moment.state | here)
    physics = [moment.state[f"env.physics.{name}"] for name in ("joint_q", "joint_qd")]
    algorithm.env.set_state(*physics)


def _compare(algorithm: FirstOrderAlgorithm, start: Start) -> dict[str, Any]:
    rollout, _ = open_loop_gradient(algorithm, start)
    std = algorithm.actor.log_std.detach().exp()
    full = flat(full_gradient(algorithm, start))
    decoupled = flat(decoupled_gradient(algorithm, start))
    return {
        "visual_feedback": feedback(rollout, std).item(),
        "action_std": std.mean().item(),
        "full_norm": _finite(full.norm()),
        "decoupled_norm": _finite(decoupled.norm()),
        "images_norm": _finite((full - decoupled).norm()),
    }


def _finite(norm: Tensor) -> float | None:
    return norm.item() if math.isfinite(norm) else None


def draw(result: dict[str, Any]) -> Any:
    """Draws the norms over the horizon, one panel per task."""
    names = list(dict.fromkeys(row["task"] for row in result["rows"]))
    figure, axes = new_figure(len(names))
    for panel, task in zip(axes[0], names, strict=True):
        rows = [row for row in result["rows"] if row["task"] == task]
        for softness in dict.fromkeys(row["softness"] for row in rows):
            label = f"visual SHAC, softness {softness:g}"
            _draw_points(panel, rows, "full_norm", softness, label, "o-")
        _draw_points(panel, rows, "decoupled_norm", rows[0]["softness"], "D.Va", "k^--")
        panel.set_title(task)
        panel.set_xlabel("horizon (steps)")
        panel.set_ylabel("largest norm of the policy's gradient")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.legend(fontsize=7)
    return figure


def _draw_points(
    panel: Any, rows: list[dict[str, Any]], field: str, softness: float, label: str, style: str
) -> None:
    """Draws the largest value of a field at each horizon, over the moments of training."""
    largest: dict[int, float] = {}
    for row in rows:
        if row["softness"] == softness and row[field] is not None:
            largest[row["horizon"]] = max(row[field], largest.get(row["horizon"], 0.0))
    panel.plot(list(largest), list(largest.values()), style, ms=4, label=label)


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found, and whether the paper's claim appears."""
    rows = result["rows"]
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        texts = []
        for label, field in (("visual SHAC", "full_norm"), ("D.Va", "decoupled_norm")):
            norms = [math.inf if row[field] is None else row[field] for row in mine]
            middle = statistics.median(norms)
            texts.append(f"{label} median {middle:.2g}, largest {max(norms):.2g}")
        blind = sum(row["visual_feedback"] < BLIND * row["action_std"] for row in mine)
        seeing = [row["visual_feedback"] for row in mine]
        texts.append(f"visual feedback {min(seeing):.2g} to {max(seeing):.2g}")
        texts.append(f"blind in {blind} of {len(mine)}")
        lines.append(f"{task:9} {'; '.join(texts)}")
    above = sum(row["full_norm"] is None or row["full_norm"] > CLAIM for row in rows)
    lines.append(
        f"visual SHAC's norm above {CLAIM:.0e} or not finite in {above} of {len(rows)} "
        f"comparisons: the paper's claim {'appears' if above else 'does not appear'} here"
    )
    return lines
