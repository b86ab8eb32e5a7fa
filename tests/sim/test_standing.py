"""A four-legged robot with position servos and feet of meshes, dropped: it stands as MuJoCo's."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from itertools import product
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from dva.runs.gradient_check import simulator_gradient_error
from dva.sim import Model, State, WarpSimulator, load_model, stable_substeps
from dva.sim.mjcf.agreement import compile_counterpart, mechanical_energy

CONTROL_DT = 1 / 60
KP = 200.0
FOOT = " ".join(f"{x} {y} {z}" for x, y, z in product((-0.04, 0.04), (-0.02, 0.02), (-0.03, 0.02)))
LEG = """
<body pos="{x} {y} 0">
  <joint name="{name} hip" axis="0 1 0"/>
  <geom type="capsule" fromto="0 0 0 -.1 0 -.2" size=".02" mass="0.5"/>
  <body pos="-.1 0 -.2">
    <joint name="{name} knee" axis="0 1 0"/>
    <geom type="capsule" fromto="0 0 0 .1 0 -.2" size=".02" mass="0.3"/>
    <geom type="mesh" mesh="foot" pos=".1 0 -.22" mass="0.1"/>
  </body>
</body>
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    places = {"front left": (1, 1), "front right": (1, -1), "left": (-1, 1), "right": (-1, -1)}
    legs = "".join(LEG.format(name=name, x=0.2 * x, y=0.1 * y) for name, (x, y) in places.items())
    servos = "".join(
        f'<position joint="{name} {joint}" kp="{KP}" kv="4" ctrlrange="-0.5 0.5"/>'
        for name in places
        for joint in ("hip", "knee")
    )
    path: Path = tmp_path_factory.mktemp("standing") / "quadruped.xml"
    path.write_text(
        f'<mujoco><asset><mesh name="foot" vertex="{FOOT}"/></asset>'
        '<default><joint damping="0.1" armature="0.01"/></default>'
        '<worldbody><geom type="plane" size="1 1 1"/><body name="trunk" pos="0 0 0.5"><freejoint/>'
        f'<geom type="box" size=".25 .08 .05" mass="6"/>{legs}</body></worldbody>'
        f"<actuator>{servos}</actuator></mujoco>"
    )
    return load_model(path)


@pytest.fixture(scope="module")
def fall(model: Model) -> list[State]:
    """Two seconds, at the substeps that `dva doctor` proposes, with the legs held as they are."""
    sim = WarpSimulator(
        model, 1, dtype=torch.float64, control_dt=CONTROL_DT, mass_matrix_interval=1, threads=1,
        substeps=stable_substeps(model, CONTROL_DT),
    )  # fmt: skip
    zeros = torch.zeros(1, model.num_dofs, dtype=torch.float64)
    states = [sim.new_state(torch.tensor(model.initial_q)[None], zeros)]
    action = torch.zeros(1, model.num_actions, dtype=torch.float64)
    for _ in range(120):
        states.append(sim.step(states[-1], action))
    return states


def test_it_stands_where_mujocos_does(model: Model, fall: list[State]):
    m = compile_counterpart(model, floor=True)
    d = mujoco.MjData(m)
    while d.time < 2.0:
        mujoco.mj_step(m, d)
    assert fall[-1].joint_qd.abs().max() < 0.02
    assert 0.4 < d.qpos[2] < 0.5
    assert fall[-1].joint_q[0, 2].item() == pytest.approx(d.qpos[2], abs=2e-3)
    np.testing.assert_allclose(fall[-1].joint_q[0, 7:], d.qpos[7:], atol=0.02)


def test_its_energy_does_not_grow(model: Model, fall: list[State]):
    """That of the servos' springs counts."""
    springs = [0.5 * KP * float((state.joint_q[0, 7:] ** 2).sum()) for state in fall]
    energy = mechanical_energy(model, fall) + np.array(springs)
    assert np.diff(energy).max() < 0.01 * (energy[0] - energy[-1])


@pytest.mark.parametrize("speed", [0.0, 0.2])
def test_gradients_at_rest_and_in_sliding(model: Model, fall: list[State], speed: float):
    velocity = torch.full_like(fall[-1].joint_qd, speed)
    substeps = stable_substeps(model, CONTROL_DT)
    error = simulator_gradient_error(
        model, fall[-1].joint_q, velocity, CONTROL_DT, substeps, 1, steps=1
    )
    assert error < 1e-6
