"""CURL: soft actor-critic from pixels, whose encoder also learns to recognise its own images.

Every action that the environments take is followed by some updates:

1. crops at random places are cut out of the images of a batch, and encoded;
2. critics and encoder: two values of the action, fitted to the reward and the lower one of two
   target values of the policy's next action, plus its entropy;
3. in every second update actor and temperature, without a gradient to the encoder; then the target
   networks follow slowly;
4. encoder: of all images in the batch, it has to find the one of which it has seen another crop.

With states instead of images it is soft actor-critic alone, without crops and the last step.

Source: Laskin, Srinivas, Abbeel, "CURL: Contrastive Unsupervised Representations for Reinforcement
Learning", arXiv 2004.04136; Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", arXiv
1812.05905; hyperparameters of D.Va, Table 5.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dva.compute.arguments import require
from dva.compute.errors import require_known
from dva.compute.random_streams import stream_seed
from dva.envs import Environment
from dva.learning.algorithm import PRESETS, AlgorithmEntry, Preset, TrainingContext
from dva.learning.critic import update_target
from dva.learning.off_policy.augmentation import augment, crop_randomly
from dva.learning.off_policy.config import (
    OffPolicyConfig,
    Values,
    build_preset,
    require_rates,
    require_shares,
)
from dva.learning.off_policy.learner import OffPolicyLearner, descend
from dva.learning.optimizer import ClippedAdam
from dva.learning.registry import register
from dva.learning.steps import Transitions
from dva.policies import RepeatingPolicy
from dva.policies.off_policy import Seen, TwinCritic
from dva.spec import Observation

__all__ = ["Contrast", "CURL", "CurlConfig", "Temperature", "bound_log_std", "squashed_gaussian"]

LOG_STD_BOUNDS = (-10.0, 2.0)
"""Between these the log standard deviation of an action before tanh lies."""


@dataclass
class CurlConfig(OffPolicyConfig):
    """Hyperparameters of CURL; the defaults are the paper's (Table 5)."""

    updates: int = 8
    """Updates after each action that the environments have taken."""
    batch_size: int = 32
    """Transitions in one update."""
    seed_steps: int = 1_000
    """Environment steps of random actions before the first update, over all environments."""
    replay_steps: int = 100_000
    """Actions that the replay holds at most, over all environments."""
    replay_gigabytes: float = 4.0
    """Memory that the replay takes at most, GB: it holds fewer actions where they need more. The
    metric replay_capacity says how many it holds."""
    trunk_size: int = 128
    """Width of the layer between encoder and actor, and between encoder and critics, in which
    crops are compared."""
    crop_size: int = 84
    """Height and width of the crops; acting takes the middle of the image."""
    learning_rate: float = 1e-3
    """Learning rate of encoder, actor and critics."""
    adam_betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of Adam's two moments for them."""
    temperature_init: float = 0.1
    """Weight of the entropy at first."""
    temperature_learning_rate: float = 1e-4
    """Learning rate of its logarithm."""
    temperature_betas: tuple[float, float] = (0.5, 0.99)
    """Decay rates of Adam's two moments for it."""
    target_rate: float = 0.01
    """Share of the way that the target critics move to the critics when they follow."""
    encoder_target_rate: float = 0.05
    """The same for the target encoder, which gives the keys of the comparison."""
    actor_interval: int = 2
    """Updates between updates of actor, temperature and targets; a divisor of updates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_rates(self, "learning_rate", "temperature_learning_rate")
        require_shares(self, "target_rate", "encoder_target_rate")
        require("crop_size", self.crop_size, self.crop_size >= 15, "15 or more")
        init = self.temperature_init
        require("temperature_init", init, 0.0 < init < math.inf, "above 0")
        for name in ("adam_betas", "temperature_betas"):
            betas = getattr(self, name)
            valid = all(0.0 <= beta < 1.0 for beta in betas)
            require(name, betas, valid, "two numbers from 0 to below 1")
        interval = self.actor_interval
        valid = interval >= 1 and self.updates % interval == 0
        allowed = f"a divisor of updates, which is {self.updates}"
        require("actor_interval", interval, valid, allowed)


class Temperature(nn.Module):
    """Weighs the entropy so that it stays near a target. Source: SAC, section 5.

    Args:
        init: the weight at first.
        target: entropy that the policy shall have.
    """

    def __init__(self, init: float, target: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(init)))
        self.target = target

    def forward(self) -> Tensor:
        """Returns the weight, (), without graph."""
        return self.log.detach().exp()

    def loss(self, log_probability: Tensor) -> Tensor:
        """Computes what falls with the weight where the entropy, -log_probability (B,), is above
        its target."""
        return (self.log.exp() * (-log_probability - self.target).detach()).mean()


class Contrast(nn.Module):
    """Compares features of two crops by a bilinear product. Source: CURL, section 4.4.

    Args:
        size: number of features.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size, size))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Computes the mean cross-entropy, (), of finding each query's own key (B, size)."""
        similarity = queries @ self.weight @ keys.T
        return F.cross_entropy(similarity, torch.arange(len(keys), device=keys.device))


