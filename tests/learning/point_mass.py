"""A differentiable point mass with painted pixels: the smallest environment for a learner."""

from typing import Any

import torch
from torch import Tensor


class PointMass:
    """N point masses pushed by forces; the reward is highest at rest at the origin.

    Episodes terminate where |x| > 2 and are truncated after `episode_length` steps. Pixels show
    the position.
    """

    state_size = 4
    action_size = 2
    frame_stack = 3
    recordable = True

    def __init__(
        self, num_envs: int = 6, episode_length: int = 12, image_size: int = 16, seed: int = 0
    ) -> None:
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.episode_length = episode_length
        self.pixels_shape = (9, image_size, image_size)
        self.broken: int | None = None
        """Environment whose reward has a NaN gradient."""
        self.generator = torch.Generator().manual_seed(seed)
        line = torch.linspace(-2, 2, image_size)
        self._grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))

    def reset(self) -> dict[str, Tensor]:
        self.state = self._start()
        self.steps = torch.arange(self.num_envs) % self.episode_length
        self.returns = torch.zeros(self.num_envs)
        self.frame = self._paint()
        self.stack = self.frame.repeat(1, 3, 1, 1)
        return self._observation()

    def step(self, action: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, dict]:
        position, velocity = self.state.chunk(2, -1)
        velocity = velocity + 0.3 * action - 0.1 * torch.sin(position)
        position = position + 0.3 * velocity
        state = torch.cat([position, velocity], -1)
        reward = 1.0 - position.square().sum(-1) - 0.1 * velocity.square().sum(-1)
        if self.broken is not None:
            # The square root's slope at zero is infinite, times zero it is NaN.
            bad = (0.0 * action[self.broken]).sum().sqrt() * 0.0
            reward = (
                reward + torch.nn.functional.one_hot(torch.tensor(self.broken), self.num_envs) * bad
            )
        self.steps = self.steps + 1
        self.returns = self.returns + reward.detach()
        terminated = position.detach().abs().amax(-1) > 2.0
        truncated = self.steps >= self.episode_length
        done = terminated | truncated
        info: dict[str, Any] = {
            "final_observation": {"state": state},
            "nonfinite": torch.zeros_like(done),
            "episode_return": self.returns,
            "episode_length": self.steps,
        }
        self.state = torch.where(done[:, None], self._start(), state)
        self.steps = torch.where(done, 0, self.steps)
        self.returns = torch.where(done, 0.0, self.returns)
        self.frame = self._paint()
        older = torch.cat([self.stack[:, 3:], self.frame], 1)
        self.stack = torch.where(done[:, None, None, None], self.frame.repeat(1, 3, 1, 1), older)
        return self._observation(), reward, terminated, truncated, info

    def detach(self) -> None:
        self.state = self.state.detach()

    def tensors(self) -> dict[str, Tensor]:
        names = ("state", "steps", "returns", "stack")
        return {name: getattr(self, name) for name in names}

    def put_tensors(self, tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            setattr(self, name, value)
        self.frame = self.stack[:, -3:]

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "state": self.state, "steps": self.steps, "returns": self.returns, "stack": self.stack,
            "generator": self.generator.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.state, self.steps = state["state"].clone(), state["steps"].clone()
        self.returns, self.stack = state["returns"].clone(), state["stack"].clone()
        self.frame = self.stack[:, -3:]
        self.generator.set_state(state["generator"])

    def _start(self) -> Tensor:
        return 2.0 * torch.rand(self.num_envs, 4, generator=self.generator) - 1.0

    def _observation(self) -> dict[str, Tensor]:
        return {"pixels": self.stack, "state": self.state}

    def _paint(self) -> Tensor:
        position = self.state.detach()[:, :2, None, None]
        blob = torch.exp(-4.0 * (self._grid - position).square().sum(1, keepdim=True))
        ramp = (self._grid - position).clamp(-2, 2) / 4 + 0.5
        return (255 * torch.cat([blob, ramp], 1)).to(torch.uint8)
