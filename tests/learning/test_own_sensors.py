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
