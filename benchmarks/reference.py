"""Replays a recording of the original simulator and says how far we are from it.

    python benchmarks/reference.py tests/data/ant.npz
    python benchmarks/reference.py recording.npz --task hopper --json

A recording holds the original's results in float32 and in float64. Every row gives the error of our
float32 simulation and, beside it, that of the original's own float32, both against its float64:

* joint_q, joint_qd, obs, reward after `horizon` control steps, in the recording's convention:
  the largest absolute difference over all trajectories and components;
* gradients ("reward": of the sum of the first `horizon` rewards, "final": of a weighted sum of the
  state after `horizon` steps) with respect to the recorded actions, q0 and qd0: the 2-norm of the
  difference over the 2-norm of the gradient, of the worst trajectory. Quaternions are compared
  without the component along the quaternion, which depends on how a rotation is continued to
  quaternions that are not unit.

The ratio of the two must be at most 5 at horizons 1, 4 and 8; the exit status is 1 otherwise. A
reference error smaller than float32's epsilon (2^-23, times the largest entry of the quantity where
the error is absolute) counts as that much.

--json prints {"task", "worst_ratio", "quantities": [{"name", "mm", "horizon", "error",
"reference_error", "ratio"}]}; worst_ratio is the largest at horizons 1, 4 and 8. "mm" is mm_cfg
with the mass matrix kept as configured and mm_1 where it is formed in every substep.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from _recording import CACHING, Recording, observation_to_recorded, to_ours, to_recorded

HORIZONS = (1, 4, 8, 16, 32)
BOUND_HORIZONS = (1, 4, 8)
BOUND = 5.0
_EPSILON = 2.0**-23

Row = dict[str, Any]


class Replay:
    """Our simulation of a recording's trajectories, with its graph.

    States and gradients are in the recorded convention. The conversion runs in float64, so that
    what is measured is the simulation and the task alone.

    Attributes:
        joint_q, joint_qd, obs, reward: lists with one tensor a step, (B, ...).
    """

    def __init__(self, recording: Recording, caching: str, dtype: torch.dtype = torch.float32):
        self._recording = recording
        model, task = recording.model, recording.task
        q0, qd0, actions = recording.inputs
        self._starts = [x.clone().requires_grad_() for x in (q0, qd0)]
        self._actions = [x.clone().requires_grad_() for x in actions]
        sim = recording.simulator(caching, dtype)
        state = sim.new_state(*(x.to(dtype) for x in to_ours(model, *self._starts)))
        self.joint_q, self.joint_qd, self.obs, self.reward = [], [], [], []
        for wide in self._actions:
            action = wide.to(dtype)
            state = sim.step(state, action)
            q, qd = state.joint_q, state.joint_qd
            action = action.clamp(-1.0, 1.0)
            observation = task.state_observation(q, qd, action)
            recorded_q, recorded_qd = to_recorded(model, q.double(), qd.double())
            self.joint_q.append(recorded_q)
            self.joint_qd.append(recorded_qd)
            self.obs.append(observation_to_recorded(model, observation.double()))
            self.reward.append(task.reward(q, qd, action).double())

    def gradients(self, kind: str, horizon: int) -> dict[str, np.ndarray]:
        """Differentiates as the recording does: "reward" or "final".

        Returns:
            "actions" (horizon, B, A), "q0" (B, Q), "qd0" (B, D).
        """
        if kind == "reward":
            value = torch.stack(self.reward[:horizon]).sum()
        else:
            weights = [self._recording.batch(f"input/{key}") for key in ("w_q", "w_qd")]
            states = self.joint_q[horizon - 1], self.joint_qd[horizon - 1]
            products = [(torch.tensor(w) * x).sum() for w, x in zip(weights, states, strict=True)]
            value = products[0] + products[1]
        inputs = [*self._actions[:horizon], *self._starts]
        *actions, q0, qd0 = torch.autograd.grad(value, inputs, retain_graph=True)
        return {"actions": torch.stack(actions).numpy(), "q0": q0.numpy(), "qd0": qd0.numpy()}


def compare(recording: Recording, dtype: torch.dtype = torch.float32) -> list[Row]:
    """Replays a recording and measures every quantity; rows as in the JSON's "quantities"."""
    rows: list[Row] = []
    for caching in CACHING:
        replay = Replay(recording, caching, dtype)
        rows += _compare_values(recording, replay, caching)
        for kind in ("reward", "final"):
            for horizon in recording.gradient_horizons(kind):
                rows += _compare_gradients(recording, replay, caching, kind, horizon)
    return rows


