"""Energy is kept, and accelerations and poses equal MuJoCo's."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import dataclasses

import mujoco
import numpy as np
import pytest
import torch

from dva import robots
from dva.sim import Model, WarpSimulator, load_model, to_mujoco

from .robots import random_state, step, write_crawler

CHAIN = """
<mujoco>
  <default><geom contype="0" conaffinity="0"/></default>
  <worldbody>
    <body pos="0 0 3">
      <freejoint/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.4" size="0.04"/>
      <body pos="0 0 -0.4" euler="20 0 0">
        <joint type="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0.1 0 -0.4" size="0.03"/>
        <body pos="0.1 0 -0.4">
          <joint type="hinge" axis="1 0 0"/>
          <joint type="hinge" axis="0 0 1"/>
          <geom type="box" size="0.1 0.05 0.2" pos="0 0.05 -0.2"/>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(params=("cartpole", "hopper", "cheetah", "ant", "humanoid", "anymal", "crawler"))
def model(request, tmp_path) -> Model:
    if request.param == "crawler":
        return load_model(write_crawler(tmp_path))
    return load_model(robots.mjcf_path(request.param))


def mujoco_acceleration(model: Model, qpos, qvel, action) -> np.ndarray:
    m = mujoco.MjModel.from_xml_path(str(model.path))
    m.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT
    # The limits' damping acts within the limits too, which MuJoCo's does not.
    m.dof_damping[:] += model.dof_limit_damping.reshape(m.dof_damping.shape)
    d = mujoco.MjData(m)
    d.qpos, d.qvel, d.ctrl = qpos, qvel, action
    mujoco.mj_forward(m, d)
    return d.qacc.copy()


def test_acceleration_equals_mujoco(model: Model):
    num_envs, seconds = 8, 1e-7
    model = dataclasses.replace(model, dof_limit=np.tile([-np.inf, np.inf], (model.num_dofs, 1)))
    joint_q, joint_qd, action = random_state(model, num_envs, seed=0)
    if model.num_contacts:
        joint_q[:, 2 if model.num_coords > model.num_dofs else 1] += 5.0
    sim = WarpSimulator(model, num_envs, dtype=torch.float64, control_dt=seconds, substeps=1)
    after = to_mujoco(model, *step(sim, joint_q, joint_qd, action))[1]
    qpos, qvel = to_mujoco(model, joint_q, joint_qd)
    ours = ((after - qvel) / seconds).numpy()
    for env in range(num_envs):
        theirs = mujoco_acceleration(model, qpos[env], qvel[env], action[env])
        np.testing.assert_allclose(ours[env], theirs, rtol=1e-5, atol=2e-4)


@pytest.mark.filterwarnings("ignore:.*substeps is")
def test_body_poses_equal_mujoco(model: Model):
    joint_q, _, _ = random_state(model, 5, seed=2)
    sim = WarpSimulator(model, 5, dtype=torch.float64, substeps=2)
    ours = sim.body_poses(joint_q).numpy()
    m = mujoco.MjModel.from_xml_path(str(model.path))
    d = mujoco.MjData(m)
    for env, qpos in enumerate(to_mujoco(model, joint_q).numpy()):
        d.qpos = qpos
        mujoco.mj_kinematics(m, d)
        np.testing.assert_allclose(ours[env, :, :3], d.xpos, atol=1e-12)
        theirs = np.roll(d.xquat, -1, axis=1)
        alignment = np.abs((ours[env, :, 3:] * theirs).sum(1))
        np.testing.assert_allclose(alignment, 1.0, atol=1e-12)


def energy(model: Model, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> np.ndarray:
    m = mujoco.MjModel.from_xml_path(str(model.path))
    m.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    d = mujoco.MjData(m)
    totals = []
    for qpos, qvel in zip(*to_mujoco(model, joint_q, joint_qd), strict=True):
        d.qpos, d.qvel = qpos, qvel
        mujoco.mj_forward(m, d)
        totals.append(d.energy.sum())
    return np.array(totals)


def test_passive_chain_keeps_its_energy(tmp_path):
    path = tmp_path / "chain.xml"
    path.write_text(CHAIN)
    model = load_model(path)  # without contacts: the chain falls through the ground
    drifts = []
    for substeps in (16, 32):
        sim = WarpSimulator(
            model, 4, dtype=torch.float64, substeps=substeps, mass_matrix_interval=1
        )
        joint_q, joint_qd, action = random_state(model, 4, seed=5)
        start = energy(model, joint_q, joint_qd)
        for _ in range(60):
            joint_q, joint_qd = step(sim, joint_q, joint_qd, action)
        drifts.append(np.abs(energy(model, joint_q, joint_qd) - start) / np.abs(start))
    # A first order integrator: the drift over one second is small and halves with the step.
    assert drifts[0].max() < 0.02
    assert 1.5 < np.median(drifts[0] / drifts[1]) < 2.5


def test_motion_does_not_depend_on_where_the_robot_stands(tmp_path):
    model = load_model(write_crawler(tmp_path))
    joint_q, joint_qd, action = random_state(model, 3, 6, torch.float32)
    sim = WarpSimulator(model, 3, substeps=16)
    near_q, near_qd = step(sim, joint_q, joint_qd, action)
    away = torch.tensor([1024.0, -512.0, 0.0])
    joint_q[:, :3] += away
    far_q, far_qd = step(sim, joint_q, joint_qd, action)
    torch.testing.assert_close(far_q[:, :3] - away, near_q[:, :3], atol=2e-4, rtol=0)
    # The coordinates of the far robot are rounded to 6e-5 m; its velocity knows nothing of that.
    torch.testing.assert_close(far_qd, near_qd, atol=2e-4, rtol=1e-4)
