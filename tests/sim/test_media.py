"""Fluids, the damping of free joints, and equalities of tendons."""

import math

import pytest
import torch

from dva.runs.gradient_check import simulator_gradient_error
from dva.sim import State, WarpSimulator, load_model, stable_substeps
from dva.sim.mjcf.agreement import acceleration_error, rest_coordinates

SWIMMER = """
<mujoco>
  <option gravity="0 0 0" density="800" viscosity="0.3" wind="0.3 -0.2 0.1"/>
  <compiler autolimits="true"/>
  <default><geom type="capsule" contype="0" conaffinity="0"/></default>
  <worldbody>
    <body>
      <freejoint/><geom fromto="0 0 0 0.3 0.02 0" size="0.03"/>
      <body name="fin"><geom type="box" pos="0 0.1 0" size="0.02 0.1 0.01"/></body>
      <body pos="0.3 0 0">
        <joint name="tail" axis="0 0 1"/><geom fromto="0 0 0 0.2 0 0.1" size="0.02"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="tail" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def load(folder, text: str):
    path = folder / "robot.xml"
    path.write_text(text)
    return load_model(path)


def moving(model, speed: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    velocity = torch.randn(1, model.num_dofs, generator=generator, dtype=torch.float64)
    return torch.tensor(model.initial_q)[None], speed * velocity


def test_a_fluid_acts_as_mujocos(tmp_path):
    model = load(tmp_path, SWIMMER)
    assert model.fluid is not None and len(model.fluid) == 3  # the welded fin by itself
    assert acceleration_error(model) < 1e-6
    error = simulator_gradient_error(model, *moving(model, 2.0), 1 / 60, 4, 4, steps=2)
    assert error < 1e-6


def test_a_ball_sinks_at_stokes_speed(tmp_path):
    """A solid ball's box has sides sqrt(12/5) r; 3 pi side viscosity v carries its weight."""
    radius, mass, viscosity = 0.1, 0.05, 20.0
    model = load(
        tmp_path,
        f'<mujoco><option viscosity="{viscosity}"/><worldbody><body pos="0 0 9"><freejoint/>'
        f'<geom size="{radius}" mass="{mass}"/></body></worldbody></mujoco>',
    )
    sim = WarpSimulator(model, 1, dtype=torch.float64, substeps=50, threads=1)
    state = State(*moving(model, 0.0))
    for _ in range(20):
        state = sim.step(state, torch.zeros(1, 0, dtype=torch.float64))
    expected = mass * 9.81 / (3.0 * math.pi * math.sqrt(2.4) * radius * viscosity)
    assert -state.joint_qd[0, 2].item() == pytest.approx(expected, rel=1e-6)


def test_the_damping_of_a_free_joint(tmp_path):
    """It acts at the body's frame, not at its centre of mass, and on its rotation."""
    model = load(
        tmp_path,
        '<mujoco><option gravity="0 0 0"/><worldbody><body pos="0 0 1">'
        '<joint type="free" damping="0.7"/>'
        '<geom type="box" size="0.1 0.2 0.3" pos="0.2 0 0.1" mass="2"/></body></worldbody>'
        "</mujoco>",
    )
    assert acceleration_error(model) < 1e-6
    error = simulator_gradient_error(model, *moving(model, 1.0), 1 / 60, 4, 4, steps=2)
    assert error < 1e-6


def test_an_equality_of_tendons_holds(tmp_path):
    """a + 2 b - 0.1 = 0.5 c, with references all 0."""
    bodies = "".join(
        f'<body pos="{i} 0 1"><joint name="{name}" axis="0 1 0" damping="0.5"/>'
        '<geom pos="0.1 0 0" size="0.05" mass="1" contype="0" conaffinity="0"/></body>'
        for i, name in enumerate("abc")
    )
    model = load(
        tmp_path,
        f"<mujoco><worldbody>{bodies}</worldbody><tendon>"
        '<fixed name="s"><joint joint="a" coef="1"/><joint joint="b" coef="2"/></fixed>'
        '<fixed name="t"><joint joint="c" coef="1"/></fixed></tendon>'
        '<equality><tendon tendon1="s" tendon2="t" polycoef="0.1 0.5 0 0 0"/></equality></mujoco>',
    )
    assert acceleration_error(model) < 1e-6  # without the equality
    substeps = stable_substeps(model, 1 / 60)
    sim = WarpSimulator(model, 1, dtype=torch.float64, substeps=substeps, threads=1)
    state = State(*moving(model, 0.0))
    for _ in range(180):
        state = sim.step(state, torch.zeros(1, 0, dtype=torch.float64))
    a, b, c = state.joint_q[0].tolist()
    assert a + 2 * b - 0.1 == pytest.approx(0.5 * c, abs=0.01)
    theirs = rest_coordinates(model, 3.0).tolist()
    assert [a, b, c] == pytest.approx(theirs, abs=0.01)
    assert abs(theirs[0] - theirs[2]) > 0.1  # without it all would hang alike
    error = simulator_gradient_error(model, *moving(model, 1.0), 1 / 60, substeps, 1, steps=1)
    assert error < 1e-6
