"""PPO: proximal policy optimisation, from images or from states.

One iteration:

1. rollout: h steps of the stochastic policy in N environments, without any graph;
2. advantages: generalised advantage estimation by the critic, which reads the state;
3. policy: several passes over the samples in minibatches. Each makes actions that were better than
   expected more likely, as long as their probability stays near that of the policy that acted;
4. critic: the same passes, onto TD(lambda) targets.

The critic sees the normalised state while the policy may see images: the same privilege that D.Va's
critic has.

Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017; advantages from Schulman
et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dva.compute.arguments import require
from dva.compute.errors import require_known
from dva.compute.timing import PhaseTimer
from dva.envs import Environment
from dva.learning.algorithm import AlgorithmEntry, Preset, TrainingContext
from dva.learning.config import (
    RegressionConfig,
    Values,
    network_sizes,
    preset_of,
    require_count,
    require_rate,
    require_share,
    require_widths,
)
from dva.learning.critic import fit_critic
from dva.learning.on_policy.adaptive_rate import AdaptiveRate
from dva.learning.on_policy.objective import (
    Samples,
    clipped_objective,
    clipped_value_loss,
    normalize_advantages,
)
from dva.learning.on_policy.rewards import RewardScale
from dva.learning.optimizer import ClippedAdam
from dva.learning.registry import register
from dva.learning.regression import choose_micro_batch, set_policy_gradient
from dva.learning.returns import td_lambda_targets
from dva.learning.rollout import Rollout
from dva.learning.rollout_learner import RolloutLearner
from dva.policies import ActorPolicy, Critic, normalize
from dva.spec import STATE

__all__ = ["PPO", "PpoConfig"]

FIRST_ACTIONS = 0.01
"""Factor of the initial weights of the last layer of a policy without images, whose actions are
then the same in every state at first, but for noise. Through so small a layer the trunk of images
learns nothing from them, and drifts until it tells no image from another."""


@dataclass
class PpoConfig(RegressionConfig):
    """Hyperparameters of PPO.

    Raises:
        ValueError: a value is outside its range.
    """

    discount: float = 0.99
    """Discount of one step, gamma."""
    td_lambda: float = 0.95
    """Weight of long returns in advantages and in the critic's targets, lambda."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Widths of the critic's hidden layers."""
    log_std_init: float = -0.5
    """Initial log standard deviation of the action before tanh."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's two moments."""
    learning_rate: float = 3e-4
    """Learning rate of the policy at the first step; it follows --target-kl."""
    target_kl: float | None = 0.01
    """KL divergence between the policy that acted and the one that learns, which the learning rate
    aims at. None: the learning rate stays as it is."""
    critic_learning_rate: float = 1e-3
    """Learning rate of the critic."""
    epochs: int = 5
    """Passes over the rollout's samples, of policy and critic."""
    minibatches: int = 4
    """Minibatches of one pass."""
    ratio_clip: float = 0.2
    """How far the ratio of new and old probability may be from 1 and still be pushed further."""
    value_clip: float | None = None
    """How far a value may move from the old one and still be pushed further, in standard deviations
    of the return. None: any distance."""
    entropy_bonus: float = 0.0
    """Weight of the entropy of the actions before tanh in the objective."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("discount", "td_lambda"):
            require_share(name, getattr(self, name))
        for name in ("learning_rate", "critic_learning_rate"):
            require_rate(name, getattr(self, name))
        for name in ("epochs", "minibatches"):
            require_count(name, getattr(self, name))
        require_widths("critic_hidden", self.critic_hidden)
        require("ratio_clip", self.ratio_clip, self.ratio_clip > 0.0, "above 0")
        for name in ("target_kl", "value_clip"):
            value = getattr(self, name)
            require(name, value, value is None or value > 0.0, "above 0, or None")
        bonus = self.entropy_bonus
        require("entropy_bonus", bonus, bonus >= 0.0, "0 or more")


class PPO(RolloutLearner):
    """Trains a policy by the clipped objective.

    Args as for `RolloutLearner`.
    """

    config: PpoConfig
    parts: tuple[str, ...] = (
        "critic", "normalizers", "reward_scale", "rate", "actor_optimizer", "critic_optimizer",
        "env",
    )  # fmt: skip
    """Attributes that are saved beside the policy."""

    def __init__(self, env: Environment, config: PpoConfig, context: TrainingContext) -> None:
        super().__init__(env, config, context)
        # Without the group: `fit_critic` has the samples of all processes.
        self.critic_optimizer = ClippedAdam(
            self.critic.parameters(), config.adam_betas, config.max_grad_norm
        )
        self.rate = AdaptiveRate(config.learning_rate).to(self.device)
        """The policy's learning rate."""
        self.reward_scale = RewardScale(env.num_envs, config.discount, self.group).to(self.device)
        self.generators["shuffle"] = self.new_generator("minibatches")
        samples = -(-env.num_envs * config.horizon // config.minibatches)
        self.micro_batch = choose_micro_batch(
            config, self.actor, samples, self.device, self.threads or 1
        )
        """Samples in one pass of the regression, at most."""

    def draw_networks(self) -> None:
        """Builds the policy and the critic."""
        super().draw_networks()
        if not self.env.policy_spec.images:
            with torch.no_grad():
                self.policy.actor.mean.weight.mul_(FIRST_ACTIONS)
                self.policy.actor.mean.bias.zero_()
        state_size = self.env.observation_spec[STATE].channels
        self.critic = Critic(state_size, self.config.critic_hidden).to(self.device)

    def set_learning_rates(self) -> None:
        """Gives the critic's optimizer its rate; the actor's follows the KL divergence."""
        self.critic_optimizer.set_learning_rate(self.config.critic_learning_rate)

    def train_once(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs one iteration; see `Learner.train_once`."""
        with timer("rollout"):
            rollout = self.blocks("rollout", self.collect_without_graph)
            measures = self.blocks("measures", self.measure, rollout)
        with timer("advantages"):
            samples = self.blocks("advantages", self.judge, rollout)
        with timer("regression"):
            policy = self.blocks("regression", self.improve_policy, rollout, samples)
        with timer("critic"):
            critic = self.blocks("critic", self.fit_critic, rollout, samples)
            self.blocks("statistics", self.update_statistics, rollout)
        failed = policy["skipped_updates"] + critic["nonfinite_count"]
        return rollout, {**measures, **policy, **critic, "nonfinite_count": failed}

    @torch.no_grad()
    def judge(self, rollout: Rollout) -> Samples:
        """Block 2: estimates the advantages of a rollout's actions.

        The generalised advantage is the TD(lambda) return minus the value of the state.
        """
        normalizer = self.horizon_normalizers[STATE]
        values = self.critic(normalizer(rollout.states))
        targets = td_lambda_targets(
            self.reward_scale(rollout.rewards, rollout.done),
            self.critic(normalizer(rollout.next_states)),
            rollout.terminated,
            rollout.truncated,
            self.config.discount,
            self.config.td_lambda,
        )
        actions, log_std = torch.stack(rollout.actions), self.actor.log_std.detach().clone()
        return Samples(
            actions.flatten(0, 1),
            (actions - log_std.exp() * rollout.noise).flatten(0, 1),
            log_std,
            (targets - values).flatten(),
            values.flatten(),
            targets.flatten(),
        )

    def improve_policy(self, rollout: Rollout, samples: Samples) -> dict[str, Tensor]:
        """Block 3: passes over the samples in minibatches; returns metrics.

        Each of several processes has its part of every minibatch, of its own samples.
        """
        config, count, group = self.config, len(samples.advantages), self.group
        vectors = {
            name: value.flatten(0, 1)
            for name, value in normalize(rollout.vectors, self.horizon_normalizers).items()
        }
        self.actor_optimizer.set_learning_rate(self.rate.value)
        rows: list[Tensor] = []
        for _ in range(config.epochs):
            generator = self.generators["shuffle"]
            # A permutation, by operations that a CUDA graph can hold.
            drawn = torch.rand(count * group.size, generator=generator, device=self.device)
            order = drawn[group.rows].argsort()
            for batch in order.tensor_split(min(config.minibatches, count)):
                found = self.policy_gradient(rollout, vectors, samples, batch)
                rows.append(torch.stack([*found, *self.actor_optimizer.step()]))
        table = group.mean(torch.stack(rows))
        loss, kl, clipped, norm, _ = table[-(len(rows) // config.epochs) :].mean(0)
        unmoved = torch.maximum(table[:, 4], (table[:, 3] == 0.0).float())
        rate = self.rate.value.clone()
        if config.target_kl is not None:
            self.rate.follow(kl, config.target_kl)
        return {
            "actor_loss": loss,
            "kl": kl,
            "clip_fraction": clipped,
            "actor_grad_norm": norm,
            "learning_rate": rate,
            "updates": torch.full_like(loss, len(rows)),
            "skipped_updates": unmoved.sum(),
        }

    def policy_gradient(
        self,
        rollout: Rollout,
        vectors: dict[str, Tensor],
        samples: Samples,
        numbers: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sets the actor's gradients to those of the clipped objective of a minibatch.

        Args:
            rollout: has the images.
            vectors: (M, n), normalised, by name.
            samples: all of them.
            numbers: (B,), which ones are in the minibatch.

        Returns:
            Loss, KL divergence from the old policy and share of clipped samples, means over the
            minibatch as it was before the update; all ().
        """
        images = rollout.frames.items()

        def inputs(start: int, stop: int) -> dict[str, Tensor]:
            piece = numbers[start:stop]
            seen = {name: buffer.gather(piece) for name, buffer in images}
            return {**seen, **{name: value[piece] for name, value in vectors.items()}}

        sums: dict[int, Tensor] = {}
        minibatch = normalize_advantages(samples[numbers], self.group)
        objective = clipped_objective(
            minibatch, self.config.ratio_clip, self.config.entropy_bonus, sums
        )
        set_policy_gradient(
            self.actor, inputs, objective, len(numbers), self.micro_batch, self.threads or 1
        )
        loss, kl, clipped = torch.stack([sums[start] for start in sorted(sums)]).sum(0)
        return loss, kl, clipped

    def fit_critic(self, rollout: Rollout, samples: Samples) -> dict[str, Tensor]:
        """Block 4: fits the critic, in each process to the samples of all; returns metrics."""
        config, every = self.config, self.group.gather
        loss, norm, skipped = fit_critic(
            self.critic,
            self.critic_optimizer,
            every(self.horizon_normalizers[STATE](rollout.states).flatten(0, 1)),
            every(samples.targets),
            config.epochs,
            config.minibatches,
            self.generators["shuffle"],
            partial(clipped_value_loss, every(samples.values), config.value_clip),
        )
        self.group.copy_from_first(self.critic_optimizer.tensors())
        return {"critic_loss": loss, "critic_grad_norm": norm, "nonfinite_count": skipped}


_PRESETS = ("fast", "cpu")

# The same for every task. From images a step of Adam moves the policy further than from states, and
# most in what all images share, unless that is taken out.
_CPU: Values = {"num_envs": 16, "horizon": 64, "iterations": 1_000}
_FAST: Values = {"num_envs": 4096, "horizon": 24, "iterations": 500}
_FROM_IMAGES: Values = {"center_features": True, "learning_rate": 1e-4}
_FROM_IMAGES_CPU: Values = {"image_size": 48, "epochs": 3, "iterations": 400}
_FROM_IMAGES_FAST: Values = {"num_envs": 1024, "horizon": 32, "iterations": 1_000}


def _preset(task: str, name: str, observe: tuple[str, ...] | None) -> Preset:
    require_known("preset", name, _PRESETS)
    observe = observe or ("pixels",)
    values = {**network_sizes(task), **(_CPU if name == "cpu" else _FAST)}
    if observe != (STATE,):
        values |= {**_FROM_IMAGES, **(_FROM_IMAGES_CPU if name == "cpu" else _FROM_IMAGES_FAST)}
    return preset_of(PpoConfig, values, observe)


register(
    AlgorithmEntry(
        "ppo",
        "PPO: actions that turn out better than expected become more likely, from pixels (or "
        "states); no gradient of the simulator.",
        PpoConfig,
        PPO,
        ActorPolicy,
        _preset,
        presets=_PRESETS,
        distributed=True,
    )
)
