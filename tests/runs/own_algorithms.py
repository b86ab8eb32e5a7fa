"""Small algorithms of a user's own, for tests of what runs do with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dva.policies import NO_MEMORY
from dva.spec import ActionSpec, ObservationSpec


@dataclass
class Config:
    horizon: int = 4


class Linear(nn.Module):
    """Acts by tanh(W x) of the state."""

    def __init__(self, observation_spec: ObservationSpec, action_spec: ActionSpec) -> None:
        super().__init__()
        self.observation_spec, self.action_spec = observation_spec, action_spec
        inputs = observation_spec.vectors[0].stacked_shape[0]
        self.weight = nn.Parameter(torch.randn(action_spec.size, inputs))

    def initial_state(self, n: int):
        return NO_MEMORY

    def reset(self, state, done):
        return state

    @torch.no_grad()
    def act(self, observation, state):
        return torch.tanh(observation["state"] @ self.weight.T), state

    def description(self) -> dict[str, Any]:
        return {
            "observation": self.observation_spec.to_dict(),
            "action": self.action_spec.to_dict(),
        }

    @classmethod
    def rebuild(cls, description, device, threads=None):
        observation = ObservationSpec.from_dict(description["observation"])
        return cls(observation, ActionSpec.from_dict(description["action"])).to(device)


class Plain:
    """Fits its actions to noise with torch's own Adam, whose state appears in training."""

    large_state = None
    policy_class: Any = Linear

    def __init__(self, env, config: Config, context) -> None:
        self.env, self.config, self.env_steps = env, config, 0
        self.policy = self.policy_class(env.policy_spec, env.action_spec).to(env.device)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=1e-2)
        self.best = torch.tensor(-torch.inf)
        self.observation = env.reset(seed=context.seed)

    def iterate(self) -> dict[str, Any]:
        for _ in range(self.config.horizon):
            action, _ = self.policy.act(self.observation, NO_MEMORY)
            self.observation, reward, *_ = self.env.step(action)
        self.env_steps += self.env.num_envs * self.config.horizon
        wanted = torch.randn(self.env.num_envs, self.env.action_spec.size)
        output = torch.tanh(self.observation["state"] @ self.policy.weight.T)
        loss = ((output - wanted) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        mean = reward.mean().item()
        return {"return": mean, "actor_loss": loss.item(), "updates": 1, "skipped_updates": 0}

    def state_dict(self) -> dict[str, Tensor]:
        moments = self.optimizer.state_dict()["state"]
        return {
            **{f"policy.{name}": value for name, value in self.policy.state_dict().items()},
            **{f"env.{name}": value for name, value in self.env.state_dict().items()},
            **{f"adam.{i}.{n}": x for i, entry in moments.items() for n, x in entry.items()},
            "best": self.best,
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)}

        self.policy.load_state_dict(part("policy."))
        self.env.load_state_dict(part("env."))
        self.observation = self.env.observation
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in part("adam.").items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.best = state["best"]
        self.env_steps = int(state["env_steps"])
