"""What all first-order methods share: networks, optimizers, the critic's fit."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from dva.compute.random_streams import stream_seed
from dva.envs import Environment
from dva.learning.algorithm import TrainingContext
from dva.learning.critic import fit_critic, update_target
from dva.learning.first_order.config import FirstOrderConfig
from dva.learning.learner import Learner
from dva.learning.optimizer import ClippedAdam
from dva.learning.returns import horizon_loss, td_lambda_targets
from dva.learning.rollout import Rollout, collect_rollout, feedback
from dva.policies import ActorPolicy, Critic, RunningNormalizer, normalize
from dva.spec import STATE, Observation

__all__ = ["FirstOrderAlgorithm"]

_CENTER_SHARE = 0.1
"""Share of the way that the centres of the images' features move in an iteration."""


class FirstOrderAlgorithm(Learner):
    """An actor of what the policy may see, and a critic of normalised states.

    A method is a subclass with `train_once`. One that differentiates through images sets
    `image_gradient`.

    Args:
        env: N environments, which are reset; training runs on their device.
        config: hyperparameters.
        context: planned steps, seed, threads, and whether blocks are recorded as CUDA graphs after
            a warm-up, where the environment allows it.

    Raises:
        ValueError: environment and configuration disagree.
    """

    image_gradient = False
    parts: tuple[str, ...] = (
        "critic", "target_critic", "normalizers", "actor_optimizer", "critic_optimizer", "env",
    )  # fmt: skip
    """Attributes that are saved beside the policy."""
    policy: ActorPolicy

    def __init__(
        self, env: Environment, config: FirstOrderConfig, context: TrainingContext
    ) -> None:
        super().__init__(env, context)
        self.config = config
        state_size = env.observation_spec[STATE].channels
        # Parameters are drawn on the CPU: a seed means the same policy on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(context.seed, "networks"))
            self.policy = ActorPolicy(
                env.policy_spec,
                env.action_spec,
                config.trunk_size,
                config.actor_hidden,
                config.log_std_init,
                config.precision,
                self.device,
                context.threads,
                config.center_features,
            )
            self.critic = Critic(state_size, config.critic_hidden).to(self.device)
        self.actor = self.policy.actor
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.normalizers = torch.nn.ModuleDict(self.policy.normalizers)
        """Normalisers of the vectors that policy and critic see; the policy's are the same."""
        if STATE not in self.normalizers:
            self.normalizers[STATE] = RunningNormalizer(state_size).to(self.device)
        self.horizon_normalizers = self.frozen_normalizers()
        """The normalisers as they were when the present horizon began: one horizon sees one."""
        betas, max_norm = config.adam_betas, config.max_grad_norm
        self.actor_optimizer = ClippedAdam(self.actor.parameters(), betas, max_norm)
        self.critic_optimizer = ClippedAdam(self.critic.parameters(), betas, max_norm)
        self.generators = {
            name: self.new_generator(stream)
            for name, stream in (("noise", "noise"), ("shuffle", "minibatches"))
        }
        self.actor.recenter(env.reset(), 1.0)

    def set_learning_rates(self) -> float:
        """Gives every optimizer its rate for the present iteration; returns the actor's."""
        rate = self.learning_rate(self.config.actor_learning_rate)
        self.actor_optimizer.set_learning_rate(rate)
        self.critic_optimizer.set_learning_rate(
            self.learning_rate(self.config.critic_learning_rate)
        )
        return rate

    def collect(self, sample_action: Callable[[Observation], tuple[Tensor, Tensor]]) -> Rollout:
        """Collects h steps from where the last rollout ended; freezes the normalisers for them."""
        self.horizon_normalizers = self.frozen_normalizers()
        with self.stepping():
            return collect_rollout(
                self.env, sample_action, self.config.horizon, self.image_gradient
            )

    def policy_input(self, observation: Observation) -> Observation:
        """Picks what the actor sees and normalises its vectors as the present horizon does."""
        seen = {name: observation[name] for name in self.env.policy_spec}
        return normalize(seen, self.horizon_normalizers)

    def frozen_normalizers(self) -> dict[str, RunningNormalizer]:
        """Copies the normalisers: one horizon sees one normalisation."""
        return {name: copy.deepcopy(x) for name, x in self.normalizers.items()}  # type: ignore[misc]

    def draw_noise(self) -> Tensor:
        """Draws the noise of one step's actions, standard normal (N, A)."""
        shape = (self.env.num_envs, self.env.action_spec.size)
        return torch.randn(shape, generator=self.generators["noise"], device=self.device)

    def measure(self, rollout: Rollout) -> dict[str, Tensor]:
        """Returns metrics of a rollout by name, before the policy that made it changes."""
        std, own = self.actor.log_std.detach().exp(), self.measured
        metrics = {"reward": rollout.rewards.detach()[:, own].mean(), "action_std": std.mean()}
        if self.env.policy_spec.images:
            metrics["visual_feedback"] = feedback(rollout, std, own)
        return metrics

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
        """Fits the critic to TD(lambda) targets and moves its target; returns metrics."""
        config = self.config
        with torch.no_grad():
            next_values = self.target_value(rollout.next_states)
        targets = td_lambda_targets(
            rollout.rewards.detach(),
            next_values,
            rollout.terminated,
            rollout.truncated,
            config.discount,
            config.td_lambda,
        )
        loss, norm, skipped = fit_critic(
            self.critic,
            self.critic_optimizer,
            self.horizon_normalizers[STATE](rollout.states).flatten(0, 1),
            targets.flatten(),
            config.critic_iterations,
            config.critic_minibatches,
            self.generators["shuffle"],
        )
        update_target(self.target_critic, self.critic, config.target_alpha)
        return {"critic_loss": loss, "critic_grad_norm": norm, "nonfinite_count": skipped}

    def update_statistics(self, rollout: Rollout) -> None:
        """Lets normalisers and centres follow what is seen."""
        for name, seen in {**rollout.vectors, STATE: rollout.states}.items():
            self.normalizers[name].update(seen)  # type: ignore[operator]
        self.actor.recenter(self.env.observation, _CENTER_SHARE)

    def learning_rate(self, first: float) -> float:
        """Interpolates a learning rate for the present iteration."""
        return self.scheduled(first, self.config.final_learning_rate)
