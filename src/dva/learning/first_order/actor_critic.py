"""What all first-order methods share: networks, optimizers, the critic's fit."""

import copy

import torch
from torch import Tensor

from dva.envs import Environment
from dva.learning.algorithm import TrainingContext
from dva.learning.critic import fit_critic, update_target
from dva.learning.first_order.config import FirstOrderConfig
from dva.learning.optimizer import ClippedAdam
from dva.learning.returns import horizon_loss, td_lambda_targets
from dva.learning.rollout import Rollout
from dva.learning.rollout_learner import RolloutLearner
from dva.policies import Critic
from dva.spec import STATE

__all__ = ["FirstOrderAlgorithm"]


class FirstOrderAlgorithm(RolloutLearner):
    """An actor of what the policy may see, and a critic of normalised states.

    A method is a subclass with `train_once`. Args as for `RolloutLearner`.

    Raises:
        ValueError: environment and configuration disagree.
    """

    config: FirstOrderConfig
    parts: tuple[str, ...] = (
        "critic", "target_critic", "normalizers", "actor_optimizer", "critic_optimizer", "env",
    )  # fmt: skip
    """Attributes that are saved beside the policy."""
    taught = slice(None)
    """Environments that the critic learns from."""

    def __init__(
        self, env: Environment, config: FirstOrderConfig, context: TrainingContext
    ) -> None:
        super().__init__(env, config, context)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        # Without the group: `fit_critic` has the samples of all processes.
        self.critic_optimizer = ClippedAdam(
            self.critic.parameters(), config.adam_betas, config.max_grad_norm
        )
        self.generators["shuffle"] = self.new_generator("minibatches")

    def draw_networks(self) -> None:
        """Builds the policy and the critic."""
        super().draw_networks()
        state_size = self.env.observation_spec[STATE].channels
        self.critic = Critic(state_size, self.config.critic_hidden).to(self.device)

    def set_learning_rates(self) -> float:
        """Gives every optimizer its rate for the present iteration; returns the actor's."""
        rate = self.learning_rate(self.config.actor_learning_rate)
        self.actor_optimizer.set_learning_rate(rate)
        self.critic_optimizer.set_learning_rate(
            self.learning_rate(self.config.critic_learning_rate)
        )
        return rate

    def target_value(self, states: Tensor) -> Tensor:
        """Values states (..., O), not normalised, by the target critic: (...)."""
        return self.target_critic(self.horizon_normalizers[STATE](states))

    def actor_loss(self, rollout: Rollout) -> Tensor:
        """Computes each environment's share of the actor loss (N,), with the rollout's graph."""
        return horizon_loss(
            rollout.rewards,
            self.target_value(rollout.next_states),
            rollout.terminated,
            rollout.truncated,
            self.config.discount,
        )

    def fit_critic(self, rollout: Rollout) -> dict[str, Tensor]:
        """Fits the critic to TD(lambda) targets and moves its target; returns metrics.

        Of several processes each fits it to the samples of all. The updates are many and small:
        exchanging their gradients would take as long as computing them.
        """
        config, group, own = self.config, self.group, self.taught
        with torch.no_grad():
            next_values = self.target_value(rollout.next_states[:, own])
        targets = td_lambda_targets(
            rollout.rewards.detach()[:, own],
            next_values,
            rollout.terminated[:, own],
            rollout.truncated[:, own],
            config.discount,
            config.td_lambda,
        )
        loss, norm, skipped = fit_critic(
            self.critic,
            self.critic_optimizer,
            group.gather(self.horizon_normalizers[STATE](rollout.states[:, own]), 1).flatten(0, 1),
            group.gather(targets, 1).flatten(),
            config.critic_iterations,
            config.critic_minibatches,
            self.generators["shuffle"],
        )
        # The same in all already, if their devices round alike.
        group.copy_from_first(self.critic_optimizer.tensors())
        update_target(self.target_critic, self.critic, config.target_alpha)
        return {"critic_loss": loss, "critic_grad_norm": norm, "nonfinite_count": skipped}

    def learning_rate(self, first: float) -> float:
        """Interpolates a learning rate for the present iteration."""
        return self.scheduled(first, self.config.final_learning_rate)
