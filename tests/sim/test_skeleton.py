"""Skeletons are read from robots that our own simulator refuses."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from dva import robots, tasks
from dva.sensors import Camera, Scene, View
from dva.sim import LinkPoses, Model, Skeleton, load_model, read_skeleton, to_mujoco
from dva.tasks import locomotion

from .robots import write_crawler

STRANGER = """
<mujoco>
  <worldbody>
    <body name="base" pos="0 0 1">
      <freejoint name="root"/>
      <geom type="ellipsoid" size=".1 .1 .2"/>
      <body name="arm" pos=".1 0 0">
        <joint name="elbow" axis="0 1 0" range="0 90" limited="true" frictionloss="1"/>
        <geom type="cylinder" size=".02 .1"/>
        <site name="tip" pos="0 0 .1"/>
      </body>
    </body>
  </worldbody>
  <tendon><fixed name="string"><joint joint="elbow" coef="1"/></fixed></tendon>
  <equality><joint joint1="elbow" polycoef="0 1 0 0 0"/></equality>
  <actuator>
    <position name="servo" joint="elbow" kp="10"/>
    <adhesion name="glue" body="arm" ctrlrange="0 1"/>
    <general name="puller" tendon="string" ctrlrange="-3 3"/>
  </actuator>
</mujoco>
"""


@pytest.fixture
def stranger(tmp_path):
    path = tmp_path / "stranger.xml"
    path.write_text(STRANGER)
    return path


def test_a_model_is_a_skeleton_and_more(tmp_path):
    crawler = write_crawler(tmp_path)
    for path in (crawler, *(robots.mjcf_path(name) for name in robots.robot_names())):
        model, skeleton = load_model(path), read_skeleton(path)
        assert isinstance(model, Skeleton) and not isinstance(skeleton, Model)
        for field in dataclasses.fields(Skeleton):
            np.testing.assert_array_equal(getattr(model, field.name), getattr(skeleton, field.name))


def test_what_the_simulator_refuses_is_none_of_its_business(stranger):
    with pytest.raises(ValueError, match="not simulated"):
        load_model(stranger)
    skeleton = read_skeleton(stranger)
    assert skeleton.action_names == ("servo", "glue", "puller")
    assert skeleton.joint_names == ("root", "elbow")
    assert (skeleton.num_coords, skeleton.num_dofs, skeleton.num_actions) == (8, 7, 3)
    assert (skeleton.link_mass > 0).all()
    assert to_mujoco(skeleton, torch.zeros(2, 8)).shape == (2, 8)


def test_cameras_need_no_more(stranger):
    skeleton = read_skeleton(stranger)
    assert LinkPoses(skeleton, 2, torch.device("cpu")).position.shape == (2, 1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        camera = Camera(skeleton, View((0, -2, 1), (0, 0, 1)), Scene(), 1, 16, renderer="mujoco")
    start = torch.tensor(skeleton.initial_q, dtype=torch.float32)[None]
    assert camera.render(start)["rgb"].float().std() > 0


def test_the_tasks_read_a_skeleton_alone():
    assert type(locomotion._robot(tasks.get("ant").mjcf)) is Skeleton


def test_no_joint_is_refused(tmp_path):
    path = tmp_path / "bad.xml"
    path.write_text("<mujoco><worldbody><body><geom size='.1'/></body></worldbody></mujoco>")
    with pytest.raises(ValueError, match="has no joint"):
        read_skeleton(path)
