"""DrQ-v2: a deterministic policy of pixels, learned from a replay of randomly shifted images.

Every action that the environments take is followed by some updates:

1. both images of a batch are shifted at random, and encoded;
2. critics and encoder: two values of the action, fitted to the n-step return and the lower one of
   two target values of the policy's next action, with noise;
3. actor: upwards on the lower value of its own action, without a gradient to the encoder;
4. the target critics follow slowly.

With states instead of images nothing is shifted, and there is no encoder.

Source: Yarats, Fergus, Lazaric, Pinto, "Mastering Visual Continuous Control: Improved
Data-Augmented Reinforcement Learning", arXiv 2107.09645, algorithm 1; hyperparameters of D.Va,
Tables 2 to 4.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dva.compute.arguments import require
from dva.compute.errors import require_known
from dva.compute.random_streams import stream_seed
from dva.envs import Environment
from dva.learning.algorithm import PRESETS, AlgorithmEntry, Preset, TrainingContext
from dva.learning.critic import update_target
from dva.learning.off_policy.augmentation import augment, shift_randomly
from dva.learning.off_policy.config import (
    OffPolicyConfig,
    Values,
    build_preset,
    require_rates,
    require_shares,
)
from dva.learning.off_policy.learner import OffPolicyLearner, descend
from dva.learning.optimizer import ClippedAdam, linear_learning_rate
from dva.learning.registry import register
from dva.learning.steps import Transitions
from dva.policies import RepeatingPolicy
from dva.policies.off_policy import Seen, TwinCritic
from dva.spec import Observation

__all__ = ["DrQV2", "DrqV2Config"]

BETAS = (0.9, 0.999)
"""Adam's decay rates, which the papers leave as they usually are."""
SHIFTED_SIZE = 84
"""Size of the images that the published shift is for [pixels]."""


@dataclass
class DrqV2Config(OffPolicyConfig):
    """Hyperparameters of DrQ-v2."""

    n_step: int = 3
    """Actions whose rewards a target sums up before it takes a value."""
    learning_rate: float = 1e-4
    """Learning rate of encoder, actor and critics."""
    target_rate: float = 0.01
    """Share of the way that the target critics move to the critics in an update."""
    noise_first: float = 1.0
    """Standard deviation of the exploration noise at the first step."""
    noise_final: float = 0.1
    """The same after noise_steps."""
    noise_steps: int = 500_000
    """Environment steps in which it falls, linearly."""
    noise_clip: float = 0.3
    """Largest noise of an action that is learned from; explored ones have all of it."""
    mean_penalty: float = 0.0
    """Weight of the squared means before tanh in the actor's loss: it keeps them where tanh has a
    slope. In the units of scaled rewards."""
    shift: float = 4.0
    """Largest random shift of images of 84 pixels; others are shifted in proportion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("n_step", self.n_step, 1 <= self.n_step <= 1000, "between 1 and 1000")
        require("noise_steps", self.noise_steps, self.noise_steps >= 1, "1 or more")
        for name in ("noise_first", "noise_final", "noise_clip", "shift", "mean_penalty"):
            value = getattr(self, name)
            require(name, value, 0.0 <= value < math.inf, "0 or more")
        require_rates(self, "learning_rate")
        require_shares(self, "target_rate")


class DrQV2(OffPolicyLearner):
    """Trains a deterministic policy. See `OffPolicyLearner`."""

    config: DrqV2Config
    parts = (
        "env", "replay", "critic", "target_critic", "critic_optimizer", "actor_optimizer"
    )  # fmt: skip

    def __init__(self, env: Environment, config: DrqV2Config, context: TrainingContext) -> None:
        super().__init__(env, config, context)
        self.n_step = config.n_step
        # Parameters are drawn on the CPU: a seed means the same policy on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(context.seed, "networks"))
            self.policy = RepeatingPolicy(
                env.policy_spec,
                env.action_spec,
                config.trunk_size,
                config.hidden,
                squash=True,
                gaussian=False,
                action_repeat=config.action_repeat,
                precision=config.precision,
                device=self.device,
            )
            self.critic = TwinCritic(
                self.policy.encoders, env.action_spec.size, config.trunk_size, True, config.hidden
            ).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        seeing = [*self.policy.encoders.parameters(), *self.critic.parameters()]
        self.critic_optimizer = ClippedAdam(seeing, BETAS, math.inf)
        self.actor_optimizer = ClippedAdam(self.policy.actor.parameters(), BETAS, math.inf)
        sight = ("visual_feedback",) if env.policy_spec.images else ()
        self.metric_names = ("critic_loss", "actor_loss", "value", "action_std", *sight)
        self.noise = torch.zeros((), device=self.device)
        """Standard deviation of the exploration noise in the present iteration."""

    def set_learning_rates(self) -> float:
        """Sets the learning rate, and the noise that the schedule has for this iteration."""
        config = self.config
        for optimizer in (self.critic_optimizer, self.actor_optimizer):
            optimizer.set_learning_rate(config.learning_rate)
        # The schedule has a plan of its own, as the paper's.
        self.noise.fill_(
            linear_learning_rate(
                config.noise_first, config.noise_final, self.env_steps, config.noise_steps
            )
        )
        return config.learning_rate

    def explore(self, observation: Observation) -> Tensor:
        """Adds noise to the policy's actions, and cuts them off at -1 and 1."""
        mean = torch.tanh(self.policy.mean(self.policy.see(observation)))
        noise = torch.randn(
            mean.shape, generator=self.generators["exploration"], device=mean.device
        )
        return (mean + self.noise * noise).clamp(-1.0, 1.0)

    def update(self, batch: Transitions, number: int) -> dict[str, Tensor]:
        """Updates critics and encoder, then the actor, then the target critics."""
        seen = self.see(batch.observation)
        with torch.no_grad():
            target = self.target(batch)
        values = self.critic(seen, batch.action)
        critic_loss = (values - target).square().mean(1).sum()
        skipped = descend(critic_loss, self.critic_optimizer)
        seen = seen.detach()
        mean = self.policy.mean(seen)
        own = self.critic(seen, self.noisy(torch.tanh(mean))).amin(0)
        penalty = self.config.mean_penalty * mean.square().sum(1)
        actor_loss = (penalty - own).mean()
        skipped = torch.maximum(skipped, descend(actor_loss, self.actor_optimizer))
        update_target(self.target_critic, self.critic, 1.0 - self.config.target_rate)
        return {
            "critic_loss": critic_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "value": values.detach().mean(),
            "visual_feedback": mean.detach().var(0, correction=0).mean().sqrt(),
            "action_std": self.noise.clone(),
            "skipped": skipped,
        }

    def see(self, observation: Observation) -> Seen:
        """Shifts the images of a batch at random, and encodes them."""
        shifted = augment(observation, self.env.policy_spec, self._shift)
        return self.policy.see(shifted)

    def target(self, batch: Transitions) -> Tensor:
        """Computes what both values shall be, (B,): r + discount min(Q1', Q2')(o', a')."""
        seen = self.see(batch.next_observation)
        action = self.noisy(torch.tanh(self.policy.mean(seen)))
        lower = self.target_critic(seen, action).amin(0)
        return batch.reward + batch.discount * lower

    def noisy(self, mean: Tensor) -> Tensor:
        """Adds clipped noise to actions (B, A), and cuts them off at -1 and 1; the gradient passes
        as if they had not been cut."""
        generator = self.generators["updates"]
        noise = self.noise * torch.randn(mean.shape, generator=generator, device=mean.device)
        limit = self.config.noise_clip
        action = mean + noise.clamp(-limit, limit)
        return action + (action.clamp(-1.0, 1.0) - action).detach()

    def _shift(self, images: Tensor) -> Tensor:
        pad = round(self.config.shift * images.shape[-1] / SHIFTED_SIZE)
        return shift_randomly(images, pad, self.generators["updates"])


