"""The proposed number of substeps is where states and gradients stop exploding."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from dva import tasks
from dva.sim import Model, WarpSimulator, load_model, stable_substeps
from dva.sim.mass import InitialPose

from .robots import rollout, write_crawler

CONTROL_DT = 1 / 60

CAPSULE = '<geom contype="0" type="capsule" fromto="0 0 0 0 0 -.2" size=".02" mass="0.2"/>'
SWING = '<body pos="0 0 1"><joint name="a" axis="0 1 0" {law}/>' + CAPSULE + "</body>"
SLED = """
<body pos="0 0 {height}">
  <joint name="a" type="slide" axis="1 0 0"/>
  <joint type="slide" axis="0 0 1"/>
  <geom type="{shape}" size=".1 .1 .1" mass="{mass}" user="{material}"/>
</body>
"""
BODIES = {
    "spring": '<body><joint name="a" type="slide" axis="1 0 0" stiffness="30000"/>'
    '<geom contype="0" size=".05" mass="0.5"/></body>',
    "damper": SWING.format(law='damping="2"'),
    "spring and damper": SWING.format(law='damping="1" stiffness="1000"'),
    "limit": SWING.format(law='range="-.001 .001" limited="true" user="2000 .5"'),
    "friction of a ball": SLED.format(
        height=0.0995, shape="sphere", mass=0.5, material="10000 0 2000 0.8"
    ),
    "friction of a box": SLED.format(height=0.099, shape="box", mass=1, material="2000 0 2000 0.8"),
}
"""Small robots, each with one source of instability."""


def small_robot(folder: Path, body: str) -> Model:
    path = folder / "small.xml"
    path.write_text(
        f"<mujoco><worldbody>{body}</worldbody><actuator>"
        '<motor joint="a" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>'
    )
    return load_model(path)


def explosion(model: Model, substeps: int) -> float:
    """Largest gradient entry over a horizon of 16 control steps, almost at rest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sim = WarpSimulator(
            model, 1, dtype=torch.float64, control_dt=CONTROL_DT, substeps=substeps, threads=1
        )
    joint_q = torch.tensor(model.initial_q)[None]
    joint_qd = torch.full((1, model.num_dofs), 0.01, dtype=torch.float64)
    actions = torch.full((16, 1, 1), 0.1, dtype=torch.float64, requires_grad=True)
    qs, qds = rollout(sim, joint_q, joint_qd, actions)
    return torch.autograd.grad(qs[-1].sum() + qds[-1].sum(), actions)[0].abs().max().item()


@pytest.mark.parametrize("name", BODIES)
def test_below_it_gradients_explode_and_at_it_they_do_not(tmp_path, name: str):
    model = small_robot(tmp_path, BODIES[name])
    needed = stable_substeps(model, CONTROL_DT)
    assert needed >= 3
    assert explosion(model, needed) < 10
    # A number is whole and has a margin of safety: two thirds of it are too few in any case.
    assert not explosion(model, int(needed / 1.5)) < 1e3


def test_gradients_grow_without_bound(tmp_path):
    """The friction's cap holds the state, but not the gradient."""
    model = small_robot(tmp_path, BODIES["spring and damper"])
    assert not explosion(model, stable_substeps(model, CONTROL_DT) // 2) < 1e35


def test_more_points_on_the_ground_need_more_substeps(tmp_path):
    ball, box = (
        stable_substeps(
            small_robot(
                tmp_path,
                SLED.format(height=0.1, shape=shape, mass=1, material="1000 0 1000 1"),
            ),
            CONTROL_DT,
        )
        for shape in ("sphere", "box")
    )
    assert box == pytest.approx(4 * ball, abs=4)  # the corners of one side, not all eight


def test_it_scales_with_the_control_step(tmp_path):
    model = load_model(write_crawler(tmp_path))
    counts = [stable_substeps(model, seconds) for seconds in (1 / 60, 1 / 6, 1 / 600)]
    assert counts[1] == pytest.approx(10 * counts[0], abs=10)
    assert counts[2] <= counts[0] / 10 + 1


@pytest.mark.parametrize("name", [n for n in tasks.names() if tasks.get(n).mjcf.is_file()])
def test_the_tasks_of_the_package_have_enough(name: str):
    task = tasks.get(name)
    for inertia in ("physical", "published"):
        model = load_model(task.mjcf, inertia=inertia)
        assert stable_substeps(model, task.control_dt) <= task.substeps


def test_the_simulator_warns_in_one_line(tmp_path):
    model = small_robot(tmp_path, BODIES["damper"])
    needed = stable_substeps(model, CONTROL_DT)
    with pytest.warns(UserWarning, match=f"substeps is 2, but {needed} are needed") as caught:
        WarpSimulator(model, 1, substeps=2)
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WarpSimulator(model, 1, substeps=needed)


def test_a_singular_mass_matrix_is_named(tmp_path):
    joints = '<joint name="a" type="slide" axis="1 0 0"/><joint type="slide" axis="1 0 0"/>'
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MuJoCo sees it too
        model = small_robot(tmp_path, f"<body>{joints}<geom size='.1'/></body>")
    with pytest.raises(ValueError, match=r"small.xml: the mass matrix is singular"):
        stable_substeps(model, CONTROL_DT)


def test_jacobians_are_derivatives_of_places(tmp_path):
    """Of hinges and slides; the mass matrix of free joints is checked against the kernels'."""
    model = load_model(write_crawler(tmp_path))
    pose = InitialPose(model)
    matrix = pose.mass_matrix(model.dof_armature)
    sim = WarpSimulator(model, 1, dtype=torch.float64, control_dt=1e-7, substeps=1, threads=1)
    high = torch.tensor(model.initial_q)[None]
    high[:, 2] += 5
    zero = torch.zeros(1, model.num_dofs, dtype=torch.float64)
    still = sim.step(high, zero, torch.zeros(1, 3, dtype=torch.float64))[1]
    for action in range(3):
        push = torch.zeros(1, 3, dtype=torch.float64)
        push[0, action] = 1.0
        acceleration = (sim.step(high, zero, push)[1] - still)[0].numpy() / 1e-7
        force = np.where(model.dof_action == action, model.dof_gear, 0.0)
        np.testing.assert_allclose(matrix @ acceleration, force, atol=1e-5)
