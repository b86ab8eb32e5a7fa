"""Stand-ins and makers that the tests of the environment share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import dva
from dva.envs import VectorEnv


class StandInCamera:
    """Paints every frame in one shade that tells the states apart, and counts its calls."""

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.calls = 0

    def render(self, joint_q: torch.Tensor) -> dict[str, torch.Tensor]:
        assert joint_q.isfinite().all()
        self.calls += 1
        shade = (joint_q[:, 0] * 1e4).long().remainder(256).to(torch.uint8)
        return {"rgb": shade[:, None, None, None].expand(-1, 3, self.size, self.size)}


class StandInSimulator:
    """Moves every coordinate by 0.01 a step plus what the action does; `spoil` makes it fail."""

    def __init__(self) -> None:
        self.spoil: dict[int, float] = {}

    def step(
        self, joint_q: torch.Tensor, joint_qd: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        joint_qd = joint_qd + action.mean(dim=1, keepdim=True)
        joint_q = joint_q + 0.01 + joint_qd / 60
        for env, value in self.spoil.items():
            row = torch.arange(len(joint_q)) == env
            joint_q = torch.where(row[:, None], value, joint_q)
        return joint_q, joint_qd


@pytest.fixture
def make() -> Callable[..., VectorEnv]:
    """Makes environments of 3 robots on the CPU, without camera unless asked."""

    def make_env(task: Any = "cartpole", **arguments: Any) -> VectorEnv:
        defaults: dict[str, Any] = {"num_envs": 3, "device": "cpu", "pixels": False, "threads": 1}
        return dva.make(task, **{**defaults, **arguments})

    return make_env


@pytest.fixture
def camera() -> StandInCamera:
    return StandInCamera()


@pytest.fixture
def simulator() -> StandInSimulator:
    return StandInSimulator()
