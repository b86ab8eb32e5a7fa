"""Names of tasks, and a task of one's own."""

import subprocess
import sys
from dataclasses import dataclass, replace

import gymnasium
import pytest
import torch

import dva
from dva import robots, tasks
from dva.sensors import View
from dva.tasks import registry


@pytest.fixture(autouse=True)
def forget_new_tasks():
    known, ids = dict(registry._TASKS.entries), dict(gymnasium.registry)
    yield
    registry._TASKS.entries.clear()
    registry._TASKS.entries.update(known)
    gymnasium.registry.clear()
    gymnasium.registry.update(ids)


@dataclass(frozen=True)
class Slide(tasks.Task):
    """Slides the cart to x = 1 m and forgets the pole: all that a new task has to say."""

    name: str = "slide"
    description: str = "move the cart to the right"
    robot: str = str(robots.mjcf_path("cartpole"))
    episode_length: int = 5
    substeps: int = 4
    mass_matrix_interval: int = 4
    view: View = View(eye=(0.0, -4.0, 2.5), target=(0.0, 0.0, 2.5), fovy=60.0)

    def start(self, n, generator, device, stochastic=True):
        return tasks.uniform(n, (0.0, 0.0), 0.1 * stochastic, generator, device), torch.zeros(
            n, 2, device=device
        )

    def state_observation(self, joint_q, joint_qd, action):
        return torch.cat([joint_q, joint_qd, action], dim=1)

    def reward(self, joint_q, joint_qd, action):
        return -((joint_q[:, 0] - 1.0) ** 2)


def test_names_and_descriptions():
    assert {"cartpole", "hopper"} <= set(tasks.names())
    assert tasks.names() == sorted(tasks.names())
    for name in tasks.names():
        task = tasks.get(name)
        assert task.name == name and task.description and task.mjcf.is_file()


def test_task_file_is_all_that_a_new_task_needs():
    assert tasks.register(Slide()) == tasks.get("slide")
    env = dva.make("slide", num_envs=2, device="cpu", image_size=16)
    assert env.reset()["pixels"].shape == (2, 9, 16, 16) and env.state_size == 5
    action = torch.zeros(2, 1, requires_grad=True)
    for _ in range(5):
        _, reward, terminated, truncated, _ = env.step(action)
    assert truncated.all() and not terminated.any()
    reward.sum().backward()
    assert action.grad is not None and (action.grad > 0).all()
    assert gymnasium.make_vec("dva/Slide-v0", num_envs=2, observe="state").num_envs == 2


def test_variant_of_a_task():
    tasks.register(replace(tasks.get("hopper"), name="hopper-short", episode_length=10))
    assert dva.make("hopper-short", num_envs=1, observe="state").episode_length == 10
    assert "dva/HopperShort-v0" in gymnasium.registry


def test_an_unknown_robot_is_named_with_the_closest():
    with pytest.raises(ValueError, match="Did you mean 'cartpole'"):
        robots.mjcf_path("cartpol")


def test_wrong_tasks_are_refused():
    with pytest.raises(ValueError, match="exists already"):
        tasks.register(replace(tasks.get("hopper"), episode_length=10))
    tasks.register(replace(tasks.get("hopper"), episode_length=10), replace=True)
    assert tasks.get("hopper").episode_length == 10
    for name in ("", "My Task", "Hopper", "hopper-"):
        with pytest.raises(ValueError, match="is not allowed"):
            tasks.register(Slide(name=name))
    with pytest.raises(TypeError, match="takes a Task instance"):
        tasks.register(Slide)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="no robot file 'nowhere.xml'"):
        dva.make(Slide(robot="nowhere.xml"), num_envs=1, observe="state")
    with pytest.raises(ValueError, match=r"start\(\) of task 'slide'"):
        dva.make(Slide(robot="hopper"), num_envs=1, observe="state")


def test_importing_dva_alone_is_light():
    code = "import dva, sys; assert 'torch' not in sys.modules; print(dva.make.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-1] == "make"
    with pytest.raises(AttributeError, match="no attribute 'maek'"):
        _ = dva.maek  # pyright: ignore[reportAttributeAccessIssue]
