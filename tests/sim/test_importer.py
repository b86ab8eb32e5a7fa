"""MJCF files become models, or errors that say what to change."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import json
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from _recording import to_recorded
from dva import robots
from dva.sim import load_model
from dva.sim.mjcf.published import INERTIA_CHOICES
from dva.sim.model import FREE, PRISMATIC, REVOLUTE

from .robots import DATA, recorded_model, write_crawler

ROBOTS = ("cartpole_prev", "hopper", "cheetah", "ant")


@pytest.mark.parametrize("name", ROBOTS)
def test_robot_equals_the_recorded_numbers(name: str):
    recorded = np.load(DATA / f"{name}.npz")
    model = recorded_model(name)
    # The recorded cartpole has a fixed joint to the world, which we merge away.
    moving = np.flatnonzero(recorded["model/joint_type"] != 3)
    kinds = {0: PRISMATIC, 1: REVOLUTE, 4: FREE}
    assert [kinds[t] for t in recorded["model/joint_type"][moving]] == list(model.link_joint)

    def close(ours, key: str, rows: Any = slice(None), rtol: float = 2e-7):
        np.testing.assert_allclose(ours, recorded[f"model/{key}"][rows], rtol=rtol, atol=1e-8)

    close(model.link_axis, "joint_axis", moving)
    close(model.link_mass, "body_mass", moving, rtol=1e-12)
    close(model.link_com, "body_com", moving)
    close(model.link_inertia, "body_inertia", moving, rtol=1e-10)
    close(model.dof_armature, "joint_armature")
    # These have an entry for each link or coordinate, of which that of a free joint says nothing.
    one = np.flatnonzero(model.link_joint != FREE)
    dof, link = model.link_dof[one], moving[one]
    coordinate = recorded["model/joint_q_start"][link]
    close(model.dof_stiffness[dof], "joint_target_ke", link)
    close(model.dof_damping[dof], "joint_target_kd", link)
    close(model.dof_target[dof], "joint_target", coordinate)
    close(model.dof_limit_stiffness[dof], "joint_limit_ke", link)
    close(model.dof_limit_damping[dof], "joint_limit_kd", link)
    lower, upper = np.clip(model.dof_limit[dof], -1e6, 1e6).T  # the recorded "no limit"
    close(lower, "joint_limit_lower", coordinate)
    close(upper, "joint_limit_upper", coordinate)
    assert list(np.flatnonzero(model.dof_action >= 0)) == list(recorded["model/action_dof"])
    close(model.dof_gear[recorded["model/action_dof"]], "action_scale")
    start, _ = to_recorded(model, *(torch.tensor(x) for x in (model.initial_q, model.dof_armature)))
    close(start.numpy(), "initial_q")


@pytest.mark.parametrize("name", ("hopper", "cheetah", "ant"))
def test_robot_touches_the_ground_where_recorded(name: str):
    recorded = np.load(DATA / f"{name}.npz")
    model = recorded_model(name)
    rows = lambda *columns: sorted(  # noqa: E731
        (
            int(i),
            *np.round(p.astype(float), 6) + 0.0,
            round(float(r), 6),
            *np.round(m.astype(float), 4),
        )
        for i, p, r, m in zip(*columns, strict=True)
    )
    ours = (model.contact_link, model.contact_point, model.contact_radius, model.contact_material)
    keys = ("contact_body", "contact_point", "contact_dist", "contact_material")
    assert rows(*ours) == rows(*(recorded[f"model/{key}"] for key in keys))


@pytest.mark.parametrize("name", ("cartpole", "hopper", "cheetah", "ant"))
def test_physical_inertias_are_mujocos(name: str):
    model = load_model(robots.mjcf_path(name))
    m = mujoco.MjModel.from_xml_path(str(model.path))
    for body in range(1, m.nbody):
        link = model.body_link[body]
        if link >= 0:
            axes = np.zeros(9)
            mujoco.mju_quat2Mat(axes, m.body_iquat[body])
            axes = axes.reshape(3, 3)
            tensor = axes @ np.diag(m.body_inertia[body]) @ axes.T
            np.testing.assert_allclose(model.link_inertia[link], tensor, atol=1e-12)


def test_published_inertias_are_wrong_where_a_geom_is_turned():
    both = {kind: load_model(robots.mjcf_path("ant"), inertia=kind) for kind in INERTIA_CHOICES}
    difference = both["physical"].link_inertia - both["published"].link_inertia
    # About z, around which they are turned, all is well; the shoulders' errors add up in the torso.
    np.testing.assert_allclose(difference[:, 2, 2], 0, atol=1e-8)
    assert (np.abs(difference).max((1, 2)) > 0.01).all()
    same = {kind: load_model(robots.mjcf_path("cartpole"), inertia=kind) for kind in both}
    np.testing.assert_allclose(same["physical"].link_inertia, same["published"].link_inertia)


def test_published_inertias_of_welded_bodies_are_merged(tmp_path):
    path = write_crawler(tmp_path)
    tensors = {"trunk": np.diag([1.0, 2.0, 3.0]), "head": np.diag([0.1, 0.2, 0.4])}
    tensors |= {name: np.eye(3) for name in ("hip", "foot")}
    bodies = {name: tensor.tolist() for name, tensor in tensors.items()}
    (tmp_path / "crawler.inertia.json").write_text(json.dumps({"source": "-", "bodies": bodies}))
    model, physical = load_model(path, inertia="published"), load_model(path)
    np.testing.assert_array_equal(model.link_com, physical.link_com)
    m = mujoco.MjModel.from_xml_path(str(path))
    masses = m.body_mass[1:3]
    reduced = masses.prod() / masses.sum()
    offset = m.body("head").pos  # both geoms are at their body's origin
    steiner = reduced * (offset @ offset * np.eye(3) - np.outer(offset, offset))
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, m.body("head").quat)
    turn = turn.reshape(3, 3)
    expected = tensors["trunk"] + turn @ tensors["head"] @ turn.T + steiner
    np.testing.assert_allclose(model.link_inertia[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, 'no published inertias.*inertia="physical"'),
        ("[1", "cannot be read"),
        ('{"bodies": {"trunk": [[1]]}}', "those with mass in crawler.xml are"),
        (json.dumps({"bodies": dict.fromkeys(("trunk", "head", "hip", "foot"), [[1]])}),
         "symmetric 3 x 3"),
        *(
            (json.dumps({"bodies": dict.fromkeys(
                ("trunk", "head", "hip", "foot"), [[1, 0, 0], [0, 1, 0], [0, 0, value]])}),
             "of finite numbers")
            for value in (float("nan"), float("inf"), 1e30, -1.0)
        ),
    ],
)  # fmt: skip
def test_bad_published_inertias_are_refused(tmp_path, text: str | None, message: str):
    path = write_crawler(tmp_path)
    if text is not None:
        (tmp_path / "crawler.inertia.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_model(path, inertia="published")
    with pytest.raises(ValueError, match="inertia is 'guessed'; allowed: physical, published"):
        load_model(path, inertia="guessed")


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
        (mjcf(GEOM), "no joint"),
        (mjcf(HINGE + GEOM, "<actuator><motor joint='j'/></actuator>"),
         "actuators without ctrlrange, such as number 0"),
        ("<mujoco><worldbody>", "MuJoCo cannot compile"),
    ],
)  # fmt: skip
def test_errors_say_what_to_change(tmp_path, text: str, message: str):
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_a_file_that_is_no_mjcf(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("# Notes")
    with pytest.raises(ValueError, match=r"must end in \.xml \(MJCF\) or \.urdf"):
        load_model(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="No MJCF file"):
        load_model(tmp_path / "none.xml")
