"""Policies of sensors of one's own: whole numbers, images with and without a gradient."""

from dataclasses import dataclass, field

import pytest
import torch
from small import small_dva, small_shac

import dva
from dva.envs import VectorEnv
from dva.sensors import SensorRequest
from dva.sim import State
from dva.spec import Entry


@dataclass
class Counts:
    """Reads joint positions in whole hundredths."""

    name: str = "counts"
    recordable: bool = True
    differentiable: bool = False
    entry: Entry = field(default_factory=lambda: Entry("counts", "vector", (2,), "int32"))

    def build(self, request: SensorRequest) -> "Counts":
        return self

    def read(self, state: State) -> torch.Tensor:
        return (state.joint_q.detach() * 100).to(torch.int32)


def make_env(*observe: str, sensors: tuple = (), **arguments) -> VectorEnv:
    return dva.make(
        "cartpole", 3, "cpu", observe=observe, sensors=sensors, image_size=24, threads=1,
        final_observations=False, **arguments,
    )  # fmt: skip


@pytest.mark.parametrize("small", [small_dva, small_shac])
def test_a_policy_of_whole_numbers_sees_them(small) -> None:
    algorithm = small(make_env("counts", sensors=(Counts(),)), horizon=4)
    for _ in range(2):
        algorithm.iterate()
    observation = algorithm.env.observation
    seen = algorithm.policy_input(observation)["counts"]
    assert seen.dtype == torch.float32 and not torch.equal(seen, seen.round())
    assert seen.std() > 0.1
    action, _ = algorithm.policy.act(observation, {})
    assert not torch.equal(action[0], action[1])


@dataclass
class Shade:
    """Paints the cart's position as a picture, with a gradient or without."""

    name: str = "shade"
    differentiable: bool = False
    recordable: bool = True

    def build(self, request: SensorRequest) -> "Shade":
        dtype = "float32" if self.differentiable else "uint8"
        shape = (1, *request.image_size)
        self.entry = Entry(self.name, "image", shape, dtype, 1, "", 0.0, 255.0)
        return self

    def read(self, state: State) -> torch.Tensor:
        shade = (state.joint_q[:, 0].tanh() * 100 + 127)[:, None, None, None]
        picture = shade.expand(-1, *self.entry.shape)
        return picture if self.differentiable else picture.detach().to(torch.uint8)


SOFT = {"camera": "differentiable", "image_gradient": True}


def test_shac_refuses_every_image_without_a_gradient_by_name() -> None:
    env = make_env("pixels", "shade", sensors=(Shade(),), **SOFT)
    assert env.images_with_gradient == ("pixels",) and not env.image_gradient
    with pytest.raises(ValueError, match=r"those of 'shade' do not: .* camera \"differentiable\""):
        small_shac(env, horizon=2)
    env = make_env("pixels", "shade", sensors=(Shade(differentiable=True),), **SOFT)
    assert env.images_with_gradient == ("pixels", "shade") and env.image_gradient
    assert small_shac(env, horizon=2).iterate()["nonfinite_count"] == 0
    assert not make_env("state").image_gradient


def test_dva_keeps_no_graph_of_images_that_have_one() -> None:
    algorithm = small_dva(make_env("pixels", **SOFT), horizon=3)
    assert algorithm.env.image_gradient
    frames = algorithm.rollout().frames["pixels"]
    assert not frames.frames.requires_grad
    assert algorithm.iterate()["nonfinite_count"] == 0
