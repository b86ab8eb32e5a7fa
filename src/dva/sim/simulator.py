"""The contract between a simulator and all that uses one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from dva.sim.model import Skeleton
from dva.sim.state import State

__all__ = ["Simulator", "SimulatorFactory", "SimulatorRequest", "StateStorage"]

StateStorage = Literal["full", "recompute"]
"""How a differentiable simulator keeps a step for its gradient."""


class Simulator(Protocol):
    """Advances N copies of one robot. What it can do, it declares: nobody probes it.

    `examples/mujoco_simulator.py` is one, in one file.
    """

    @property
    def model(self) -> Skeleton:
        """The robot, as this simulator imported it."""
        ...

    @property
    def num_envs(self) -> int:
        """N."""
        ...

    @property
    def device(self) -> torch.device:
        """Where states and actions live."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether `step` carries torch's graph from state and action to the next state."""
        ...

    @property
    def recordable(self) -> bool:
        """Whether `step` is work on the device alone, so that a CUDA graph can hold it: it waits
        for nothing and keeps no count in Python."""
        ...

    def new_state(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> State:
        """Completes coordinates (N, nq) and velocities (N, nd) to a state at the start of an
        episode; whatever else the simulator carries begins at rest."""
        ...

    def step(self, state: State, action: torch.Tensor) -> State:
        """Advances all robots by one control step.

        Args:
            state: the present one.
            action: (N, A) in [-1, 1].
        """
        ...


@dataclass(frozen=True)
class SimulatorRequest:
    """What an environment asks of a simulator. A simulator imports the robot itself."""

    robot: str
    """Path of the robot's file."""
    inertia: str
    """"physical" or "published" inertia tensors."""
    num_envs: int
    device: torch.device
    control_dt: float
    """Seconds that an action is held."""
    substeps: int
    """Integration steps of one control step that the task asks for."""
    mass_matrix_interval: int
    """Substeps that may share a mass matrix."""
    threads: int | None = None
    """CPU threads; None: as many as torch has."""
    state_storage: StateStorage = "full"
    """"full" keeps a step's intermediates for its gradient, "recompute" its inputs only."""
    ignore: tuple[str, ...] = ()
    """What the robot's file asks for and our simulator is to leave out; see `load_model`."""
    capture: bool = True
    """Whether the work of a step is captured and replayed as one graph, where that is possible."""


SimulatorFactory = Callable[[SimulatorRequest], Simulator]
"""Builds a simulator."""
