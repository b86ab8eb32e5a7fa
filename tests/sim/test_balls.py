"""Ball joints: equal to MuJoCo, differentiable, and without a trace in other robots."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import dataclasses
import math
from functools import partial
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
import warp as wp

from dva import make, robots
from dva.runs.robot_doctor import check_robot
from dva.sensors import Scene, View
from dva.sim import BALL, Model, State, WarpSimulator, load_model, stable_substeps, to_mujoco
from dva.sim.coordinates import from_mujoco
from dva.sim.mjcf.agreement import (
    acceleration_error,
    controls,
    mass_matrix_error,
    mechanical_energy,
)
from dva.sim.mjcf.compiling import compile_mjcf
from dva.sim.warp.poses import LinkPoses
from dva.tasks.locomotion import Locomotion

from .robots import assert_central_differences

ROBOT = """
<mujoco>
  <compiler angle="radian"/>
  <default>
    <geom density="700" contype="0" conaffinity="0"/>
  </default>
  <worldbody>
    <body name="trunk" pos="0 0 1">
      <freejoint/>
      <geom type="box" size="0.2 0.1 0.05"/>
      <body name="arm" pos="0.2 0.05 0" euler="0.3 0.2 0.5">
        <joint name="shoulder" type="ball" pos="0.01 0.02 0" damping="0.3" armature="0.02"
               stiffness="4" {shoulder}/>
        <geom type="capsule" fromto="0 0 0 0.25 0.05 0" size="0.03"/>
        <body name="hand" pos="0.25 0.05 0">
          <joint name="reach" type="slide" axis="1 0 0" damping="5"/>
          <joint name="wrist" type="ball" pos="0 0 0.01"/>
          <geom type="box" size="0.05 0.03 0.02" pos="0.05 0 0"/>
        </body>
      </body>
    </body>
    <body name="bob" pos="1 0 1">
      <joint name="pivot" type="ball" pos="0 0 0.4" frictionloss="{loss}"/>
      <geom type="ellipsoid" size="0.1 0.07 0.05"/>
    </body>
  </worldbody>
  <actuator>{actuators}</actuator>
</mujoco>
"""
"""A free trunk with a ball, then a slide and a ball on one body; and a pendulum beside it."""

MOTORS = """
<motor joint="shoulder" gear="0 3 0" ctrllimited="true" ctrlrange="-1 1"/>
<motor joint="shoulder" gear="2 0 -1" ctrllimited="true" ctrlrange="-2 1"/>
<motor joint="reach" gear="4" ctrllimited="true" ctrlrange="-1 1"/>
<position joint="wrist" gear="0.2 0.5 1" kp="0.3" kv="0.01" ctrllimited="true" ctrlrange="-1 1"/>
<general joint="pivot" gear="1 2 0" gainprm="1 0.5 0.2" gaintype="affine" biastype="affine"
         biasprm="0.1 -2 -0.3" ctrllimited="true" ctrlrange="-1 2" forcelimited="true"
         forcerange="-3 2"/>
