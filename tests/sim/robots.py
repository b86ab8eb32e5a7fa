"""Small robots and helpers for the simulator's tests."""

from collections.abc import Callable
from pathlib import Path

import torch

from _recording import Recording
from dva.sim import Model, State, WarpSimulator

DATA = Path(__file__).parents[1] / "data"

CRAWLER = """
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <size nuser_jnt="2" nuser_geom="4"/>
  <default>
    <geom density="500" user="5000 500 300 0.7"/>
    <joint type="hinge" armature="0.02" user="50 0.3"/>
    <motor gear="12" ctrllimited="true" ctrlrange="-1 1"/>
  </default>
  <worldbody>
    <body name="trunk" pos="0 0 0.4">
      <freejoint name="root"/>
      <geom type="box" size="0.2 0.1 0.05"/>
      <body name="head" pos="0.25 0 0.05" euler="0 0.3 0">
        <geom type="sphere" size="0.06"/>
      </body>
      <body name="hip" pos="-0.1 0.1 0" euler="0.2 0.1 0.3">
        <joint name="swing" axis="1 0 0" range="-0.3 0.4" stiffness="3" springref="0.1"/>
        <joint name="lift" axis="0 1 0" pos="0.02 0.01 0"/>
        <geom type="capsule" fromto="0 0 0 0 0.25 -0.1" size="0.03"/>
        <body name="foot" pos="0 0.25 -0.1">
          <joint name="slide" type="slide" axis="0 0.3 -1" ref="0.05" damping="1.5"/>
          <geom type="sphere" pos="0 0 -0.1" size="0.05"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="swing"/>
    <motor joint="lift"/>
    <motor joint="slide"/>
  </actuator>
</mujoco>
"""
"""A free base, a body welded to it, two hinges on one body at different anchors, and a slide."""


def write_crawler(folder: Path) -> Path:
    """Writes the crawler's MJCF file into a folder."""
    path = folder / "crawler.xml"
    path.write_text(CRAWLER)
    return path


def recorded_model(name: str) -> Model:
    """Loads the model that a recording was made with."""
    return Recording(DATA / f"{name}.npz").model


def random_state(model: Model, num_envs: int, seed: int, dtype: torch.dtype = torch.float64):
    """Draws (joint_q, joint_qd, action); free bases at random orientations, 1 m apart."""
    generator = torch.Generator().manual_seed(seed)

    def normal(width: int) -> torch.Tensor:
        return torch.randn(num_envs, width, generator=generator, dtype=torch.float64)

    joint_q = torch.tensor(model.initial_q) + 0.2 * normal(model.num_coords)
    if model.num_coords > model.num_dofs:
        joint_q[:, 3:7] = torch.nn.functional.normalize(normal(4), dim=1)
    action = torch.tanh(normal(model.num_actions))
    return joint_q.to(dtype), normal(model.num_dofs).to(dtype), action.to(dtype)


def step(sim: WarpSimulator, joint_q, joint_qd, action) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps once; returns (joint_q, joint_qd)."""
    after = sim.step(State(joint_q, joint_qd), action)
    return after.joint_q, after.joint_qd


def rollout(sim: WarpSimulator, joint_q, joint_qd, actions):
    """Steps through actions (h, N, A); returns the states after each step, (h, N, ...) each."""
    states = []
    for action in actions:
        joint_q, joint_qd = step(sim, joint_q, joint_qd, action)
        states.append((joint_q, joint_qd))
    qs, qds = zip(*states, strict=True)
    return torch.stack(qs), torch.stack(qds)


def assert_central_differences(
    loss: Callable[..., torch.Tensor], inputs: list[torch.Tensor], eps: float = 1e-6
) -> None:
    """Compares gradients of a loss (N,) of inputs (N, ...), one environment a row, with central
    differences."""
    gradients = torch.autograd.grad(loss(*inputs).sum(), inputs)
    for index, (value, gradient) in enumerate(zip(inputs, gradients, strict=True)):
        for column in range(value.shape[1]):
            shifted = []
            for sign in (1, -1):
                moved = [v.detach().clone() for v in inputs]
                moved[index][:, column] += sign * eps
                shifted.append(loss(*moved))
            numeric = (shifted[0] - shifted[1]) / (2 * eps)
            scale = gradient.abs().max(1).values + 1.0
            error = ((gradient[:, column] - numeric).abs() / scale).max()
            assert error < 2e-6, f"input {index}, column {column}: {error:.1e}"
