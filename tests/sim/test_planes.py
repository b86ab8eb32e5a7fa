"""Contacts with planes that follow MuJoCo's parameters."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from itertools import product

import numpy as np
import pytest
import torch

from dva.runs.gradient_check import simulator_gradient_error
from dva.sim import WarpSimulator, load_model, stable_substeps
from dva.sim.mjcf.agreement import mechanical_energy, rest_coordinates
from dva.sim.mjcf.shapes import MESH_VERTICES, spanning_vertices
from dva.sim.state import State

SHAPES = {
    "sphere": 'type="sphere" size="0.1"',
    "capsule": 'type="capsule" size="0.05 0.1"',
    "box": 'type="box" size="0.1 0.08 0.05"',
    "standing cylinder": 'type="cylinder" size="0.1 0.05"',
    "lying cylinder": 'type="cylinder" size="0.1 0.05" euler="90 0 0"',
    "ellipsoid": 'type="ellipsoid" size="0.12 0.1 0.05"',
    "mesh": 'type="mesh" mesh="wedge"',
}
MESH = '<asset><mesh name="wedge" vertex="0 0 0 .2 0 0 0 .2 0 .2 .2 0 0 0 .15 .2 0 .15"/></asset>'


def load_body(folder, geom: str, height: float = 0.2, plane: str = "", ignore=()):
    """Loads one free body above a plane."""
    path = folder / "body.xml"
    path.write_text(
        f'<mujoco>{MESH}<worldbody><geom name="floor" type="plane" size="1 1 1" {plane}/>'
        f'<body pos="0 0 {height}"><freejoint/><geom {geom} mass="1.5"/></body></worldbody>'
        "</mujoco>"
    )
    return load_model(path, ignore=ignore)


def fall(model, seconds: float, start=None, finer: int = 1) -> list[State]:
    substeps = finer * stable_substeps(model, 1 / 60)
    sim = WarpSimulator(
        model, 1, dtype=torch.float64, substeps=substeps, mass_matrix_interval=1, threads=1
    )
    velocity = torch.zeros(1, model.num_dofs, dtype=torch.float64) if start is None else start
    states = [State(torch.tensor(model.initial_q)[None], velocity)]
    for _ in range(round(60 * seconds)):
        states.append(sim.step(states[-1], torch.zeros(1, 0, dtype=torch.float64)))
    return states


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dropped_body_rests_where_mujocos_does(tmp_path, shape: str):
    model = load_body(tmp_path, SHAPES[shape])
    states = fall(model, 2.0)
    assert states[-1].joint_qd.abs().max() < 0.02
    height = states[-1].joint_q[0, 2].item()
    assert height == pytest.approx(rest_coordinates(model, 2.0)[2], abs=2e-3)
    energy = mechanical_energy(model, states)
    rise = np.diff(energy).max() / (energy[0] - energy[-1])
    assert rise < 0.02  # what the contact's spring gives back


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_at_rest_and_in_sliding(tmp_path, shape: str):
    model = load_body(tmp_path, SHAPES[shape])
    rest = fall(model, 1.0)[-1]
    sliding = torch.tensor([[0.7, 0.3, 0.0, 0.1, 0.2, 0.3]], dtype=torch.float64)
    substeps = stable_substeps(model, 1 / 60)
    for velocity in (rest.joint_qd, sliding):
        error = simulator_gradient_error(
            model, rest.joint_q, velocity, 1 / 60, substeps, 1, steps=1
        )
        assert error < 1e-5


def test_planes_have_height_and_tilt(tmp_path):
    """On a plane tilted by 20 degrees about y, at 0.5 m, a frictionless ball slides at g sin."""
    tilt = np.radians(20)
    model = load_body(
        tmp_path, SHAPES["sphere"] + ' friction="0 0 0"', 0.5 + 0.1 / np.cos(tilt),
        'pos="0 0 0.5" euler="0 20 0" friction="0 0 0"',
    )  # fmt: skip
    assert model.plane_contacts is not None
    np.testing.assert_allclose(
        model.plane_contacts.plane[0], [np.sin(tilt), 0, np.cos(tilt), 0.5 * np.cos(tilt)]
    )
    after = fall(model, 0.5)[-1].joint_qd[0]
    speed = 9.81 * np.sin(tilt) * 0.5
    np.testing.assert_allclose(
        after[:3].numpy(), speed * np.array([np.cos(tilt), 0, -np.sin(tilt)]), atol=0.03
    )


def test_a_ball_rolls_and_a_wheel_does(tmp_path):
    """Pushed at v without spin, a solid ball ends up rolling at 5/7 v, a solid wheel at 2/3 v.

    With small steps: per second the integrator adds a share h w^2 to the speed of what spins.
    """
    for shape, share in (("sphere", 5 / 7), ("lying cylinder", 2 / 3)):
        model = load_body(tmp_path, SHAPES[shape], 0.1)
        push = torch.tensor([[1.0, 0, 0, 0, 0, 0]], dtype=torch.float64)
        after = fall(model, 0.5, push, finer=8)[-1].joint_qd[0]
        assert after[0].item() == pytest.approx(share, abs=0.02)
        assert after[4].item() == pytest.approx(share / 0.1, rel=0.03)


def test_mujocos_rules_say_what_touches(tmp_path):
    def contacts(geom: str, plane: str = "") -> int:
        return load_body(tmp_path, SHAPES["sphere"] + geom, plane=plane).num_contacts

    assert contacts("") == 1
    assert contacts(' contype="0"') == 1  # the plane's contype meets its conaffinity
    assert contacts(' contype="0" conaffinity="0"') == 0
    assert contacts(' contype="2" conaffinity="2"') == 0
    assert contacts(' contype="2" conaffinity="2"', 'contype="2"') == 1


def test_user_data_belongs_to_the_floor_at_zero(tmp_path):
    with pytest.raises(ValueError, match="Remove its user data, or move the plane"):
        load_body(tmp_path, SHAPES["sphere"] + ' user="1000 1 1 1"', plane='pos="0 0 1"')
    model = load_body(tmp_path, SHAPES["sphere"] + ' user="1000 1 1 1"')
    assert model.plane_contacts is None and len(model.contact_link) == 1


def test_a_body_that_turns_about_its_centre_of_mass_needs_no_more_substeps(tmp_path):
    path = tmp_path / "wheel.xml"
    path.write_text(
        '<mujoco><worldbody><geom type="plane" size="1 1 1"/>'
        '<body pos="0 0 0.1">'
        '<joint axis="0 1 0"/><geom type="capsule" size="0.02 0.2" mass="1"/></body>'
        "</worldbody></mujoco>"
    )
    model = load_model(path)
    assert model.num_contacts == 2
    assert stable_substeps(model, 1 / 60) < 50


def test_few_vertices_of_a_mesh_reach_nearly_as_far_as_all():
    """A smooth body's 26 do to 6 % of its length, whatever the direction; a box needs its 8."""
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(4000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    smooth = directions[:2000] * np.array([0.1, 0.13, 0.45])
    chosen = spanning_vertices(smooth)
    assert len(chosen) == len(set(chosen)) == MESH_VERTICES
    reach = directions @ smooth.T
    assert (reach.max(1) - reach[:, chosen].max(1)).max() < 0.06 * 0.9
    corners = np.array(list(product((-1.0, 1.0), repeat=3)))
    inside = generator.uniform(-0.9, 0.9, size=(50, 3))
    assert sorted(spanning_vertices(np.concatenate([inside, corners]))) == list(range(50, 58))
