"""Recordings of the original simulator: reading them, and their coordinates against ours.

A recording is an .npz file. Its world is y up: x forward and z to the right. For a free joint
`joint_q` is position and quaternion (x, y, z, w) of the base in that world, and `joint_qd` the
twist at the world's origin, angular first. Ours is z up with the velocity of the centre of mass
first, see docs/simulator.md. Hinges and slides are the same in both.

Seeds and environments of a recording are one axis here, the trajectories B; time comes first.
"""

import dataclasses
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from dva import tasks
from dva.sim import FREE, Model, WarpSimulator, load_model
from dva.sim.quaternions import multiply, rotate

__all__ = ["CACHING", "Recording", "observation_to_recorded", "to_ours", "to_recorded"]

CACHING = ("mm_cfg", "mm_1")
"""With the mass matrix kept as configured, and formed in every substep."""

_HALF = 0.5**0.5
# Turns our axes into the recorded ones, by -90 degrees about x: (x, y, z) becomes (x, z, -y).
_TURN, _TURN_BACK = (-_HALF, 0.0, 0.0, _HALF), (_HALF, 0.0, 0.0, _HALF)


class Recording:
    """One .npz file with the task and the robot that it belongs to."""

    def __init__(self, path: str | Path, task: str | None = None):
        """Opens a recording.

        Args:
            path: the file.
            task: name of the task, or "cartpole_prev"; by default a task whose name is in the file
                name.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no task's name is in the file name, or there is no such task.
        """
        self.path = Path(path)
        self.data = np.load(self.path)
        self.task = tasks.get(task.removesuffix("_prev") if task else self._find_task())
        self.model = self._model()
        self.free = bool(self.model.link_joint[0] == FREE)
        self.steps = self.data["input/actions"].shape[1]
        self.trajectories = len(self.batch("input/q0"))

    def _find_task(self) -> str:
        words = re.split(r"[^a-z]+", self.path.stem.lower())
        found = [name for name in tasks.names() if name in words]
        if len(found) != 1:
            raise ValueError(
                f"The file name {self.path.name} does not tell one of the tasks "
                f"{', '.join(tasks.names())}: give its name with --task."
            )
        return found[0]

    def _model(self) -> Model:
        model = load_model(self.task.mjcf, inertia=self.task.inertia)
        if self.task.name != "cartpole":
            return model
        # There are two: a late version of the original gave its joints springs by accident.
        moving = np.flatnonzero(self.data["model/joint_type"] != 3)
        return dataclasses.replace(
            model,
            dof_armature=self.data["model/joint_armature"].astype(float),
            dof_stiffness=self.data["model/joint_target_ke"][moving].astype(float),
            dof_damping=self.data["model/joint_target_kd"][moving].astype(float),
        )

    def simulator(self, caching: str, dtype: torch.dtype, device: str = "cpu") -> WarpSimulator:
        """Prepares a simulation of all trajectories; `caching` is one of `CACHING`."""
        interval = int(self.data["model/mm_caching_frequency"]) if caching == "mm_cfg" else 1
        return WarpSimulator(
            self.model,
            self.trajectories,
            dtype=dtype,
            device=device,
            control_dt=float(self.data["model/dt"]),
            substeps=int(self.data["model/substeps"]),
            mass_matrix_interval=interval,
        )

    def batch(self, key: str) -> np.ndarray:
        """Reads a quantity without time: (S, E, ...) becomes (B, ...)."""
        value = self.data[key]
        return value.reshape(-1, *value.shape[2:])

    def series(self, key: str) -> np.ndarray:
        """Reads a quantity over time: (S, T, E, ...) becomes (T, B, ...)."""
        value = np.moveaxis(self.data[key], 1, 0)
        return value.reshape(len(value), -1, *value.shape[3:])

    @cached_property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Starts q0 (B, Q) and qd0 (B, D) and actions (T, B, A) as recorded, in float64."""
        arrays = (self.batch("input/q0"), self.batch("input/qd0"), self.series("input/actions"))
        q0, qd0, actions = (torch.tensor(array, dtype=torch.float64) for array in arrays)
        return q0, qd0, actions

    def gradient_horizons(self, kind: str) -> list[int]:
        """Lists the horizons of the recorded gradients of `kind`, "reward" or "final"."""
        pattern = re.compile(rf"f64/grad/mm_cfg/{kind}/h(\d+)/actions")
        return sorted(int(m[1]) for m in map(pattern.fullmatch, self.data.files) if m)


def to_ours(
    model: Model, joint_q: torch.Tensor, joint_qd: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Converts a recorded state (..., Q), (..., D) to ours; differentiable."""
    if model.link_joint[0] != FREE:
        return joint_q, joint_qd
    turn = joint_q.new_tensor(_TURN_BACK)
    position, angular = _swap_back(joint_q[..., :3]), _swap_back(joint_qd[..., :3])
    rotation = multiply(turn.expand_as(joint_q[..., 3:7]), joint_q[..., 3:7])
    center = position + _center_offset(model, rotation)
    velocity = _swap_back(joint_qd[..., 3:6]) + torch.linalg.cross(angular, center)
    return (
        torch.cat([position, rotation, joint_q[..., 7:]], dim=-1),
        torch.cat([velocity, angular, joint_qd[..., 6:]], dim=-1),
    )


def to_recorded(
    model: Model, joint_q: torch.Tensor, joint_qd: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Converts a state of ours (..., Q), (..., D) to the recordings' convention; differentiable."""
    if model.link_joint[0] != FREE:
        return joint_q, joint_qd
    turn = joint_q.new_tensor(_TURN)
    position, rotation, angular = joint_q[..., :3], joint_q[..., 3:7], joint_qd[..., 3:6]
    center = position + _center_offset(model, rotation)
    at_origin = joint_qd[..., :3] - torch.linalg.cross(angular, center)
    turned = multiply(turn.expand_as(rotation), rotation)
    return (
        torch.cat([_swap(position), turned, joint_q[..., 7:]], dim=-1),
        torch.cat([_swap(angular), _swap(at_origin), joint_qd[..., 6:]], dim=-1),
    )


def observation_to_recorded(model: Model, observation: torch.Tensor) -> torch.Tensor:
    """Turns a state observation (..., O) of ours into the recorded one: a fixed linear map.

    With a free base it starts with height, quaternion, velocity and angular velocity.
    """
    if model.link_joint[0] != FREE:
        return observation
    height, rotation, velocity, angular, rest = observation.split(
        [1, 4, 3, 3, observation.shape[-1] - 11], dim=-1
    )
    turned = multiply(observation.new_tensor(_TURN).expand_as(rotation), rotation)
    return torch.cat([height, turned, _swap(velocity), _swap(angular), rest], dim=-1)


def _center_offset(model: Model, rotation: torch.Tensor) -> torch.Tensor:
    center = rotation.new_tensor(model.link_com[0])
    return rotate(rotation, center.expand(*rotation.shape[:-1], 3))


def _swap(vector: torch.Tensor) -> torch.Tensor:
    x, y, z = vector.unbind(-1)
    return torch.stack([x, z, -y], dim=-1)


def _swap_back(vector: torch.Tensor) -> torch.Tensor:
    x, y, z = vector.unbind(-1)
    return torch.stack([x, -z, y], dim=-1)
