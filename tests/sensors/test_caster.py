from pathlib import Path

import pytest
import torch
import warp as wp

from dva import robots, tasks
from dva.sensors import OUTPUTS, Camera, Scene, View
from dva.sim import LinkPoses, WarpSimulator, load_model

SHAPES = """
<mujoco>
  <default><geom contype="0"/></default>
  <worldbody>
    <body name="base" pos="0 0 1">
      <joint type="slide" axis="1 0 0"/>
      <geom type="sphere" pos="-0.9 0 0.3" size="0.3" rgba="0.9 0.2 0.2 1"/>
      <geom type="capsule" pos="-0.2 0 0.3" euler="20 70 0" size="0.15 0.2" rgba="0.2 0.9 0.2 1"/>
      <geom type="cylinder" pos="0.5 0 0.3" euler="50 30 10" size="0.25 0.2" rgba="0.2 0.2 0.9 1"/>
      <geom type="box" pos="1.2 0 0.3" euler="30 20 40" size="0.2 0.25 0.3" rgba="0.9 0.9 0.2 1"/>
      <geom type="capsule" pos="0 -0.6 -0.5" euler="90 0 0" size="0.1 0.3"/>
      <geom type="cylinder" pos="0.5 -0.6 -0.5" euler="90 0 0" size="0.1 0.3"/>
      EXTRA
    </body>
  </worldbody>
</mujoco>
"""
VIEW = View(eye=(0.2, -3.0, 1.8), target=(0.2, 0.0, 1.0), fovy=50.0)


def pictures(path: Path, view: View, scene: Scene, joint_q: torch.Tensor, size: int = 84):
    return [
        Camera(
            load_model(path), view, scene, len(joint_q), size, outputs=OUTPUTS, renderer=renderer
        ).render(joint_q)
        for renderer in ("caster", "mujoco")
    ]


def assert_same_picture(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Pixels on an edge may fall to its other side by round-off: one in 2,000 may."""
    allowed = 1 / 2_000
    assert (one["segmentation"] != other["segmentation"]).float().mean() < allowed
    difference = (one["rgb"].int() - other["rgb"].int()).abs().amax(dim=1)
    assert (difference > 1).float().mean() < allowed
    assert ((one["depth"] - other["depth"]).abs() > 1e-3).float().mean() < allowed


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_looks_as_in_mujoco_warp(name: str) -> None:
    task = tasks.get(name)
    generator = torch.Generator().manual_seed(0)
    joint_q, _ = task.start(8, generator, torch.device("cpu"))
    joint_q = joint_q + 0.2 * torch.randn(joint_q.shape, generator=generator)
    if task.robot in ("ant", "humanoid", "anymal"):  # a free base: its quaternion has length 1
        joint_q[:, 3:7] /= joint_q[:, 3:7].norm(dim=1, keepdim=True)
    path = robots.mjcf_path(task.robot)
    assert_same_picture(*pictures(path, task.view, task.scene, joint_q))


@pytest.mark.parametrize(
    "scene",
    [
        Scene(),
        Scene(shadow=0.0),
        Scene(wall_y=None, far=20.0, sky_color=(0.1, 0.2, 0.3)),
        Scene(light_direction=(-0.5, -0.4, -1.0)),  # the wall keeps the light from everything
        Scene(floor_height=0.3, wall_y=0.5, checker_size=0.2, light=1.0, ambient=0.6, shadow=1.0),
    ],
)
def test_every_shape_and_scene_looks_as_in_mujoco_warp(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "shapes.xml"
    path.write_text(SHAPES.replace("EXTRA", ""))
    for view in (
        VIEW,
        View(eye=(1.0, -2.0, 4.0), target=(0.2, 0.0, 1.0), fovy=60.0),
        View(eye=(3.0, -3.0, 0.5), target=(0.0, 0.0, 1.0), fovy=40.0, mount="base", follow="xy"),
    ):
        assert_same_picture(*pictures(path, view, scene, torch.tensor([[0.0], [0.3]])))


@pytest.mark.parametrize(
    ("geom", "reason"),
    [
        ('<geom name="egg" type="ellipsoid" size="0.1 0.2 0.3"/>', "'egg', a ellipsoid"),
        ('<geom name="glass" size="0.1" rgba="1 1 1 0.5"/>', "'glass', which is not opaque"),
    ],
)
def test_other_geoms_are_left_to_mujoco_warp(geom: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "shapes.xml"
    path.write_text(SHAPES.replace("EXTRA", geom))
    model = load_model(path)
    assert Camera(model, VIEW, Scene(), 1, 16).renderer == "mujoco"
    with pytest.raises(ValueError, match=reason):
        Camera(model, VIEW, Scene(), 1, 16, renderer="caster")
    path.write_text(SHAPES.replace("EXTRA", geom.replace("<geom", '<geom group="3"')))
    assert Camera(load_model(path), VIEW, Scene(), 1, 16).renderer == "caster"


def test_unknown_renderer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shapes.xml"
    path.write_text(SHAPES.replace("EXTRA", ""))
    with pytest.raises(ValueError, match="'vulkan'.*auto, caster, mujoco"):
        Camera(load_model(path), VIEW, Scene(), 1, 16, renderer="vulkan")  # type: ignore[arg-type]


def test_link_poses_are_the_simulators() -> None:
    model = load_model(robots.mjcf_path("ant"))
    joint_q = torch.tensor(model.initial_q, dtype=torch.float32).repeat(2, 1)
    joint_q[1, 7:] += 0.3
    poses = LinkPoses(model, 2, torch.device("cpu"))
    poses.joint_q[:, 0] = joint_q
    for launch in poses.launches():
        wp.launch(**launch)
    expected = WarpSimulator(model, 2).body_poses(joint_q)
    torso = torch.from_numpy(poses.position.numpy()[:, 0, 0])
    torch.testing.assert_close(torso, expected[:, 1, :3], rtol=0, atol=1e-6)
