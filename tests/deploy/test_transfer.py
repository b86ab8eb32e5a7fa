"""MuJoCo behind our contract, and the return of a policy in it."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import json
import math

import mujoco
import numpy as np
import torch

from dva import tasks
from dva.cli import main
from dva.deploy import Transfer, transfer
from dva.runs import Evaluation
from dva.sim import MujocoSimulator, SimulatorRequest, find_simulator, to_mujoco
from dva.sim.coordinates import from_mujoco


def request(task_name: str, num_envs: int, inertia: str) -> SimulatorRequest:
    task = tasks.get(task_name)
    return SimulatorRequest(
        robot=str(task.mjcf), inertia=inertia, num_envs=num_envs, device=torch.device("cpu"),
        control_dt=task.control_dt, substeps=task.substeps, mass_matrix_interval=1,
    )  # fmt: skip


def simulator(task_name: str, num_envs: int = 2, inertia: str = "physical") -> MujocoSimulator:
    return MujocoSimulator(request(task_name, num_envs, inertia))


def test_coordinates_come_back_from_mujoco():
    model = simulator("ant").model
    generator = torch.Generator().manual_seed(0)
    joint_q = torch.randn(3, model.num_coords, generator=generator, dtype=torch.float64)
    joint_q[:, 3:7] /= joint_q[:, 3:7].norm(dim=1, keepdim=True)
    joint_qd = torch.randn(3, model.num_dofs, generator=generator, dtype=torch.float64)
    found = from_mujoco(model, *to_mujoco(model, joint_q, joint_qd))
    torch.testing.assert_close(found, (joint_q, joint_qd))


def test_a_step_is_mujocos_own():
    task, ours = tasks.get("cartpole"), simulator("cartpole", 1)
    m = mujoco.MjModel.from_xml_path(str(task.mjcf))
    m.dof_damping.reshape(2, -1)[:, 0] += 1.0  # of the file's user data
    data = mujoco.MjData(m)
    data.qpos[:], data.ctrl[:] = (0.3, 2.0), 0.5
    for _ in range(round(task.control_dt / m.opt.timestep)):
        mujoco.mj_step(m, data)
    state = ours.new_state(torch.tensor([[0.3, 2.0]]), torch.zeros(1, 2))
    after = ours.step(state, torch.tensor([[0.5]]))
    np.testing.assert_allclose(after.joint_q[0], data.qpos, rtol=1e-5)
    np.testing.assert_allclose(after.joint_qd[0], data.qvel, rtol=1e-5)


def test_without_contacts_both_physics_agree():
    task, theirs = tasks.get("cartpole"), simulator("cartpole")
    ours = find_simulator("warp")(request("cartpole", 2, "physical"))
    start = task.start(2, torch.Generator().manual_seed(0), torch.device("cpu"), True)
    here, there = ours.new_state(*start), theirs.new_state(*start)
    for step in range(20):
        action = torch.full((2, 1), 0.3 * math.sin(0.2 * step))
        here, there = ours.step(here, action), theirs.step(there, action)
    assert (here.joint_q - start[0]).abs().min() > 0.1  # it has moved
    torch.testing.assert_close(there.joint_q, here.joint_q, atol=2e-3, rtol=0)


def test_a_robot_rests_on_the_floor_that_was_added():
    task, ours = tasks.get("ant"), simulator("ant", 1)
    joint_q, joint_qd = task.start(1, torch.Generator().manual_seed(0), torch.device("cpu"), False)
    state = ours.new_state(joint_q, joint_qd)
    for _ in range(120):
        state = ours.step(state, torch.zeros(1, ours.model.num_actions))
    assert 0.1 < state.joint_q[0, 2] < 1.0 and state.joint_qd.abs().max() < 0.5


def test_published_inertias_are_mujocos_too():
    physical, published = simulator("ant"), simulator("ant", inertia="published")
    torso = published.model.body_names.index("torso")
    axes = np.empty(9)
    mujoco.mju_quat2Mat(axes, published._mj_model.body_iquat[torso])
    frame = axes.reshape(3, 3)
    found = frame @ np.diag(published._mj_model.body_inertia[torso]) @ frame.T
    link = published.model.body_link[torso]
    np.testing.assert_allclose(found, published.model.link_inertia[link], atol=1e-8)
    assert not np.allclose(found, physical.model.link_inertia[link], rtol=1e-3)


def test_the_share_of_the_return_that_is_kept():
    def evaluation(mean: float) -> Evaluation:
        return Evaluation(1, mean, 0.0, 5.0, (mean,), (5,))

    assert Transfer(evaluation(20.0), evaluation(15.0)).kept == 0.75
    assert Transfer(evaluation(-5.0), evaluation(-6.0)).kept is None
    assert Transfer(evaluation(5.0), evaluation(-6.0)).kept is None


def test_both_returns_are_from_the_same_starts(trained, tmp_path, capsys):
    run = trained("dva")
    found = transfer(run, 2, video=tmp_path / "mujoco.mp4")
    assert (tmp_path / "mujoco.mp4").stat().st_size > 1000
    assert found.ours.episodes == found.mujoco.episodes == 2
    assert np.isfinite(found.mujoco.returns).all()
    assert found.mujoco.returns != found.ours.returns  # other physics
    assert main(["transfer", str(run.path), "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mujoco"]["episodes"] == 1
