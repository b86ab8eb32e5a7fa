"""A simulator in one file: MuJoCo itself, one environment after the other.

    dva train cartpole --simulator mujoco_simulator:mujoco --observe state \\
        --action-gradient perturbed_actions:perturbed --horizon 8 --env-steps 20000

It has no gradients, and its state carries the warm start of its contact solver. For robots of
hinges and slides, whose coordinates are MuJoCo's.
"""

import mujoco
import numpy as np
import torch

from dva.sim import FREE, SimulatorRequest, State, read_skeleton, register_simulator

WARM_START = "qacc_warmstart"


class MujocoSimulator:
    """Steps N copies of a robot with MuJoCo's own contacts and integrator."""

    differentiable = False
    recordable = False

    def __init__(self, request: SimulatorRequest) -> None:
        # The robot's description for cameras; physics is MuJoCo's.
        self.model = read_skeleton(request.robot)
        if FREE in self.model.link_joint:
            raise ValueError("This example converts no free joints: give a robot without one.")
        if request.device.type != "cpu":
            raise ValueError("MuJoCo runs on the CPU: use --device cpu.")
        self.num_envs, self.device = request.num_envs, request.device
        self._mj_model = mujoco.MjModel.from_xml_path(request.robot)
        self._mj_model.opt.timestep = request.control_dt / request.substeps
        self._substeps = request.substeps
        self._data = mujoco.MjData(self._mj_model)

    def new_state(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> State:
        """Completes coordinates with a solver that is at rest."""
        return State(joint_q, joint_qd, {WARM_START: torch.zeros_like(joint_qd)})

    @torch.no_grad()
    def step(self, state: State, action: torch.Tensor) -> State:
        """Advances every environment by one control step."""
        inputs = (state.joint_q, state.joint_qd, state.carried[WARM_START], action)
        rows = [self._step_one(*row) for row in zip(*(x.numpy() for x in inputs), strict=True)]
        q, qd, warm = (torch.tensor(np.array(x)).float() for x in zip(*rows, strict=True))
        return State(q, qd, {WARM_START: warm})

    def _step_one(
        self, qpos: np.ndarray, qvel: np.ndarray, warm: np.ndarray, ctrl: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        data = self._data
        data.qpos[:], data.qvel[:], data.qacc_warmstart[:], data.ctrl[:] = qpos, qvel, warm, ctrl
        for _ in range(self._substeps):
            mujoco.mj_step(self._mj_model, data)
        return data.qpos.copy(), data.qvel.copy(), data.qacc_warmstart.copy()


register_simulator("mujoco", MujocoSimulator)
