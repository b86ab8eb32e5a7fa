"""The doctor of robot files: a stock robot passes, and what is wrong is named."""

import dataclasses

import numpy as np
import pytest

from dva.cli import main
from dva.runs import robot_doctor
from dva.runs.robot_doctor import check_robot
from dva.sim import load_model

HOPPING_BOX = """
<mujoco>
  <compiler autolimits="true"/>
  <option density="1.2"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 1"/>
    <body name="box" pos="0 0 0.3">
      <freejoint/>
      <geom type="box" size="0.1 0.1 0.05" mass="2"/>
      <body pos="0 0 -0.05">
        <joint name="foot" type="slide" axis="0 0 1" range="-0.1 0.05" damping="5"/>
        <geom type="cylinder" size="0.04 0.02" pos="0 0 -0.1" mass="0.5"/>
      </body>
    </body>
  </worldbody>
  <actuator><position joint="foot" kp="200" ctrlrange="-0.1 0.05" timeconst="0.1"/></actuator>
</mujoco>
"""


@pytest.fixture
def robot(tmp_path):
    path = tmp_path / "box.xml"
    path.write_text(HOPPING_BOX)
    return path


def test_a_stock_robot_passes(robot):
    checks = list(check_robot(robot, ignore=("activation",)))
    assert [check for check in checks if not check.ok] == []
    assert [check.name for check in checks] == [
        "import", "ignored", "substeps", "mass matrix", "acceleration", "rest", "gradient",
        "picture",
    ]  # fmt: skip
    assert checks[0].detail.startswith("2 links, 7 dofs, 1 actions, 10 contacts, 1 tendons or")
    assert "not simulated, as asked: activation: activation of 1 actuators" in checks[1].detail
    assert "(MuJoCo's at 0." in checks[5].detail


@pytest.mark.parametrize("height", [0.1, 0.0995])
def test_a_robot_that_starts_in_touch_passes(tmp_path, height: float):
    """Just in touch there is no derivative; half a millimetre deep, the contact lifts it."""
    path = tmp_path / "ball.xml"
    path.write_text(
        '<mujoco><worldbody><geom type="plane" size="1 1 1"/>'
        f'<body pos="0 0 {height}"><freejoint/><geom type="sphere" size="0.1" mass="2"/>'
        '<body><joint name="arm" axis="0 1 0"/><geom contype="0" conaffinity="0" size="0.05" '
        'type="sphere" pos="0 0 -0.02" mass="0.2"/></body></body></worldbody>'
        '<actuator><motor joint="arm" ctrlrange="-1 1"/></actuator></mujoco>'
    )
    assert [check for check in check_robot(path) if not check.ok] == []


def test_meshes_are_measured(tmp_path):
    corners = " ".join(f"{x} {y} {z}" for x in (-1, 1) for y in (-1, 1) for z in (-1, 1))
    path = tmp_path / "mesh.xml"
    path.write_text(
        f'<mujoco><asset><mesh name="cube" vertex="{corners}"/></asset><worldbody>'
        '<body pos="0 0 2"><freejoint/><geom type="mesh" mesh="cube"/></body></worldbody></mujoco>'
    )
    details = {check.name: check.detail for check in check_robot(path)}
    assert details["meshes"].startswith("they touch with at most 26 vertices each, whose hull")
    assert details["meshes"].endswith("0 mm short of the whole (cube)")


def test_what_is_not_simulated_is_one_line(robot, capsys):
    assert main(["doctor", str(robot)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--ignore activation" in error
    assert main(["doctor", "cartpole", "--ignore", "activation"]) == 2
    assert "--ignore goes with a robot's file" in capsys.readouterr().err


def test_a_wrong_mass_is_found(robot, monkeypatch):
    def heavier(*arguments, **options):
        model = load_model(*arguments, **options)
        return dataclasses.replace(model, link_mass=model.link_mass * np.array([1.0, 1.01]))

    monkeypatch.setattr(robot_doctor, "load_model", heavier)
    checks = {check.name: check for check in check_robot(robot, ignore=("activation",))}
    assert not checks["mass matrix"].ok and not checks["acceleration"].ok
    assert "differs from MuJoCo's by" in checks["mass matrix"].detail