class CURL(OffPolicyLearner):
    """Trains a Gaussian policy squashed by tanh. See `OffPolicyLearner`.

    Raises:
        ValueError: the images are smaller than the crops.
    """

    config: CurlConfig
    parts = (
        "env", "replay", "critic", "target_critic", "target_encoders", "temperature", "contrast",
        "critic_optimizer", "actor_optimizer", "temperature_optimizer", "contrast_optimizer",
    )  # fmt: skip

    def __init__(self, env: Environment, config: CurlConfig, context: TrainingContext) -> None:
        for entry in env.policy_spec.images:
            allowed = f"at most the size of {entry.name!r}, {min(entry.shape[1:])} (--image-size)"
            fits = config.crop_size <= min(entry.shape[1:])
            require("crop_size", config.crop_size, fits, allowed)
        super().__init__(env, config, context)
        actions = env.action_spec.size
        # Parameters are drawn on the CPU: a seed means the same policy on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(context.seed, "networks"))
            self.policy = RepeatingPolicy(
                env.policy_spec,
                env.action_spec,
                config.trunk_size,
                config.hidden,
                squash=False,
                gaussian=True,
                action_repeat=config.action_repeat,
                crop=config.crop_size,
                precision=config.precision,
                device=self.device,
            )
            encoders = self.policy.encoders
            self.critic = TwinCritic(encoders, actions, config.trunk_size, False, config.hidden)
            self.critic.to(self.device)
            self.contrast = Contrast(config.trunk_size).to(self.device)
        self.temperature = Temperature(config.temperature_init, -float(actions)).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.target_encoders = copy.deepcopy(encoders).requires_grad_(False)
        self._make_optimizers()
        self.metric_names = (
            "critic_loss", "actor_loss", "value", "entropy", "temperature", "action_std"
        )  # fmt: skip
        if env.policy_spec.images:
            self.metric_names += ("contrastive_loss", "visual_feedback")

    def _make_optimizers(self) -> None:
        config, encoder = self.config, [*self.policy.encoders.parameters()]
        betas = config.adam_betas
        critic, head = self.critic.parameters(), self.critic.head.parameters()
        self.critic_optimizer = ClippedAdam([*encoder, *critic], betas, math.inf)
        self.actor_optimizer = ClippedAdam(self.policy.actor.parameters(), betas, math.inf)
        self.temperature_optimizer = ClippedAdam(
            self.temperature.parameters(), config.temperature_betas, math.inf
        )
        compared = [*encoder, *head, *self.contrast.parameters()]
        self.contrast_optimizer = ClippedAdam(compared, betas, math.inf)

    def set_learning_rates(self) -> float:
        """Sets the learning rates, which stay as they are; returns the actor's."""
        rate = self.config.learning_rate
        for optimizer in (self.critic_optimizer, self.actor_optimizer, self.contrast_optimizer):
            optimizer.set_learning_rate(rate)
        self.temperature_optimizer.set_learning_rate(self.config.temperature_learning_rate)
        return rate

    def explore(self, observation: Observation) -> Tensor:
        """Draws the policy's actions, for the middle of the images."""
        seen = self.policy.see(self.policy.center(observation))
        return self.sample(seen, self.generators["exploration"])[0]

    def update(self, batch: Transitions, number: int) -> dict[str, Tensor]:
        """Updates critics and encoder; at times actor, temperature and targets; the encoder."""
        crops = self.crop(batch.observation)
        seen = self.policy.see(crops)
        with torch.no_grad():
            target = self.target(batch)
        values = self.critic(seen, batch.action)
        critic_loss = (values - target).square().mean(1).sum()
        skips = [descend(critic_loss, self.critic_optimizer)]
        metrics = {"critic_loss": critic_loss.detach(), "value": values.detach().mean()}
        if number % self.config.actor_interval == 0:
            found, skipped = self._improve_actor(seen.detach())
            metrics |= found
            skips.append(skipped)
            self._follow()
        if self.env.policy_spec.images:
            loss = self.contrastive_loss(crops, self.crop(batch.observation))
            skips.append(descend(loss, self.contrast_optimizer))
            metrics["contrastive_loss"] = loss.detach()
        return {**metrics, "skipped": torch.stack(skips).amax()}

    def crop(self, observation: Observation) -> Observation:
        """Cuts a crop out of every image of a batch, at random places."""

        def cut(images: Tensor) -> Tensor:
            return crop_randomly(images, self.config.crop_size, self.generators["updates"])

        return augment(observation, self.env.policy_spec, cut)

    def sample(self, seen: Seen, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draws actions (B, A); also returns their log probability (B,) and what the actor says,
        means and log standard deviations before tanh (2, B, A)."""
        mean, free = self.policy.actor(seen).chunk(2, dim=1)
        log_std = bound_log_std(free)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        action, log_probability = squashed_gaussian(mean, log_std, noise)
        return action, log_probability, torch.stack([mean, log_std])

    def target(self, batch: Transitions) -> Tensor:
        """Computes what both values shall be, (B,): r + discount (min Q'(o', a') + entropy)."""
        crops = self.crop(batch.next_observation)
        action, log_probability, _ = self.sample(self.policy.see(crops), self.generators["updates"])
        seen = self.policy.see(crops, self.target_encoders)
        lower = self.target_critic(seen, action).amin(0)
        return batch.reward + batch.discount * (lower - self.temperature() * log_probability)

    def contrastive_loss(self, queries: Observation, keys: Observation) -> Tensor:
        """Compares crops of the same images: the encoder's features with the target encoder's."""
        found = self.critic.head.of_images(self.policy.see(queries))
        with torch.no_grad():
            seen = self.policy.see(keys, self.target_encoders)
            own = self.target_critic.head.of_images(seen)
        return self.contrast(found, own)

    def _improve_actor(self, seen: Seen) -> tuple[dict[str, Tensor], Tensor]:
        """Updates actor and temperature; returns metrics, and 1.0 if one was skipped."""
        action, log_probability, said = self.sample(seen, self.generators["updates"])
        own = self.critic(seen, action).amin(0)
        actor_loss = (self.temperature() * log_probability - own).mean()
        skipped = descend(actor_loss, self.actor_optimizer)
        loss = self.temperature.loss(log_probability)
        skipped = torch.maximum(skipped, descend(loss, self.temperature_optimizer))
        mean, log_std = said.detach()
        return {
            "actor_loss": actor_loss.detach(),
            "entropy": -log_probability.detach().mean(),
            "temperature": self.temperature(),
            "action_std": log_std.exp().mean(),
            "visual_feedback": mean.var(0, correction=0).mean().sqrt(),
        }, skipped

    def _follow(self) -> None:
        """Moves the target networks."""
        slow, fast = self.target_critic, self.critic
        encoder_alpha, alpha = (
            1.0 - self.config.encoder_target_rate, 1.0 - self.config.target_rate
        )  # fmt: skip
        update_target(self.target_encoders, self.policy.encoders, encoder_alpha)
        update_target(slow.head, fast.head, encoder_alpha)
        update_target(slow.first, fast.first, alpha)
        update_target(slow.second, fast.second, alpha)


def bound_log_std(free: Tensor) -> Tensor:
    """Maps any numbers into `LOG_STD_BOUNDS`, smoothly."""
    low, high = LOG_STD_BOUNDS
    return low + 0.5 * (high - low) * (torch.tanh(free) + 1.0)


def squashed_gaussian(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Computes actions tanh(mean + std * noise) (B, A) and the log of their density (B,).

    The density of x = mean + std * noise is divided by the slope of tanh, 1 - tanh(x)^2, whose log
    is 2 (log 2 - x - softplus(-2 x)).

    Source: SAC, appendix C.
    """
    x = mean + log_std.exp() * noise
    gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
    slope = 2.0 * (math.log(2.0) - x - F.softplus(-2.0 * x))
    return torch.tanh(x), (gaussian - slope).sum(1)


# D.Va, Table 5. The planned steps, on which nothing but the end depends, are ours.
_PAPER: Values = {"image_size": 100, "num_envs": 16, "env_steps": 1_000_000}

# What a CPU changes: smaller images and networks; twice the updates for an action.
_CPU: Values = {
    "image_size": 56, "crop_size": 48, "num_envs": 8, "updates": 8, "batch_size": 64,
    "trunk_size": 50, "hidden": (256, 256), "learning_rate": 5e-4, "reward_scale": 0.1,
    "replay_gigabytes": 2.0, "env_steps": 500_000,
}  # fmt: skip
_CPU_TASKS: dict[str, Values] = {
    "cartpole": {"num_envs": 4, "updates": 4, "env_steps": 50_000},
}

# What a GPU changes: it takes many environments and large updates as easily as few and small ones.
_FAST: Values = {"num_envs": 64, "batch_size": 256, "reward_scale": 0.1}


def _preset(task: str, name: str, observe: tuple[str, ...] | None) -> Preset:
    require_known("preset", name, PRESETS)
    values = dict(_PAPER)
    if name == "cpu":
        values |= {**_CPU, **_CPU_TASKS.get(task, {})}
    if name == "fast":
        values |= _FAST
    return build_preset(CurlConfig, values, observe)


register(
    AlgorithmEntry(
        "curl",
        "CURL: soft actor-critic whose encoder also compares crops (from states: SAC alone).",
        CurlConfig,
        CURL,
        RepeatingPolicy,
        _preset,
        final_observations=True,
        threads_inside=True,
    )
)
