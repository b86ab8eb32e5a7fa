"""Servos, tendons, couplings, friction, gravity compensation: MuJoCo's accelerations, and
gradients that equal finite differences."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import math

import numpy as np
import pytest
import torch

from dva.runs.gradient_check import simulator_gradient_error
from dva.sim import WarpSimulator, load_model, stable_substeps
from dva.sim.mjcf.agreement import acceleration_error, mass_matrix_error

from .robots import random_state, step

ARM = """
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <default><geom contype="0" conaffinity="0"/><joint damping="0.1" armature="0.02"/></default>
  <worldbody>
    <body pos="0 0 1" gravcomp="0.7">
      <joint name="a" axis="0 1 0" actuatorfrcrange="-3 3"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" mass="1"/>
      <body pos="0.3 0 0">
        <joint name="b" axis="0 1 0" range="-1 1" frictionloss="0.2"/>
        <geom type="capsule" fromto="0 0 0 0.2 0 0.1" size="0.02" mass="0.5"/>
        <body pos="0.2 0 0.1" gravcomp="1">
          <joint name="c" type="slide" axis="1 0 0"/>
          <geom size="0.04" mass="0.4"/>
        </body>
      </body>
    </body>
    <body pos="0 1 1">
      <joint name="d" axis="0 0 1"/>
      <geom pos="0.1 0 0" size="0.05" mass="0.3"/>
    </body>
  </worldbody>
  <tendon>
    <fixed name="t" stiffness="20" damping="0.3" springlength="0.1" range="-0.4 0.4"
           frictionloss="0.05">
      <joint joint="a" coef="0.5"/><joint joint="c" coef="-2"/>
    </fixed>
  </tendon>
  <equality><joint joint1="d" joint2="b" polycoef="0.1 0.5 0.2 0 0"/></equality>
  <actuator>
    <position joint="a" kp="30" kv="2" ctrlrange="-1 0.5"/>
    <velocity joint="b" kv="1.5" gear="2" ctrlrange="-2 2" forcerange="-1 1"/>
    <motor tendon="t" gear="3" ctrlrange="0 1"/>
    <general joint="d" gaintype="affine" gainprm="1 0.2 0.1" biastype="affine"
             biasprm="0.1 -2 -0.2" ctrlrange="-1 1"/>
    <damper joint="c" kv="0.8" ctrlrange="0 1"/>
    <motor joint="a" gear="2" ctrlrange="-0.5 1"/>
  </actuator>