# D.Va, Tables 2 to 4. The planned steps, on which nothing but the end depends, are ours.
_PAPER: Values = {"num_envs": 32, "updates": 16, "env_steps": 3_000_000}
_PAPER_TASKS: dict[str, Values] = {
    "cartpole": {"num_envs": 16, "updates": 8, "env_steps": 1_000_000},
    "humanoid": {
        "learning_rate": 8e-5, "noise_steps": 2_000_000, "trunk_size": 100, "env_steps": 10_000_000,
    },
}  # fmt: skip

# What a CPU changes: smaller images, networks and batches; twice the updates for an action, and
# noise that falls sooner.
_CPU: Values = {
    "image_size": 48, "num_envs": 8, "updates": 8, "batch_size": 64, "hidden": (256, 256),
    "trunk_size": 50, "learning_rate": 3e-4, "reward_scale": 0.1, "mean_penalty": 0.01,
    "seed_steps": 2_000, "noise_steps": 100_000, "replay_steps": 200_000, "replay_gigabytes": 2.0,
    "env_steps": 500_000,
}  # fmt: skip
_CPU_TASKS: dict[str, Values] = {
    "cartpole": {
        "num_envs": 4, "updates": 4, "seed_steps": 1_000, "noise_steps": 15_000,
        "env_steps": 50_000,
    },
}  # fmt: skip

# What a GPU changes: it takes many environments and large updates as easily as few and small ones.
_FAST: Values = {
    "num_envs": 128, "updates": 16, "batch_size": 512, "learning_rate": 3e-4, "reward_scale": 0.1,
    "mean_penalty": 0.01,
}  # fmt: skip


def _preset(task: str, name: str, observe: tuple[str, ...] | None) -> Preset:
    require_known("preset", name, PRESETS)
    values = {**_PAPER, **_PAPER_TASKS.get(task, {})}
    if name == "cpu":
        values |= {**_CPU, **_CPU_TASKS.get(task, {})}
    if name == "fast":
        values |= _FAST
    return build_preset(DrqV2Config, values, observe)


register(
    AlgorithmEntry(
        "drqv2",
        "DrQ-v2: critics and a deterministic policy from a replay of shifted images (or states).",
        DrqV2Config,
        DrQV2,
        RepeatingPolicy,
        _preset,
        final_observations=True,
        threads_inside=True,
    )
)