"""


def write(folder: Path, shoulder: str = "", loss: float = 0.0, actuators: str = MOTORS) -> Path:
    path = folder / "balls.xml"
    path.write_text(ROBOT.format(shoulder=shoulder, loss=loss, actuators=actuators))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_model(write(tmp_path))


def random_state(model: Model, num_envs: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Draws (joint_q, joint_qd, action), quaternions of unit length."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (model.num_coords, model.num_dofs, model.num_actions)
    q, qd, action = (
        torch.randn(num_envs, width, generator=generator, dtype=torch.float64) for width in shapes
    )
    for link, joint in enumerate(model.link_joint):
        start = int(model.link_coordinate[link])
        if joint == BALL:
            q[:, start : start + 4] /= q[:, start : start + 4].norm(dim=1, keepdim=True)
    q[:, 3:7] /= q[:, 3:7].norm(dim=1, keepdim=True)
    return q, qd, torch.tanh(action)


def test_mass_matrix_and_accelerations_are_mujocos(model: Model):
    assert list(model.link_joint).count(BALL) == 3
    assert (model.num_coords, model.num_dofs) == (7 + 4 + 1 + 4 + 4, 6 + 3 + 1 + 3 + 3)
    assert mass_matrix_error(model) < 1e-12
    assert acceleration_error(model, states=16) < 1e-6


def test_where_bodies_are(model: Model):
    q, _, _ = random_state(model, 4, seed=1)
    sim = WarpSimulator(model, 4, dtype=torch.float64, substeps=40, threads=1)
    poses = sim.body_poses(q).numpy()
    m = compile_mjcf(model.path)
    d = mujoco.MjData(m)
    for env, qpos in enumerate(to_mujoco(model, q).numpy()):
        d.qpos = qpos
        mujoco.mj_kinematics(m, d)
        assert np.allclose(poses[env, :, :3], d.xpos, atol=1e-12)
        assert np.allclose(np.abs((poses[env, :, [6, 3, 4, 5]].T * d.xquat).sum(1)), 1.0)


def test_cameras_place_the_links_there_too(model: Model):
    q, _, _ = random_state(model, 2, seed=1)
    poses = LinkPoses(model, 2, torch.device("cpu"))
    poses.joint_q[:, 0] = q.float()
    sim = WarpSimulator(model, 2, dtype=torch.float64, substeps=40, threads=1)
    expected = sim.body_poses(q)[:, model.body_names.index("bob"), :3]
    for launch in poses.launches():
        wp.launch(launch["kernel"], dim=launch["dim"], inputs=launch["inputs"])
    link = model.joint_names.index("pivot")
    assert poses.position.numpy()[:, 0, link] == pytest.approx(np.tile([1.0, 0.0, 1.4], (2, 1)))
    assert not np.allclose(expected, [1.0, 0.0, 1.0])


def test_coordinates_return_from_mujoco(model: Model):
    q, qd, _ = random_state(model, 3, seed=2)
    qpos, qvel = to_mujoco(model, q, qd)
    back, back_qd = from_mujoco(model, qpos, qvel)
    assert torch.allclose(back, q) and torch.allclose(back_qd, qd)
    c, d = (int(index[-1]) for index in (model.link_coordinate, model.link_dof))
    assert torch.equal(qpos[:, c], q[:, c + 3]) and torch.equal(qvel[:, d:], qd[:, d:])


def test_paths_converge_to_mujocos(model: Model):
    """Semi-implicit Euler beside Runge-Kutta: the error falls with the substep."""
    q, qd, action = random_state(model, 1, seed=3)
    m = compile_mjcf(model.path)
    m.opt.integrator, m.opt.timestep = mujoco.mjtIntegrator.mjINT_RK4, 2e-4
    d = mujoco.MjData(m)
    qpos, qvel = to_mujoco(model, q, qd)
    d.qpos, d.qvel, d.ctrl = qpos[0], qvel[0], controls(model, action[0].numpy())
    mujoco.mj_step(m, d, 500)
    errors = []
    for substeps in (100, 400):
        sim = WarpSimulator(
            model, 1, dtype=torch.float64, substeps=substeps, control_dt=0.1,
            mass_matrix_interval=1, threads=1, capture=False,
        )  # fmt: skip
        after = sim.step(State(q, qd), action)
        errors.append(np.abs(to_mujoco(model, after.joint_q)[0].numpy() - d.qpos).max())
        assert after.joint_q[0, -4:].norm().item() == pytest.approx(1.0, abs=1e-12)
    assert errors[1] < 0.01 and errors[0] == pytest.approx(4.0 * errors[1], rel=0.2)


def test_a_passive_ball_keeps_its_energy(tmp_path: Path):
    model = load_model(write(tmp_path, actuators=""))
    q, qd, action = random_state(model, 1, seed=4)
    # The pendulum alone moves; the rest of the robot hangs in its damper.
    qd[:, :-3] = 0.0
    sim = WarpSimulator(
        model, 1, dtype=torch.float64, substeps=500, control_dt=0.25, mass_matrix_interval=1,
        threads=1,
    )  # fmt: skip
    m, dof = compile_mjcf(model.path), int(model.link_dof[-1])
    states = [State(q, qd), sim.step(State(q, qd), action)]
    d = mujoco.MjData(m)
    energy = []
    for state in states:
        qpos, qvel = to_mujoco(model, state.joint_q, state.joint_qd)
        d.qpos, d.qvel = qpos[0], qvel[0]
        d.qvel[:dof] = 0.0
        mujoco.mj_forward(m, d)
        mujoco.mj_energyVel(m, d)
        height = d.xipos[m.body("bob").id][2]
        energy.append(d.energy[1] + 9.81 * m.body("bob").mass[0] * height)
    assert energy[1] == pytest.approx(energy[0], rel=2e-3)
    assert mechanical_energy(model, states).shape == (2,)


def loss(sim: WarpSimulator, weights, steps: int, q, qd, action) -> torch.Tensor:
    state = State(q, qd)
    for _ in range(steps):
        state = sim.step(state, action)
    return (weights[0] * state.joint_q + 0.3 * state.joint_q**2).sum(1) + (
        weights[1] * state.joint_qd
    ).sum(1)


@pytest.mark.parametrize("interval", (1, 12))
def test_gradients_equal_central_differences(tmp_path: Path, interval: int):
    """Through two control steps, with dry friction and a cone that some states are beyond."""
    model = load_model(write(tmp_path, 'limited="true" range="0 1.2"', loss=0.5))
    num_envs, steps = 4, 2
    sim = WarpSimulator(
        model, num_envs, dtype=torch.float64, substeps=12, mass_matrix_interval=interval,
        threads=1,
    )  # fmt: skip
    inputs = [value.requires_grad_() for value in random_state(model, num_envs, seed=5)]
    weights = random_state(model, num_envs, seed=6)
    assert_central_differences(partial(loss, sim, weights, steps), inputs)


def test_the_gradient_at_the_reference_is_finite(model: Model):
    """Where the vector of a rotation is zero, and its slope is 2."""
    q = torch.tensor(model.initial_q, dtype=torch.float32)[None].requires_grad_()
    sim = WarpSimulator(model, 1, substeps=50, threads=1)
    zeros = torch.zeros(1, model.num_dofs)
    after = sim.step(State(q, zeros), torch.zeros(1, model.num_actions))
    (gradient,) = torch.autograd.grad(after.joint_qd.sum(), q)
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def pendulum(tmp_path: Path, joint: str) -> Path:
    path = tmp_path / "pendulum.xml"
    path.write_text(
        f"""<mujoco><compiler angle="radian"/><option gravity="0 0 0"/><worldbody>
        <body><joint type="ball" {joint}/>
        <geom type="sphere" size="0.1" pos="0 0 -0.3" mass="1" contype="0" conaffinity="0"/>
        </body></worldbody></mujoco>"""
    )
    return path


def settled_angle(model: Model, gravity: tuple[float, float, float]) -> float:
    """Angle of a pendulum that hangs down under a tilted gravity, after four seconds."""
    heavy = dataclasses.replace(model, gravity=np.array(gravity))
    needed = stable_substeps(heavy, 1 / 60)
    sim = WarpSimulator(heavy, 1, dtype=torch.float64, substeps=needed, threads=1)
    state = State(torch.tensor(model.initial_q)[None], torch.zeros(1, 3, dtype=torch.float64))
    for _ in range(240):
        state = sim.step(state, torch.zeros(1, 0, dtype=torch.float64))
    assert state.joint_qd.abs().max() < 1e-3
    return 2.0 * math.acos(min(abs(state.joint_q[0, 3].item()), 1.0))


def test_it_rests_at_its_limit(tmp_path: Path):
    """Sideways gravity swings it out; MuJoCo's own constraint holds it at the same angle."""
    path = pendulum(tmp_path, 'limited="true" range="0 0.5" damping="1"')
    model = load_model(path)
    pull = (4.0, -3.0, 0.0)
    m = compile_mjcf(path)
    m.opt.gravity[:] = pull
    d = mujoco.MjData(m)
    while d.time < 4.0:
        mujoco.mj_step(m, d)
    theirs = 2.0 * math.acos(d.qpos[0])
    ours = settled_angle(model, pull)
    assert 0.5 < ours < 0.53 and ours == pytest.approx(theirs, abs=2e-3)