def worst_ratio(rows: list[Row]) -> float:
    """Gives the largest ratio at the horizons that are bounded."""
    ratios = [row["ratio"] for row in rows if row["horizon"] in BOUND_HORIZONS]
    # Not max alone: it may pass over NaN.
    return float("inf") if not np.isfinite(ratios).all() else max(ratios)


def _compare_values(recording: Recording, replay: Replay, caching: str) -> Iterator[Row]:
    for name in ("joint_q", "joint_qd", "obs", "reward"):
        exact = recording.series(f"f64/rollout/{caching}/{name}")
        theirs = recording.series(f"rollout/{caching}/{name}")
        for horizon in HORIZONS:
            if horizon > recording.steps:
                continue
            step = horizon - 1
            ours = getattr(replay, name)[step].detach().numpy()
            error = float(np.abs(ours - exact[step]).max())
            reference = float(np.abs(theirs[step] - exact[step]).max())
            floor = _EPSILON * float(np.abs(exact[step]).max())
            yield _row(name, caching, horizon, error, reference, floor)


def _compare_gradients(
    recording: Recording, replay: Replay, caching: str, kind: str, horizon: int
) -> Iterator[Row]:
    prefix = f"grad/{caching}/{kind}/h{horizon}"
    q0 = recording.inputs[0].numpy()
    for name, ours in replay.gradients(kind, horizon).items():
        read = recording.series if name == "actions" else recording.batch
        exact, theirs = read(f"f64/{prefix}/{name}"), read(f"{prefix}/{name}")
        if name == "q0" and recording.free:
            ours, exact, theirs = (_on_the_sphere(x, q0) for x in (ours, exact, theirs))
        error, reference = relative_errors(ours, exact).max(), relative_errors(theirs, exact).max()
        label = f"grad/{kind}/{name}"
        yield _row(label, caching, horizon, float(error), float(reference), _EPSILON)


def relative_errors(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Gives each trajectory's relative 2-norm error (B,); arrays are (B, n) or (h, B, n)."""
    axes = (0, 2) if exact.ndim == 3 else (1,)
    difference, size = (np.linalg.norm(x, axis=axes) for x in (found - exact, exact))
    # A gradient that vanishes in one trajectory is measured against the others.
    return difference / np.maximum(size, max(_EPSILON * size.max(), np.finfo(float).tiny))


def _on_the_sphere(gradient: np.ndarray, q0: np.ndarray) -> np.ndarray:
    """Takes away the component of a gradient (B, Q) along the quaternion of a free base."""
    gradient, quaternion = gradient.astype(float), q0[:, 3:7]
    along = (gradient[:, 3:7] * quaternion).sum(1) / (quaternion**2).sum(1)
    gradient[:, 3:7] -= along[:, None] * quaternion
    return gradient


def _row(
    name: str, caching: str, horizon: int, error: float, reference: float, floor: float
) -> Row:
    floored = max(reference, floor)
    return {
        "name": name,
        "mm": caching,
        "horizon": horizon,
        "error": error,
        "reference_error": reference,
        "ratio": error / floored if floored > 0 else (0.0 if error == 0 else float("inf")),
    }


def _print(recording: Recording, rows: list[Row]) -> None:
    print(
        f"{recording.path.name}: task {recording.task.name}, {recording.trajectories} trajectories"
    )
    print(f"{'quantity':22}{'mm':8}{'steps':>6}{'error':>11}{'reference':>11}{'ratio':>8}")
    for row in rows:
        too_large = not row["ratio"] <= BOUND
        mark = ("  too large" if row["horizon"] in BOUND_HORIZONS else "  large") * too_large
        print(
            f"{row['name']:22}{row['mm']:8}{row['horizon']:6}{row['error']:11.1e}"
            f"{row['reference_error']:11.1e}{row['ratio']:8.2f}{mark}"
        )
    print(f"worst ratio at horizons 1, 4 and 8: {worst_ratio(rows):.2f} (at most {BOUND:g})")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", help="an .npz file")
    parser.add_argument("--task", help="by default the one that the file name tells")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--float64", action="store_true", help="simulate in float64 instead")
    args = parser.parse_args()
    try:
        recording = Recording(args.recording, args.task)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    rows = compare(recording, torch.float64 if args.float64 else torch.float32)
    if args.json:
        result = {"task": recording.task.name, "worst_ratio": worst_ratio(rows)}
        print(json.dumps(result | {"quantities": rows}, indent=1))
    else:
        _print(recording, rows)
    return 0 if worst_ratio(rows) <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
