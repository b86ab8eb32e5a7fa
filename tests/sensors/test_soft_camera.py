import re
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import warp as wp

from dva import robots, tasks
from dva.sensors import Camera, DifferentiableCamera, Scene, View
from dva.sim import BALL, FREE, Model, load_model

ONE_SHAPE = """
<mujoco>
  <default><geom contype="0" mass="1" rgba="0.5 0.4 0.3 1"/></default>
  <worldbody>
    <body pos="0 0 1">
      <freejoint/>
      GEOM
    </body>
  </worldbody>
</mujoco>
"""
BALL_JOINTS = """
<mujoco>
  <default><geom contype="0" mass="1" rgba="0.5 0.4 0.3 1"/></default>
  <worldbody>
    <body pos="0 0 1" euler="20 30 0">
      <joint type="ball" pos="0 0 0.2"/>
      <geom type="box" size="0.1 0.2 0.15"/>
      <body pos="0.1 0 0.15" euler="0 40 0">
        <joint type="ball"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.06"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
SHAPES = {
    "sphere": '<geom type="sphere" pos="0.1 0 0" size="0.3"/>',
    "capsule": '<geom type="capsule" pos="0.1 0 0" size="0.15 0.3"/>',
    "cylinder": '<geom type="cylinder" pos="0.1 0 0" size="0.25 0.2"/>',
    "box": '<geom type="box" pos="0.1 0 0" size="0.2 0.25 0.3"/>',
    "two": '<geom type="capsule" size="0.1 0.3"/>'
    '<geom type="box" pos="0.1 0.1 0" size="0.2 0.1 0.1"/>',
}
VIEW = View(eye=(0.2, -2.0, 1.6), target=(0.1, 0.0, 0.9), fovy=50.0)


def random_poses(model: Model, start: torch.Tensor, spread: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    joint_q = start + spread * torch.randn(start.shape, generator=generator)
    for first in quaternions(model):
        joint_q[:, first : first + 4] /= joint_q[:, first : first + 4].norm(dim=1, keepdim=True)
    return joint_q


def quaternions(model: Model) -> list[int]:
    """Lists where a quaternion starts."""
    offset = {FREE: 3, BALL: 0}
    joints = zip(model.link_coordinate, model.link_joint, strict=True)
    return [int(first) + offset[joint] for first, joint in joints if joint in offset]


def without_length(model: Model, joint_q: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Removes the gradient along quaternions, in which there is no motion."""
    for start in quaternions(model):
        u, part = joint_q[:, start : start + 4].double(), gradient[:, start : start + 4]
        part -= u * (part * u).sum(1, keepdim=True)
    return gradient