def test_user_data_makes_the_limit_a_spring(tmp_path: Path):
    """Torque m g r cos(angle) = k (angle - limit) where gravity is sideways."""
    path = tmp_path / "own.xml"
    text = pendulum(tmp_path, 'limited="true" range="0 0.5" user="20 2"').read_text()
    path.write_text(text.replace("<worldbody>", '<size nuser_jnt="2"/><worldbody>'))
    model = load_model(path)
    angle = settled_angle(model, (5.0, 0.0, 0.0))
    assert 20.0 * (angle - 0.5) == pytest.approx(5.0 * 0.3 * math.cos(angle), rel=1e-3)


@pytest.mark.filterwarnings("ignore:.*light grid")
def test_the_doctor_finds_it_well(tmp_path: Path):
    found = list(check_robot(write(tmp_path, 'limited="true" range="0 1.2"', loss=0.05)))
    assert {check.name: check.ok for check in found} == dict.fromkeys(
        ("import", "substeps", "mass matrix", "acceleration", "rest", "gradient", "picture"), True
    ), found


def test_a_task_starts_with_turned_balls(tmp_path: Path):
    """`Locomotion` turns ball joints by up to 0.2 rad, and they remain unit quaternions."""
    path = write(tmp_path)

    @dataclasses.dataclass(frozen=True)
    class Walk(Locomotion):
        name: str = "walk"
        robot: str = str(path)
        substeps: int = 70
        view: View = dataclasses.field(
            default_factory=lambda: View(eye=(2, -2, 2), target=(0, 0, 1))
        )
        scene: Scene = dataclasses.field(default_factory=lambda: Scene(wall_y=None))

        def reward(self, joint_q, joint_qd, action):
            return joint_qd[:, 0]

    task = Walk()
    joint_q, joint_qd = task.start(64, torch.Generator().manual_seed(0), torch.device("cpu"))
    balls = joint_q[:, [7, 8, 9, 10]]
    angle = 2.0 * balls[:, :3].norm(dim=1).asin()
    assert torch.allclose(balls.norm(dim=1), torch.ones(64))
    assert 0.15 < angle.max() <= 0.2 + 1e-6 and joint_qd.shape == (64, 16)
    env = make(task, num_envs=2, device="cpu", observe="state")
    env.reset(seed=0)
    for _ in range(3):
        observation, *_ = env.step(torch.zeros(2, 5))
    env.close()
    # Height, quaternion, two velocities, joints, rates, up, heading, action.
    assert observation["state"].shape == (2, 1 + 4 + 6 + 13 + 10 + 2 + 5)
    assert observation["state"].isfinite().all()


def test_actuators_in_the_parents_axes_are_refused(tmp_path: Path):
    motor = '<motor jointinparent="wrist" gear="1 0 0" ctrllimited="true" ctrlrange="-1 1"/>'
    with pytest.raises(ValueError, match="jointinparent"):
        load_model(write(tmp_path, actuators=motor))


def test_robots_without_balls_have_kernels_without_them():
    model = load_model(robots.mjcf_path("hopper"))
    assert not model.has_balls and model.ball_limits is None
