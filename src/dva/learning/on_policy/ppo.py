"""PPO: proximal policy optimisation, from images or from states.

One iteration:

1. rollout: h steps of the stochastic policy in N environments, without any graph;
2. advantages: generalised advantage estimation by the critic, which reads the state;
3. policy: several passes over the samples in minibatches. Each makes actions that were better than
   expected more likely, as long as their probability stays near that of the policy that acted;
4. critic: the same passes, onto TD(lambda) targets.

The critic sees the normalised state while the policy may see images: the same privilege that D.Va's
critic has.

The policy draws a = mean(o) + std * noise, and the environment gets tanh(a). The density of tanh(a)
is that of a, divided by the slope of tanh at a; the slope is the same under the old and the new
policy, so that it cancels in their ratio, and all that is computed here is of a. The KL divergence
does not see tanh either. The entropy does: the bonus is of a's.

Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017; advantages from Schulman
et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from dva.learning.on_policy.rewards import RewardScale
from dva.learning.optimizer import ClippedAdam
from dva.learning.registry import register
from dva.learning.regression import Objective, choose_micro_batch, set_policy_gradient
from dva.learning.returns import td_lambda_targets
from dva.learning.rollout import Rollout
from dva.learning.rollout_learner import RolloutLearner
from dva.policies import ActorPolicy, Critic, normalize
from dva.spec import STATE

__all__ = ["PPO", "PpoConfig"]

LOWEST_RATE, HIGHEST_RATE = 1e-5, 1e-2
"""Bounds of the adaptive learning rate."""
RATE_FACTOR = 1.5
"""By which the adaptive learning rate rises or falls after an iteration."""
FIRST_ACTIONS = 0.01
"""Factor of the initial weights of the policy's last layer: at first its actions are those of its
noise, the same in every state."""


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
    log_std_init: float = 0.0
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


@dataclass(frozen=True)
class Samples:
    """What the policy did in the M = h N samples of a rollout, and how good it was."""

    actions: Tensor
    """(M, A), before tanh."""
    mean: Tensor
    """(M, A), mean of the policy that acted."""
    log_std: Tensor
    """(A,), its log standard deviation."""
    advantages: Tensor
    """(M,)."""
    values: Tensor
    """(M,), of the critic as it was."""
    targets: Tensor
    """(M,), of the critic."""

    def minibatch(self, numbers: Tensor) -> "Samples":
        """Picks samples by their numbers (B,), with advantages of mean 0 and deviation 1."""
        chosen = self.advantages[numbers]
        spread = chosen.std(correction=0)
        return Samples(
            self.actions[numbers],
            self.mean[numbers],
            self.log_std,
            (chosen - chosen.mean()) / (spread + 1e-8),
            self.values[numbers],
            self.targets[numbers],
        )


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
        self.critic_optimizer = ClippedAdam(
            self.critic.parameters(), config.adam_betas, config.max_grad_norm
        )
        self.rate = AdaptiveRate(config.learning_rate).to(self.device)
        """The policy's learning rate."""
        self.reward_scale = RewardScale(env.num_envs, config.discount).to(self.device)
        self.generators["shuffle"] = self.new_generator("minibatches")
        samples = -(-env.num_envs * config.horizon // config.minibatches)
        self.micro_batch = choose_micro_batch(
            config, self.actor, samples, self.device, self.threads or 1
        )
        """Samples in one pass of the regression, at most."""

    def draw_networks(self) -> None:
        """Builds the policy, whose first actions are all alike but for noise, and the critic."""
        super().draw_networks()
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
        """Block 3: passes over the samples in minibatches; returns metrics."""
        config, count = self.config, len(samples.advantages)
        vectors = {
            name: value.flatten(0, 1)
            for name, value in normalize(rollout.vectors, self.horizon_normalizers).items()
        }
        self.actor_optimizer.set_learning_rate(self.rate.value)
        rows: list[Tensor] = []
        for _ in range(config.epochs):
            generator = self.generators["shuffle"]
            # A permutation, by operations that a CUDA graph can hold.
            order = torch.rand(count, generator=generator, device=self.device).argsort()
            for batch in order.tensor_split(min(config.minibatches, count)):
                found = self.policy_gradient(rollout, vectors, samples, batch)
                rows.append(torch.stack([*found, *self.actor_optimizer.step()]))
        table = torch.stack(rows)
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
        objective = clipped_objective(
            samples.minibatch(numbers), self.config.ratio_clip, self.config.entropy_bonus, sums
        )
        set_policy_gradient(
            self.actor, inputs, objective, len(numbers), self.micro_batch, self.threads or 1
        )
        loss, kl, clipped = torch.stack([sums[start] for start in sorted(sums)]).sum(0)
        return loss, kl, clipped

    def fit_critic(self, rollout: Rollout, samples: Samples) -> dict[str, Tensor]:
        """Block 4: fits the critic, and lets the statistics of what is seen follow."""
        config = self.config
        loss, norm, skipped = fit_critic(
            self.critic,
            self.critic_optimizer,
            self.horizon_normalizers[STATE](rollout.states).flatten(0, 1),
            samples.targets,
            config.epochs,
            config.minibatches,
            self.generators["shuffle"],
            partial(clipped_value_loss, samples.values, config.value_clip),
        )
        self.update_statistics(rollout)
        return {"critic_loss": loss, "critic_grad_norm": norm, "nonfinite_count": skipped}


class AdaptiveRate(nn.Module):
    """A learning rate that keeps the policy's steps at one size, on the device.

    Images, states, robots and shrinking noise need other rates, which change in training; the
    distance between two policies means the same for all of them. A schedule would need to know how
    long training will last, and would still have to start from the right rate. It moves once an
    iteration, by the last pass: within one, the divergence grows from 0 in any case.

    Args:
        first: the rate at first.

    Source: Rudin et al., "Learning to Walk in Minutes Using Massively Parallel Deep Reinforcement
    Learning", 2021.
    """

    value: Tensor

    def __init__(self, first: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(first))

    def follow(self, kl: Tensor, target: float) -> None:
        """Lowers the rate where the divergence () is above twice its target; raises it where it is
        below half of it."""
        factor = torch.where(kl > 2.0 * target, 1.0 / RATE_FACTOR, 1.0)
        factor = torch.where(kl < 0.5 * target, RATE_FACTOR, factor)
        # A rate beyond the bounds that was asked for stays where it is until it is to move.
        moved = (self.value * factor).clamp(LOWEST_RATE, HIGHEST_RATE)
        self.value.copy_(torch.where(factor == 1.0, self.value, moved))


def log_ratio(mean: Tensor, log_std: Tensor, old: Samples) -> Tensor:
    """Computes log(p(a) / p_old(a)) (B,) of normal distributions of the actions before tanh.

    Args:
        mean: (B, A), with graph.
        log_std: (A,), with graph.
        old: gives actions, and the distribution that they were drawn from.
    """
    new_noise = (old.actions - mean) * torch.exp(-log_std)
    old_noise = (old.actions - old.mean) * torch.exp(-old.log_std)
    exponent = 0.5 * (old_noise.square() - new_noise.square())
    return (exponent + old.log_std - log_std).sum(-1)


def divergence(mean: Tensor, log_std: Tensor, old: Samples) -> Tensor:
    """Computes KL(old || new) (B,) of normal distributions of the actions before tanh."""
    spread = torch.exp(2.0 * (old.log_std - log_std))
    shift = ((mean - old.mean) * torch.exp(-log_std)).square()
    return (log_std - old.log_std + 0.5 * (spread + shift - 1.0)).sum(-1)


def clipped_objective(
    minibatch: Samples, clip: float, entropy_bonus: float, sums: dict[int, Tensor]
) -> Objective:
    """Returns the clipped objective of a minibatch, divided by its size B, as a loss.

    It is -(1/B) sum_i min(r_i A_i, clip(r_i, 1 - c, 1 + c) A_i) - w H: the ratio r_i of an action's
    new and old probability gets no gradient where it has moved by more than c in the direction that
    its advantage A_i asks for.

    Args:
        minibatch: B samples, with normalised advantages.
        clip: c.
        entropy_bonus: w, the weight of the entropy H of the actions before tanh.
        sums: takes for each piece, by its start, the sums of loss, KL divergence and clipped
            samples, divided by B: (3,).

    Source: Schulman et al. 2017, equations (7) and (9).
    """
    size = len(minibatch.advantages)

    def objective(mean: Tensor, log_std: Tensor, start: int, stop: int) -> Tensor:
        old = _piece(minibatch, start, stop)
        ratio = log_ratio(mean, log_std, old).exp()
        kept = ratio.clamp(1.0 - clip, 1.0 + clip)
        gain = torch.minimum(ratio * old.advantages, kept * old.advantages).sum()
        loss = -(gain + entropy_bonus * (stop - start) * log_std.sum()) / size
        with torch.no_grad():
            kl = divergence(mean, log_std, old).sum() / size
            outside = (ratio != kept).float().sum() / size
            sums[start] = torch.stack([loss, kl, outside])
        return loss

    return objective


def clipped_value_loss(
    old_values: Tensor, clip: float | None, values: Tensor, targets: Tensor, numbers: Tensor
) -> Tensor:
    """Averages the squared error of values (B,): ().

    With a clip c it is the larger of the errors of V and of V_old + clip(V - V_old, -c, c), so that
    a value that has moved by more than c towards its target gets no gradient.

    Args:
        old_values: (M,), as they were when the rollout was judged.
        clip: c, or None.
        values: (B,), with graph.
        targets: (B,).
        numbers: (B,), which of the M samples these are.
    """
    if clip is None:
        return F.mse_loss(values, targets)
    old = old_values[numbers]
    near = old + (values - old).clamp(-clip, clip)
    errors = torch.maximum((values - targets).square(), (near - targets).square())
    return errors.mean()


def _piece(samples: Samples, start: int, stop: int) -> Samples:
    """Picks consecutive samples."""
    parts: Sequence[Tensor] = (samples.advantages, samples.values, samples.targets)
    return Samples(
        samples.actions[start:stop],
        samples.mean[start:stop],
        samples.log_std,
        *(x[start:stop] for x in parts),
    )


_PRESETS = ("fast", "cpu")

_CPU: Values = {"image_size": 48, "num_envs": 16, "horizon": 64, "iterations": 400}
_FAST: Values = {"num_envs": 1024, "horizon": 32, "iterations": 1_000}


def _preset(task: str, name: str, observe: tuple[str, ...] | None) -> Preset:
    require_known("preset", name, _PRESETS)
    observe = observe or ("pixels",)
    values = {**network_sizes(task), **(_CPU if name == "cpu" else _FAST)}
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
    )
)
