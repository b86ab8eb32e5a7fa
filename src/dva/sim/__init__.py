"""Parallel dynamics of articulated bodies.

Enters: a robot file, then states and actions as torch tensors. Leaves: the states after a control
step, with gradients through autograd where the simulator is differentiable. `Simulator` is the
contract, `State` what it advances; `Skeleton` is what robots of all simulators share, `Model` adds
what ours needs. `WarpSimulator` is ours: penalty contact with the ground, joint springs,
damping, limits and armature in generalized coordinates, as Warp kernels that run on CPU and CUDA.
`MujocoSimulator` is MuJoCo itself, without gradients, to try policies in. Change the equations of
ours in `warp.kernels`; nothing outside this room depends on how they are computed.
"""

from dva.sim.coordinates import to_mujoco
from dva.sim.mjcf.importer import load_model
from dva.sim.mjcf.skeleton import read_skeleton
from dva.sim.model import BALL, FREE, PRISMATIC, REVOLUTE, Model, Skeleton
from dva.sim.mujoco_simulator import MujocoSimulator
from dva.sim.registry import find_simulator, register_simulator
from dva.sim.simulator import Simulator, SimulatorFactory, SimulatorRequest, StateStorage
from dva.sim.stability import stable_substeps
from dva.sim.state import State
from dva.sim.warp.poses import LinkPoses
from dva.sim.warp.simulator import WarpSimulator

__all__ = [
    "BALL",
    "FREE",
    "LinkPoses",
    "Model",
    "MujocoSimulator",
    "PRISMATIC",
    "REVOLUTE",
    "Simulator",
    "SimulatorFactory",
    "SimulatorRequest",
    "State",
    "Skeleton",
    "StateStorage",
    "WarpSimulator",
    "find_simulator",
    "load_model",
    "register_simulator",
    "read_skeleton",
    "stable_substeps",
    "to_mujoco",
]
