"""MJCF files become models, or errors that say what to change."""

import numpy as np
import pytest

from dva import robots
from dva.sim import load_model
from dva.sim.model import FREE, PRISMATIC, REVOLUTE

from .robots import DATA, recorded_model, write_crawler


@pytest.mark.parametrize("name", ("cartpole_prev", "hopper"))
def test_robot_equals_the_recorded_numbers(name: str):
    data = np.load(DATA / f"{name}.npz")
    model = recorded_model(name)
    # The recorded cartpole has a fixed joint to the world, which we merge away.
    moving = np.flatnonzero(data["model/joint_type"] != 3)
    kinds = {0: PRISMATIC, 1: REVOLUTE, 4: FREE}
    assert [kinds[t] for t in data["model/joint_type"][moving]] == list(model.link_joint)
    np.testing.assert_allclose(model.link_axis, data["model/joint_axis"][moving])
    np.testing.assert_allclose(model.link_mass, data["model/body_mass"][moving], rtol=1e-7)
    np.testing.assert_allclose(model.link_com, data["model/body_com"][moving], atol=1e-8)
    np.testing.assert_allclose(model.dof_armature, data["model/joint_armature"])
    np.testing.assert_allclose(model.dof_damping, data["model/joint_target_kd"][moving])
    np.testing.assert_allclose(model.dof_limit_stiffness, data["model/joint_limit_ke"][moving])
    np.testing.assert_allclose(model.dof_limit_damping, data["model/joint_limit_kd"][moving])
    assert list(np.flatnonzero(model.dof_action >= 0)) == list(data["model/action_dof"])
    np.testing.assert_allclose(model.dof_gear[model.dof_action >= 0], data["model/action_scale"])
    np.testing.assert_allclose(model.initial_q, data["model/initial_q"])
    # The original's inertias are right only about y, which is all that a planar robot feels.
    recorded = data["model/body_inertia"][moving][:, 1, 1]
    np.testing.assert_allclose(model.link_inertia[:, 1, 1], recorded, rtol=1e-6)


def test_hopper_touches_the_ground_where_recorded():
    data = np.load(DATA / "hopper.npz")
    model = recorded_model("hopper")
    rows = lambda link, point, radius: sorted(  # noqa: E731
        (int(i), *np.round(p.astype(float), 6) + 0.0, round(float(r), 6))
        for i, p, r in zip(link, point, radius, strict=True)
    )
    recorded = ("contact_body", "contact_point", "contact_dist")
    assert rows(model.contact_link, model.contact_point, model.contact_radius) == rows(
        *(data[f"model/{key}"] for key in recorded)
    )
    np.testing.assert_allclose(model.contact_material, data["model/contact_material"])


def test_welded_bodies_are_merged(tmp_path):
    model = load_model(write_crawler(tmp_path))
    assert model.num_links == 4 and model.body_names[2] == "head"
    assert model.body_link[1] == model.body_link[2] == 0
    box, ball = 500 * 0.4 * 0.2 * 0.1, 500 * 4 / 3 * np.pi * 0.06**3
    np.testing.assert_allclose(model.link_mass[0], box + ball)
    np.testing.assert_allclose(model.link_com[0], ball * np.array([0.25, 0, 0.05]) / (box + ball))


def test_mass_matrix_pairs_are_ancestors():
    pairs = load_model(robots.mjcf_path("hopper")).dof_pairs()
    assert len(pairs) == 21 and (pairs[:, 0] <= pairs[:, 1]).all()


def mjcf(body: str, rest: str = "") -> str:
    return f"<mujoco><worldbody><body name='b'>{body}</body></worldbody>{rest}</mujoco>"


GEOM = "<geom size='0.1'/>"
HINGE = "<joint name='j' type='hinge'/>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (mjcf("<joint name='j' type='ball'/>" + GEOM), "'j' is a ball joint. Allowed"),
        (mjcf(GEOM), "no joint"),
        (mjcf(HINGE + "<inertial pos='0 0 0' mass='1' diaginertia='1 1 1'/>"
              "<geom type='ellipsoid' size='1 1 2'/>"), "Allowed: sphere, capsule, box"),
        (mjcf(HINGE + GEOM, "<actuator><position joint='j'/></actuator>"), "not a motor"),
        (mjcf(HINGE + GEOM, "<actuator><motor joint='j'/></actuator>"), 'ctrlrange="-1 1"'),
        ("<mujoco><worldbody>", "MuJoCo cannot compile"),
    ],
)  # fmt: skip
def test_errors_say_what_to_change(tmp_path, text: str, message: str):
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="No MJCF file"):
        load_model(tmp_path / "none.xml")
