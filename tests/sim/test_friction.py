"""Friction on a robot at rest: no force, but the slope of slow slip."""

from pathlib import Path

import pytest
import torch

from dva.sim import Model, WarpSimulator, load_model

from .robots import rollout

PUCK = """
<mujoco>
  <worldbody>
    <body name="puck" pos="0 0 0.099">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.1" density="1000" user="10000 1000 {slope} {coefficient}"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="x" joint="x" gear="5" ctrllimited="true" ctrlrange="-1 1"/>
    <motor name="y" joint="y" gear="5" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""
"""A ball of 4.2 kg that slides on the ground, 1 mm deep in it."""


def puck(folder: Path, slope: float = 300.0, coefficient: float = 0.8) -> Model:
    path = folder / "puck.xml"
    path.write_text(PUCK.format(slope=slope, coefficient=coefficient))
    return load_model(path)


def slide(sim: WarpSimulator, actions: torch.Tensor) -> torch.Tensor:
    """Starts at rest; returns the puck's last place in the plane, as one number."""
    zero = torch.zeros(1, 3, dtype=torch.float64)
    qs, qds = rollout(sim, zero, zero, actions)
    return (qs[-1, :, 0] + 0.5 * qds[-1, :, 1]).sum()


@pytest.mark.parametrize("coefficient", (0.8, 0.0))
def test_the_gradient_at_rest_equals_finite_differences(tmp_path, coefficient: float):
    sim = WarpSimulator(puck(tmp_path, coefficient=coefficient), 1, dtype=torch.float64)
    actions = torch.zeros(2, 1, 2, dtype=torch.float64, requires_grad=True)
    (adjoint,) = torch.autograd.grad(slide(sim, actions), actions)
    for index in range(actions.numel()):
        sides = []
        for sign in (1, -1):
            moved = torch.zeros(4, dtype=torch.float64)
            moved[index] = sign * 1e-5
            sides.append(slide(sim, moved.view(2, 1, 2)).item())
        numeric = (sides[0] - sides[1]) / 2e-5
        assert adjoint.flatten()[index].item() == pytest.approx(numeric, rel=1e-6)


def test_a_robot_at_rest_feels_no_friction(tmp_path):
    """The state is the one of a robot without friction, bit for bit."""
    zero = torch.zeros(1, 3, dtype=torch.float64)
    actions = torch.zeros(4, 1, 2, dtype=torch.float64)
    states = [
        rollout(WarpSimulator(puck(tmp_path, slope), 1, dtype=torch.float64), zero, zero, actions)
        for slope in (300.0, 0.0)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))
    assert (states[0][0][..., :2] == 0).all()


def test_the_gradient_is_continuous_where_slip_begins(tmp_path):
    sim = WarpSimulator(puck(tmp_path), 1, dtype=torch.float64)
    gradients = []
    for size in (0.0, 1e-9):
        actions = torch.full((3, 1, 2), size, dtype=torch.float64, requires_grad=True)
        gradients.append(torch.autograd.grad(slide(sim, actions), actions)[0])
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-12)
