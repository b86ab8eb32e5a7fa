"""Meshes of robots: closed, of the right size, and where the simulator's links are."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import dataclasses
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from dva import robots
from dva.sim import load_model, read_skeleton
from dva.sim.mass import InitialPose
from dva.viewer.live.geometry import Geometry, Part

SHAPES = """<mujoco><asset><mesh name="wedge" vertex="0 0 0 .3 0 0 0 .3 0 0 0 .3"/></asset>
<worldbody><geom type="plane" size="5 5 .1"/>
<body name="ball" pos="0 0 1"><freejoint/>
  <geom type="sphere" size=".2" rgba="1 0 0 1"/>
  <body name="bar" pos="1 0 0"><joint name="turn" axis="0 1 0" range="-30 60"/>
    <geom type="capsule" size=".1 .3" rgba="0 1 0 1"/></body>
  <body name="can"><joint type="slide"/>
    <geom type="cylinder" size=".1 .3" euler="90 0 0"/></body>
  <body name="brick"><joint/><geom type="box" size=".1 .2 .3" rgba="0 0 1 .5"/></body>
  <body name="egg"><joint/><geom type="ellipsoid" size=".1 .2 .3"/></body>
  <body name="wedge"><joint/><geom type="mesh" mesh="wedge"/></body>
  <body name="mass"><joint/><geom type="box" size="1 1 1" group="3"/></body>
</body></worldbody></mujoco>"""


@pytest.fixture
def shapes(tmp_path: Path) -> Geometry:
    path = tmp_path / "shapes.xml"
    path.write_text(SHAPES)
    return Geometry(path, read_skeleton(path))


def volume(part: Part) -> float:
    """The volume that a closed mesh holds, positive where faces look outwards."""
    a, b, c = (part.vertices[part.faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6.0)


def test_every_shape_is_closed_and_has_its_volume(shapes):
    sphere, capsule = 4 / 3 * np.pi * 0.2**3, np.pi * 0.1**2 * 0.6 + 4 / 3 * np.pi * 0.1**3
    expected = [
        sphere, capsule, np.pi * 0.1**2 * 0.6, 8 * 0.1 * 0.2 * 0.3,
        4 / 3 * np.pi * 0.1 * 0.2 * 0.3, 0.3**3 / 6,
    ]  # fmt: skip
    assert [part.body for part in shapes.parts] == [1, 2, 3, 4, 5, 6]  # no plane, no group 3
    for part, wanted in zip(shapes.parts, expected, strict=True):
        assert volume(part) == pytest.approx(wanted, rel=0.06)
    assert shapes.parts[0].color == (255, 0, 0) and shapes.parts[3].opacity == 0.5
    can = shapes.parts[2].vertices
    assert np.abs(can).max(0) == pytest.approx([0.1, 0.3, 0.1], abs=1e-6)  # it lies along y


def test_a_height_field_is_where_rays_of_mujoco_hit_it(tmp_path):
    heights = " ".join(f"{x:.3f}" for x in np.random.default_rng(4).uniform(size=12))
    path = tmp_path / "hills.xml"
    path.write_text(
        '<mujoco><asset><hfield name="hills" nrow="3" ncol="4" size="3 1 .5 .1" '
        f'elevation="{heights}"/></asset><worldbody>'
        '<geom type="hfield" hfield="hills" pos="1 2 .3"/>'
        '<body pos="0 0 5"><freejoint/><geom size=".1"/></body></worldbody></mujoco>'
    )
    geometry = Geometry(path, read_skeleton(path))
    assert geometry.ground_width() == 2.0
    field = next(part for part in geometry.parts if part.body == 0)
    assert field.vertices.shape == (12, 3) and field.faces.shape == (12, 3)
    compiled = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(compiled)
    mujoco.mj_kinematics(compiled, data)
    corners = field.vertices[field.faces]
    down, hit = np.array([0.0, 0.0, -1.0]), np.zeros(1, np.int32)
    for triangle in corners:
        assert np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])[2] > 0.0  # upwards
        x, y, z = triangle.T @ (0.98, 0.01, 0.01)  # just inside of the field's edges
        distance = mujoco.mj_ray(compiled, data, np.array([x, y, 4.0]), down, None, 1, 1, hit)
        assert 4.0 - distance == pytest.approx(z, abs=0.01)


def test_limits_are_those_of_the_file(shapes):
    assert shapes.joint_ranges() == {7: pytest.approx((-np.pi / 6, np.pi / 3))}


@pytest.mark.parametrize("robot", ["cartpole", "hopper", "ant", "humanoid"])
def test_bodies_are_where_the_links_of_the_simulator_are(robot):
    path = robots.mjcf_path(robot)
    model = load_model(path)
    generator = np.random.default_rng(3)
    joint_q = generator.uniform(-0.6, 0.6, model.num_coords)
    if model.link_joint[0] == 2:
        joint_q[3:7] /= np.linalg.norm(joint_q[3:7])
    geometry = Geometry(path, model)
    positions, quaternions = geometry.poses(torch.as_tensor(joint_q)[None])
    pose = InitialPose(dataclasses.replace(model, initial_q=joint_q))
    for body in range(1, len(model.body_names)):
        link = int(model.body_link[body])
        if link >= 0:
            expected = pose.place(link, model.body_frame[body, :3])
            np.testing.assert_allclose(positions[0, body], expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=-1), 1.0, atol=1e-9)
    drawn = {part.body for part in geometry.parts}
    assert drawn and all(len(part.faces) for part in geometry.parts)
