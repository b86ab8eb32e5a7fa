"""An algorithm in one file: random search for a linear policy of the state.

    dva train cartpole --algo random_search:random-search --observe state --env-steps 200000

In every iteration each environment tries a perturbed copy of the policy from a new start; the copy
that earned most replaces the policy if it did better than the last winner.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dva.compute.arguments import require
from dva.compute.random_streams import stream_seed
from dva.envs import Environment
from dva.learning import AlgorithmEntry, Metrics, TrainingContext, register
from dva.policies import NO_MEMORY
from dva.spec import ActionSpec, Observation, ObservationSpec, StateTensors


@dataclass
class RandomSearchConfig:
    """Hyperparameters of the search."""

    horizon: int = 120
    """Steps for which a perturbed policy is tried."""
    scale: float = 0.3
    """Standard deviation of the perturbations."""

    def __post_init__(self) -> None:
        require("horizon", self.horizon, self.horizon >= 1, "1 or more")
        require("scale", self.scale, self.scale > 0.0, "above 0")


class LinearPolicy(nn.Module):
    """Takes actions tanh(W x + b) of all vectors x in the observation."""

    def __init__(self, observation_spec: ObservationSpec, action_spec: ActionSpec) -> None:
        super().__init__()
        if observation_spec.images:
            raise ValueError(
                f"Random search reads vectors, and {observation_spec.images[0].name!r} is an image."
                " Use --observe state."
            )
        self.observation_spec, self.action_spec = observation_spec, action_spec
        inputs = sum(entry.stacked_shape[0] for entry in observation_spec.vectors)
        self.weight = nn.Parameter(torch.zeros(action_spec.size, inputs + 1), requires_grad=False)

    def features(self, observation: Observation) -> Tensor:
        """Joins the vectors and a constant 1: (n, inputs + 1)."""
        parts = [observation[name] for name in self.observation_spec]
        return torch.cat([*parts, torch.ones_like(parts[0][:, :1])], dim=1)

    def initial_state(self, n: int) -> StateTensors:
        return NO_MEMORY

    def reset(self, state: StateTensors, done: Tensor) -> StateTensors:
        return state

    @torch.no_grad()
    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        return torch.tanh(self.features(observation) @ self.weight.T), state

    def description(self) -> dict[str, Any]:
        return {
            "observation": self.observation_spec.to_dict(),
            "action": self.action_spec.to_dict(),
        }

    @classmethod
    def rebuild(
        cls, description: Mapping[str, Any], device: torch.device, threads: int | None = None
    ) -> "LinearPolicy":
        observation = ObservationSpec.from_dict(description["observation"])
        return cls(observation, ActionSpec.from_dict(description["action"])).to(device)


class RandomSearch:
    """Keeps the best of N perturbed policies in every iteration."""

    large_state = None

    def __init__(
        self, env: Environment, config: RandomSearchConfig, context: TrainingContext
    ) -> None:
        self.env, self.config = env, config
        self.policy = LinearPolicy(env.policy_spec, env.action_spec).to(env.device)
        seed = stream_seed(context.seed, "search")
        self.generator = torch.Generator(env.device).manual_seed(seed)
        self.env_steps = 0
        self.best = -math.inf
        env.reset()

    @torch.no_grad()
    def iterate(self) -> Metrics:
        env, weight = self.env, self.policy.weight
        shape = (env.num_envs, *weight.shape)
        noise = torch.randn(shape, generator=self.generator, device=env.device)
        noise[0] = 0.0  # the first environment tries the policy as it is
        tried = weight + self.config.scale * noise
        observation = env.reset()
        earned = torch.zeros(env.num_envs, device=env.device)
        alive = torch.ones(env.num_envs, device=env.device)
        for _ in range(self.config.horizon):
            features = self.policy.features(observation)
            action = torch.tanh((tried @ features[:, :, None])[..., 0])
            observation, reward, terminated, truncated, _ = env.step(action)
            earned += alive * reward
            alive *= (~(terminated | truncated)).float()
        self.env_steps += env.num_envs * self.config.horizon
        winner = int(earned.argmax())
        better = earned[winner].item() > self.best
        if better:
            self.best = earned[winner].item()
            weight.copy_(tried[winner])
        return {
            "return": earned[0].item(),
            "episode_length": float(self.config.horizon),
            "best_return": self.best,
            "updates": 1,
            "skipped_updates": 0,
        }

    def state_dict(self) -> dict[str, Tensor]:
        return {
            **{f"policy.{name}": value for name, value in self.policy.state_dict().items()},
            **{f"env.{name}": value for name, value in self.env.state_dict().items()},
            "generator": self.generator.get_state(),
            "best": torch.tensor(self.best if math.isfinite(self.best) else -1e30),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)}

        self.policy.load_state_dict(part("policy."))
        self.env.load_state_dict(part("env."))
        self.generator.set_state(state["generator"].cpu())
        self.best, self.env_steps = float(state["best"]), int(state["env_steps"])


register(
    AlgorithmEntry(
        "random-search",
        "Random search for a linear policy of vectors.",
        RandomSearchConfig,
        RandomSearch,
        LinearPolicy,
        presets=("default",),
    )
)