</mujoco>
"""
"""Every kind of joint force at once."""


@pytest.fixture
def arm(tmp_path):
    path = tmp_path / "arm.xml"
    path.write_text(ARM)
    return load_model(path)


def test_all_of_it_accelerates_as_in_mujoco(arm):
    assert len(arm.transmissions) == 7 and arm.couplings is not None
    np.testing.assert_allclose(arm.action_range[0], (-1, 0.5))
    assert acceleration_error(arm) < 1e-6
    assert mass_matrix_error(arm) < 1e-9


def test_gradients_equal_finite_differences(arm):
    joint_q, joint_qd, _ = random_state(arm, 2, seed=1)
    joint_q[1, 1] = 1.1  # beyond the limit
    substeps = stable_substeps(arm, 1 / 60)
    error = simulator_gradient_error(arm, joint_q, joint_qd, 1 / 60, substeps, substeps, steps=2)
    assert error < 1e-6


def one_joint(folder, joint: str, rest: str = "", mass: float = 2.0):
    """Loads a mass on a slide along x, without gravity."""
    path = folder / "slide.xml"
    path.write_text(
        '<mujoco><compiler autolimits="true"/><option gravity="0 0 0"/><worldbody><body>'
        f'<joint name="s" type="slide" axis="1 0 0" {joint}/>'
        f'<geom size="0.1" mass="{mass}" contype="0"/></body></worldbody>{rest}</mujoco>'
    )
    return load_model(path)


def settle(model, velocity: float, seconds: float, position: float = 0.0, force: float = 0.0):
    """Simulates one joint; returns its positions and velocities after each control step."""
    substeps = max(stable_substeps(model, 1 / 60), 8)
    sim = WarpSimulator(model, 1, dtype=torch.float64, substeps=substeps)
    joint_q = torch.full((1, 1), position, dtype=torch.float64)
    joint_qd = torch.full((1, 1), velocity, dtype=torch.float64)
    action = torch.full((1, model.num_actions), force, dtype=torch.float64)
    found = []
    for _ in range(int(60 * seconds)):
        joint_q, joint_qd = step(sim, joint_q, joint_qd, action)
        found.append((joint_q.item(), joint_qd.item()))
    return np.array(found)


def test_a_limit_rests_where_mujoco_lets_it_rest(tmp_path):
    """A force F beyond a limit rests at F (1 - d) / (m k d^2), k from the time constant."""
    motor = '<actuator><motor joint="s" gear="40" ctrlrange="-1 1"/></actuator>'
    limited = 'range="-1 0.2" solreflimit="0.03 0.8" solimplimit="0.8 0.9 0.001"'
    model = one_joint(tmp_path, limited, motor)
    depth = settle(model, 0.0, 2.0, 0.19, force=1.0)[-1, 0] - 0.2
    stiffness = 1 / (0.9 * 0.03 * 0.8) ** 2
    assert depth == pytest.approx(40 * 0.15 / (2.0 * stiffness * 0.85**2), rel=1e-3)


def test_a_limit_does_not_act_inside_and_does_not_throw_back(tmp_path):
    model = one_joint(tmp_path, 'range="-1 0.2"')
    motion = settle(model, 1.0, 1.0)
    assert motion[5, 1] == pytest.approx(1.0, abs=1e-9)  # it has not reached the limit yet
    assert motion[:, 0].max() < 0.21
    assert -0.2 < motion[-1, 1] <= 0.0


def test_dry_friction_stops_what_slides(tmp_path):
    """It brakes with f / m, and then holds against less than f."""
    motor = '<actuator><motor joint="s" gear="3" ctrlrange="-1 1"/></actuator>'
    model = one_joint(tmp_path, 'frictionloss="4"', motor)
    motion = settle(model, 1.0, 1.0)
    assert motion[:, 0].max() == pytest.approx(1.0 / (2 * 4 / 2), rel=0.03)
    assert abs(motion[-1, 1]) < 1e-6
    pushed = settle(model, 0.0, 1.0, force=1.0)
    assert abs(pushed[-1, 1]) < 0.02  # without friction it would be 1.5 m/s


def test_a_servo_holds_its_target_and_its_force_is_limited(tmp_path):
    servo = '<actuator><position joint="s" kp="100" kv="30" ctrlrange="0 1" forcerange="-5 5"/></actuator>'  # noqa: E501
    model = one_joint(tmp_path, "", servo)
    motion = settle(model, 0.0, 3.0, force=0.5)  # three quarters of the range
    assert motion[-1, 0] == pytest.approx(0.75, abs=1e-3)
    assert motion[0, 1] == pytest.approx(5 / 2 / 60, rel=1e-9)


def test_motors_with_other_ranges_are_gears(tmp_path):
    motor = '<actuator><motor joint="s" gear="3" ctrlrange="-0.4 0.4"/></actuator>'
    model = one_joint(tmp_path, "", motor)
    assert model.transmissions is None and model.joint_forces is None
    assert model.dof_gear[0] == pytest.approx(1.2)
    bound = one_joint(tmp_path, 'actuatorfrcrange="-1 1"', motor)
    assert bound.transmissions is not None
    rate = settle(bound, 0.0, 1 / 60, force=1.0)[0, 1]
    assert math.isclose(rate, 1 / 2 / 60, rel_tol=1e-9)