def gradient_error(
    model: Model, view: View, scene: Scene, joint_q: torch.Tensor, eps: float = 1e-4
) -> torch.Tensor:
    """Compares the gradient of a weighted sum of pixels with central differences: (N,), relative.

    The weights are smooth over the picture, so that the sum is not noise. A pixel with a kink, such
    as a colour that saturates or a surface that turns from the light, falls on one side of it or
    the other: single poses agree less well than most.
    """
    n, size = len(joint_q), 64
    camera = DifferentiableCamera(model, view, scene, n, size, softness=1.5)
    noise = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))
    weights = torch.nn.functional.avg_pool2d(noise, 9, 1, 4)
    leaf = joint_q.clone().requires_grad_()
    (camera.render(leaf)["rgb"] * weights).sum().backward()
    assert leaf.grad is not None
    differences = torch.zeros(joint_q.shape, dtype=torch.float64)
    for k in range(joint_q.shape[1]):
        step = torch.zeros_like(joint_q)
        step[:, k] = eps
        images = [camera.render(joint_q + s * step)["rgb"].double() for s in (1.0, -1.0)]
        differences[:, k] = ((images[0] - images[1]) * weights).sum(dim=(1, 2, 3)) / (2 * eps)
    differences = without_length(model, joint_q, differences)
    found = without_length(model, joint_q, leaf.grad.double())
    assert differences.norm(dim=1).min() > 1.0
    return (found - differences).norm(dim=1) / differences.norm(dim=1)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_each_shape_on_the_ground(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "shape.xml"
    path.write_text(ONE_SHAPE.replace("GEOM", SHAPES[shape]))
    model = load_model(path)
    joint_q = random_poses(model, torch.tensor(model.initial_q).float().repeat(6, 1), 0.1)
    joint_q[0, 2] = 0.25  # partly in the ground
    even = Scene(light=0.0, ambient=0.8)  # without light there are no such kinks
    error = gradient_error(model, VIEW, even, joint_q)
    assert error.median() < 0.002 and error.max() < 0.01, error
    error = gradient_error(model, VIEW, Scene(), joint_q, eps=3e-5)
    assert error.median() < 0.01 and error.max() < 0.07, error


def test_gradient_of_ball_joints(tmp_path: Path) -> None:
    path = tmp_path / "balls.xml"
    path.write_text(BALL_JOINTS)
    model = load_model(path)
    joint_q = random_poses(model, torch.tensor(model.initial_q).float().repeat(6, 1), 0.3)
    even = Scene(light=0.0, ambient=0.8)
    error = gradient_error(model, VIEW, even, joint_q)
    assert error.median() < 0.002 and error.max() < 0.01, error


@pytest.mark.parametrize("name", tasks.names())
def test_gradient_of_each_robot(name: str) -> None:
    task = tasks.get(name)
    model = load_model(robots.mjcf_path(task.robot))
    start, _ = task.start(6, torch.Generator().manual_seed(0), torch.device("cpu"))
    error = gradient_error(model, task.view, task.scene, random_poses(model, start, 0.2))
    assert error.median() < 0.01 and error.max() < 0.05, error


@pytest.mark.parametrize("changes", [{"shadow": 0.0}, {"light": 0.0, "ambient": 0.8}])
def test_gradient_without_shadow_and_without_light(changes: dict[str, Any]) -> None:
    task = tasks.get("hopper")
    model = load_model(robots.mjcf_path(task.robot))
    start, _ = task.start(4, torch.Generator().manual_seed(0), torch.device("cpu"))
    error = gradient_error(model, task.view, Scene(**changes), random_poses(model, start, 0.2))
    assert error.median() < 0.01 and error.max() < 0.05, error


@pytest.mark.parametrize("name", tasks.names())
def test_with_less_softness_the_picture_tends_to_the_hard_one(name: str) -> None:
    task = tasks.get(name)
    model = load_model(robots.mjcf_path(task.robot))
    start, _ = task.start(4, torch.Generator().manual_seed(0), torch.device("cpu"))
    joint_q = random_poses(model, start, 0.2)
    hard = Camera(model, task.view, task.scene, 4, 84).render(joint_q)["rgb"].float()
    gaps = []
    for softness in (1.0, 0.3, 0.01):
        camera = DifferentiableCamera(model, task.view, task.scene, 4, 84, softness=softness)
        gaps.append((camera.render(joint_q)["rgb"] - hard).abs().mean().item())
    assert gaps[0] > gaps[1] > gaps[2], gaps
    # of 255 levels; half of one is lost by rounding down to bytes
    assert gaps[2] < 2.0, gaps


def test_inside_and_outside_of_silhouettes_the_picture_is_the_hard_one() -> None:
    task = tasks.get("humanoid")
    scene = Scene(floor_color=(0.6, 0.6, 0.6), floor_color2=(0.6, 0.6, 0.6))
    model = load_model(robots.mjcf_path(task.robot))
    joint_q, _ = task.start(2, torch.Generator().manual_seed(0), torch.device("cpu"))
    hard = Camera(model, task.view, scene, 2, 84).render(joint_q)["rgb"].float()
    soft = DifferentiableCamera(model, task.view, scene, 2, 84, softness=0.5).render(joint_q)["rgb"]
    equal = ((soft - 0.5 - hard).abs() <= 1.0).all(dim=1).float().mean()
    assert equal > 0.9, equal


def test_the_gradient_is_zero_where_nothing_is_seen_to_move() -> None:
    task = tasks.get("hopper")
    model = load_model(robots.mjcf_path(task.robot))
    plain = Scene(floor_color=(0.5, 0.5, 0.5), floor_color2=(0.5, 0.5, 0.5))
    camera = DifferentiableCamera(model, task.view, plain, 1, 48)
    joint_q = torch.zeros(1, 6, requires_grad=True)
    camera.render(joint_q)["rgb"].square().sum().backward()
    assert joint_q.grad is not None
    assert joint_q.grad[0, 0].abs() < 1e-3 * joint_q.grad[0].abs().max()  # the camera follows x


def test_threads_and_other_environments_change_nothing() -> None:
    task = tasks.get("ant")
    model = load_model(robots.mjcf_path(task.robot))
    start, _ = task.start(5, torch.Generator().manual_seed(0), torch.device("cpu"))
    results = []
    for n, threads in ((5, 1), (5, 3), (1, 1)):
        camera = DifferentiableCamera(model, task.view, task.scene, n, 48, threads=threads)
        joint_q = start[:n].clone().requires_grad_()
        first = camera.render(joint_q)["rgb"]
        camera.render(start[:n] + 0.1)  # between a picture and its gradient
        first.square().sum().backward()
        assert joint_q.grad is not None
        results.append((first.detach()[:1], joint_q.grad[:1]))
    for image, gradient in results[1:]:
        assert torch.equal(image, results[0][0]) and torch.equal(gradient, results[0][1])


class _Traced(torch.autograd.Function):
    """An identity whose node in the graph has a part that can be watched."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, parts: weakref.WeakSet) -> torch.Tensor:
        ctx.part = _Part()
        parts.add(ctx.part)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


class _Part:
    pass


@pytest.mark.parametrize("threads", [1, 2])
def test_a_gradient_leaves_nothing_of_its_graph_behind(threads: int) -> None:
    model = load_model(robots.mjcf_path("hopper"))
    camera = DifferentiableCamera(model, VIEW, Scene(), 2, 16, threads=threads)
    start = torch.tensor(model.initial_q, dtype=torch.float32).repeat(2, 1).requires_grad_()
    parts = weakref.WeakSet()
    for _ in range(2):
        camera.render(_Traced.apply(start, parts))["rgb"].sum().backward()
    assert not parts


def test_the_example_of_the_documentation_finds_the_pose() -> None:
    text = (Path(__file__).parents[2] / "docs" / "differentiable-camera.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["error"] < 1e-3, names["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"softness": 0.0}, "softness is 0.0"),
        ({"num_envs": 0}, "num_envs is 0"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    model = load_model(robots.mjcf_path("hopper"))
    good: dict[str, Any] = {"view": VIEW, "scene": Scene(), "num_envs": 2}
    with pytest.raises(ValueError, match=message):
        DifferentiableCamera(model, **(good | arguments))


def test_wrong_joint_positions_are_named() -> None:
    camera = DifferentiableCamera(load_model(robots.mjcf_path("hopper")), VIEW, Scene(), 2, 8)
    with pytest.raises(ValueError, match=r"\(5, 6\).*\(2, 6\).*num_envs"):
        camera.render(torch.zeros(5, 6))


def test_kernels_compile_for_cuda(tmp_path: Path) -> None:
    from dva.sensors.soft import kernels

    wp.compile_aot_module(
        kernels.soft_cast.module, arch=[90], module_dir=str(tmp_path), use_ptx=True
    )
    assert "soft_cast_adjoint" in next(tmp_path.glob("*.ptx")).read_text()
