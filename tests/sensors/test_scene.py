# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from typing import Any

import mujoco
import numpy as np
import pytest

from dva import robots
from dva.sensors import Scene, View, compose_scene


def test_scene_adds_nothing_that_moves_or_touches() -> None:
    path = robots.mjcf_path("hopper")
    view = View((0.0, -3.0, 1.0), (0.0, 0.0, 1.0), mount="torso", follow="x")
    plain = mujoco.MjModel.from_xml_path(str(path))
    composed = compose_scene(path, view, Scene()).compile()
    assert [composed.body(i).name for i in range(composed.nbody)] == [
        plain.body(i).name for i in range(plain.nbody)
    ]
    assert composed.nq == plain.nq and composed.ngeom == plain.ngeom + 2
    np.testing.assert_array_equal(composed.body_mass, plain.body_mass)
    for name in ("dva_floor", "dva_wall"):
        assert composed.geom(name).contype == 0 and composed.geom(name).conaffinity == 0


def test_camera_of_the_spec_looks_from_eye_to_target() -> None:
    view = View((1.0, -2.0, 3.0), (0.5, 0.0, 1.0), fovy=60.0, mount="torso", follow="z")
    model = compose_scene(robots.mjcf_path("hopper"), view, Scene(wall_y=None)).compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    torso_height = data.body("torso").xpos[2]
    camera = data.cam("dva_camera")
    np.testing.assert_allclose(camera.xpos, (1.0, -2.0, 3.0 + torso_height), atol=1e-12)
    forward = -camera.xmat.reshape(3, 3)[:, 2]
    to_target = np.array([-0.5, 2.0, -2.0])
    np.testing.assert_allclose(forward, to_target / np.linalg.norm(to_target), atol=1e-12)
    assert abs(camera.xmat.reshape(3, 3)[2, 0]) < 1e-12  # the horizon is level
    assert model.cam("dva_camera").fovy == 60.0


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_camera_may_look_along_z(direction: float) -> None:
    rotation = View((0.0, 0.0, 0.0), (0.0, 0.0, direction)).rotation
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_unknown_mount_names_the_bodies() -> None:
    view = View((0.0, -3.0, 1.0), (0.0, 0.0, 1.0), mount="tail")
    with pytest.raises(ValueError, match="'tail'.*torso, thigh, leg, foot"):
        compose_scene(robots.mjcf_path("hopper"), view, Scene())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fovy": 0.0}, "fovy is 0.0"),
        ({"follow": "xw"}, "'xw'"),
        ({"follow": "xx"}, "'xx'"),
        ({"eye": (0.0, 1.0)}, "View.eye"),
        ({"eye": (0.0, 0.0, float("nan"))}, "View.eye"),
        ({"eye": (0.0, 0.0, 1.0)}, "both"),
    ],
)
def test_view_refuses_what_cannot_be_rendered(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"eye": (0.0, -1.0, 0.0), "target": (0.0, 0.0, 1.0)}
    with pytest.raises(ValueError, match=message):
        View(**{**good, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checker_size": 0.0}, "checker_size is 0.0"),
        ({"wall_color": (1.2, 0.0, 0.0)}, "wall_color"),
        ({"light_direction": (0.0, 1.0, 0.0)}, "light_direction"),
        ({"shadow": 2.0}, "shadow is 2.0"),
    ],
)
def test_scene_refuses_what_cannot_be_rendered(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scene(**change)


def test_views_may_be_given_in_whole_numbers() -> None:
    whole = View(eye=(0, -2, 1), target=(0, 0, 1))
    np.testing.assert_allclose(whole.rotation, View((0.0, -2.0, 1.0), (0.0, 0.0, 1.0)).rotation)
