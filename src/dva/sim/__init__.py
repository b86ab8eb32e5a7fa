"""Parallel differentiable dynamics of articulated bodies.

Enters: an MJCF file (`load_model`), then states and actions as torch tensors. Leaves: the states
after a control step, with gradients through autograd. The physics is penalty contact with a ground
plane, joint springs, damping, limits and armature in generalized coordinates, as Warp kernels that
run on CPU and CUDA. Change the equations in `kernels`; nothing outside this room depends on how
they are computed.
"""

from dva.sim.coordinates import to_mujoco
from dva.sim.importer import load_model
from dva.sim.model import FREE, PRISMATIC, REVOLUTE, Model
from dva.sim.poses import LinkPoses
from dva.sim.schedule import Program
from dva.sim.simulator import Simulator, StateStorage
from dva.sim.warp_runtime import (
    indexed_device,
    run_side_by_side,
    split_environments,
    start_warp,
)

__all__ = [
    "FREE",
    "LinkPoses",
    "Model",
    "PRISMATIC",
    "Program",
    "REVOLUTE",
    "Simulator",
    "StateStorage",
    "indexed_device",
    "load_model",
    "run_side_by_side",
    "split_environments",
    "start_warp",
    "to_mujoco",
]
