"""A differentiable point mass with painted pixels: the smallest environment for an algorithm."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from dva.envs import Transition
from dva.envs.frames import first_stack, newest, push, restart
from dva.sim import State
from dva.spec import ActionSpec, Entry, Observation, ObservationSpec


class PointMass:
    """N point masses pushed by forces; the reward is highest at rest at the origin.

    Episodes terminate where |x| > 2 and are truncated after `episode_length` steps. Pixels show
    the position, of all but the first `blind_envs`, which are added to the N. See
    `dva.envs.Environment`.
    """

    image_gradient = False
    images_with_gradient = ()
    recordable = True

    def __init__(
        self,
        num_envs: int = 6,
        episode_length: int = 12,
        image_size: int = 16,
        seed: int = 0,
        observe: tuple[str, ...] = ("pixels",),
        blind_envs: int = 0,
    ) -> None:
        self.num_envs, self.blind_envs = num_envs + blind_envs, blind_envs
        self.image_size = image_size
        self.device = torch.device("cpu")
        self.episode_length = episode_length
        self.simulator: Any = SimpleNamespace(differentiable=True)
        shape = (3, image_size, image_size)
        self.pixels = Entry("pixels", "image", shape, "uint8", 3, "", 0.0, 255.0)
        self.observation_spec = ObservationSpec((self.pixels, Entry("state", "vector", (4,))))
        self.policy_spec = self.observation_spec.select(observe)
        self.action_spec = ActionSpec(("x", "y"), 0.3)
        self.broken: int | None = None
        """Environment whose reward has a NaN gradient."""
        self.generator = torch.Generator().manual_seed(seed)
        line = torch.linspace(-2, 2, image_size)
        self._grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))

    @property
    def observation(self) -> Observation:
        return {"pixels": self.stack, "state": _describe(self.state)}

    def newest(self, name: str) -> Tensor:
        return newest(self.observation[name], self.observation_spec[name])

    def reset(self) -> Observation:
        self.state = self._start()
        self.steps = torch.arange(self.num_envs) % self.episode_length
        self.returns = torch.zeros(self.num_envs)
        self.limits = torch.full_like(self.steps, self.episode_length)
        self.stack = first_stack(self._paint(), 3)
        return self.observation

    def transition(self, state: State, action: Tensor) -> Transition:
        position, velocity = state.joint_q, state.joint_qd
        velocity = velocity + 0.3 * action - 0.1 * torch.sin(position)
        position = position + 0.3 * velocity
        reward = 1.0 - position.square().sum(-1) - 0.1 * velocity.square().sum(-1)
        if self.broken is not None:
            # The square root's slope at zero is infinite, times zero it is NaN.
            bad = (0.0 * action[self.broken]).sum().sqrt() * 0.0
            reward = (
                reward + torch.nn.functional.one_hot(torch.tensor(self.broken), self.num_envs) * bad
            )
        after = State(position, velocity)
        terminated = position.detach().abs().amax(-1) > 2.0
        finite = torch.zeros_like(terminated)
        return Transition(after, reward, _describe(after), terminated, finite)

    def step(self, action: Tensor) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        after = self.transition(self.state, action)
        self.steps = self.steps + 1
        self.returns = self.returns + after.reward.detach()
        truncated = self.steps >= self.limits
        done = after.terminated | truncated
        self.state = after.state
        final = push(self.stack, self._paint())
        info: dict[str, Any] = {
            "final_observation": {"pixels": final, "state": after.observation},
            "nonfinite": after.nonfinite,
            "episode_return": self.returns,
            "episode_length": self.steps,
        }
        self.state = after.state.where(done, self._start())
        self.steps = torch.where(done, 0, self.steps)
        self.returns = torch.where(done, 0.0, self.returns)
        self.limits = torch.where(done, self.episode_length, self.limits)
        self.stack = restart(final, self._paint(), done[self.blind_envs :])
        return self.observation, after.reward, after.terminated, truncated, info

    def without_sensors(self, seed: int, num_envs: int | None = None) -> "PointMass":
        count = num_envs or self.num_envs
        return PointMass(count, self.episode_length, self.image_size, seed, observe=("state",))

    def detach(self) -> None:
        self.state = self.state.detach()

    def begin_at(self, robots: Tensor, others: Tensor) -> None:
        self.state = self.state.replace(robots, self.state.detach().select(others))
        self.steps = self.steps.index_fill(0, robots, 0)
        self.returns = self.returns.index_fill(0, robots, 0.0)

    def stagger(self) -> None:
        self.limits = self.steps + 1 + torch.arange(self.num_envs) % self.episode_length

    def tensors(self) -> dict[str, Tensor]:
        return {
            **self.state.tensors(), "steps": self.steps, "returns": self.returns,
            "stack": self.stack, "limits": self.limits,
        }  # fmt: skip

    def put_tensors(self, tensors: dict[str, Tensor]) -> None:
        self.state = State(tensors["joint_q"], tensors["joint_qd"])
        self.steps, self.returns = tensors["steps"], tensors["returns"]
        self.stack, self.limits = tensors["stack"], tensors["limits"]

    def state_dict(self) -> dict[str, Tensor]:
        return {**self.tensors(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.put_tensors({name: value.clone() for name, value in state.items()})
        self.generator.set_state(state["generator"])

    def pop_seconds(self) -> dict[str, float]:
        return {"simulation": 0.0, "rendering": 0.0}

    def _start(self) -> State:
        drawn = 2.0 * torch.rand(self.num_envs, 4, generator=self.generator) - 1.0
        return State(drawn[:, :2], drawn[:, 2:])

    def _paint(self) -> Tensor:
        position = self.state.joint_q.detach()[self.blind_envs :, :, None, None]
        blob = torch.exp(-4.0 * (self._grid - position).square().sum(1, keepdim=True))
        ramp = (self._grid - position).clamp(-2, 2) / 4 + 0.5
        return (255 * torch.cat([blob, ramp], 1)).to(torch.uint8)


def _describe(state: State) -> Tensor:
    return torch.cat([state.joint_q, state.joint_qd], -1)
