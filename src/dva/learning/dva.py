"""D.Va: decoupled visual analytical policy gradient.

One iteration is three blocks, then the critic:

1. rollout: images, actor without a graph, physics with one;
2. action gradient dL/da: through physics, reward and critic;
3. regression: sum_i dL/da_i . da_i/dtheta, in micro-batches of images.

Source: You, Liu, Abraham, "Accelerating Visual-Policy Learning through Parallel Differentiable
Simulation", arXiv 2505.10646, algorithm 1 and Theorem 1.
"""

import copy
import math

import torch
from torch import Tensor

from dva.learning.action_gradient import ActionGradient, adjoint_action_gradient, drop_nonfinite
from dva.learning.config import DvaConfig
from dva.learning.critic import fit_critic, update_target
from dva.learning.environment import Environment, Observation
from dva.learning.episodes import EpisodeHistory
from dva.learning.optimizer import ClippedAdam, linear_learning_rate
from dva.learning.regression import accumulate_policy_gradient, default_micro_batch
from dva.learning.returns import td_lambda_targets
from dva.learning.rollout import Rollout, collect_rollout
from dva.learning.state import add_prefix, strip_prefix
from dva.learning.timing import PhaseTimer
from dva.policies import Actor, Critic, RunningNormalizer, resolve_precision

__all__ = ["DVA"]


class DVA:
    """Trains a policy from pixels with action gradients from a differentiable simulator.

    Args:
        env: N environments; the learner runs on their device and steps them from where they stand
            after a reset.
        config: hyperparameters.
        seed: of the initial parameters, the actions' noise and the critic's minibatches.
        action_gradient: estimator of dL/da; the adjoint of a differentiable simulator unless given.

    Raises:
        ValueError: environment and config disagree.
    """

    def __init__(
        self,
        env: Environment,
        config: DvaConfig,
        seed: int = 0,
        action_gradient: ActionGradient = adjoint_action_gradient,
    ) -> None:
        _check_agreement(env, config)
        self.env = env
        self.config = config
        self.device = torch.device(env.device)
        self.action_gradient = action_gradient
        self.iteration = 0
        """Finished iterations."""
        self.env_steps = 0
        """Finished steps, summed over environments."""
        # Parameters are drawn on the CPU: a seed means the same policy on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor = Actor(
                env.pixels_shape,
                env.action_size,
                config.trunk_size,
                config.actor_hidden,
                config.log_std_init,
                resolve_precision(config.precision, self.device),
            ).to(self.device)
            self.critic = Critic(env.state_size, config.critic_hidden).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.normalizer = RunningNormalizer(env.state_size).to(self.device)
        betas, max_norm = config.adam_betas, config.max_grad_norm
        self.actor_optimizer = ClippedAdam(self.actor.parameters(), betas, max_norm)
        self.critic_optimizer = ClippedAdam(self.critic.parameters(), betas, max_norm)
        self.noise_generator = torch.Generator(self.device).manual_seed(seed)
        self.shuffle_generator = torch.Generator(self.device).manual_seed(seed + 1)
        self.episodes = EpisodeHistory()
        self._observation: Observation | None = None

    def iterate(self) -> dict[str, float | None]:
        """Runs one training iteration.

        Returns:
            Metrics by name. "return" and "episode_length" are means over the last finished
            episodes, None until one has finished; "nonfinite_count" counts environments reset or
            dropped and updates skipped because of non-finite numbers; a metric that is not finite
            itself is None; times are in seconds.
        """
        timer = PhaseTimer(self.device)
        actor_rate = self._learning_rate(self.config.actor_learning_rate)
        # One normalisation for the whole horizon.
        normalizer = self.normalizer.frozen()

        def target_value(states: Tensor) -> Tensor:
            return self.target_critic(normalizer(states))

        with timer("rollout"):
            rollout = self.rollout()
        with timer("action_gradient"):
            gradient, loss = self.action_gradient(rollout, target_value, self.config.discount)
            gradient, dropped = drop_nonfinite(gradient)
        with timer("regression"):
            self.policy_gradient(rollout, gradient)
            actor_norm, actor_skipped = self.actor_optimizer.step(actor_rate)
        with timer("critic"):
            critic_loss, critic_norm, critic_skipped = self._fit_critic(
                rollout, normalizer, target_value(rollout.next_states.detach())
            )
            update_target(self.target_critic, self.critic, self.config.target_alpha)
            self.normalizer.update(rollout.states)

        self.iteration += 1
        self.env_steps += rollout.rewards.numel()
        self.episodes.add(rollout.done, rollout.episode_returns, rollout.episode_lengths)
        nonfinite = rollout.nonfinite.sum() + dropped.sum() + actor_skipped + critic_skipped
        on_device = {
            "actor_loss": torch.where(torch.isfinite(loss), loss, 0.0).sum(),
            "critic_loss": critic_loss,
            "actor_grad_norm": actor_norm,
            "critic_grad_norm": critic_norm,
            "action_gradient_norm": gradient.norm(),
            "nonfinite_count": nonfinite,
        }
        return self._metrics(on_device, timer, actor_rate)

    def rollout(self) -> Rollout:
        """Block 1: collects h steps; the policy leaves no graph, the physics leaves one."""
        rollout = collect_rollout(
            self.env, self._present_observation(), self._sample_action, self.config.horizon
        )
        self._observation = rollout.last_observation
        return rollout

    def policy_gradient(self, rollout: Rollout, action_gradient: Tensor) -> None:
        """Block 3: replaces the actor's gradients by the decoupled policy gradient of a rollout.

        Args:
            rollout: gives images and noise.
            action_gradient: dL/da (h, N, A).
        """
        self.actor_optimizer.zero_grad()
        accumulate_policy_gradient(
            self.actor,
            rollout.frames.observations,
            rollout.noise.flatten(0, 1),
            action_gradient.flatten(0, 1),
            self.config.micro_batch or default_micro_batch(self.device),
        )

    @torch.no_grad()
    def act(self, observation: Observation) -> Tensor:
        """Chooses the policy's mean actions (n, A) in [-1, 1] for observations of any number n."""
        mean, _ = self.actor(observation["pixels"].to(self.device))
        return torch.tanh(mean)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing bit for bit needs: tensors with dotted names."""
        observation = self._present_observation()
        return {
            **add_prefix("actor", self.actor.state_dict()),
            **add_prefix("critic", self.critic.state_dict()),
            **add_prefix("target_critic", self.target_critic.state_dict()),
            **add_prefix("normalizer", self.normalizer.state_dict()),
            **add_prefix("actor_optimizer", self.actor_optimizer.state_dict()),
            **add_prefix("critic_optimizer", self.critic_optimizer.state_dict()),
            **add_prefix("observation", observation),
            **add_prefix("env", self.env.state_dict()),
            "generator.noise": self.noise_generator.get_state(),
            "generator.shuffle": self.shuffle_generator.get_state(),
            "episodes": self.episodes.state(),
            "iteration": torch.tensor(self.iteration),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned, for the same config."""
        for name in ("actor", "critic", "target_critic", "normalizer"):
            getattr(self, name).load_state_dict(strip_prefix(name, state))
        self.actor_optimizer.load_state_dict(strip_prefix("actor_optimizer", state))
        self.critic_optimizer.load_state_dict(strip_prefix("critic_optimizer", state))
        self.env.load_state_dict(strip_prefix("env", state))
        observation = strip_prefix("observation", state)
        self._observation = {name: value.to(self.device) for name, value in observation.items()}
        self.noise_generator.set_state(state["generator.noise"].cpu())
        self.shuffle_generator.set_state(state["generator.shuffle"].cpu())
        self.episodes.load_state(state["episodes"])
        self.iteration = int(state["iteration"])
        self.env_steps = int(state["env_steps"])

    def _present_observation(self) -> Observation:
        """Returns where the next rollout starts; the first call resets the environments."""
        if self._observation is None:
            self._observation = self.env.reset()
        return self._observation

    def _sample_action(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Draws actions before tanh (N, A), leaves of the physics graph, and their noise."""
        with torch.no_grad():
            mean, log_std = self.actor(observation["pixels"])
            noise = torch.randn(mean.shape, generator=self.noise_generator, device=self.device)
            action = mean + log_std.exp() * noise
        return action.requires_grad_(), noise

    def _fit_critic(
        self, rollout: Rollout, normalizer: RunningNormalizer, next_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        config = self.config
        targets = td_lambda_targets(
            rollout.rewards.detach(),
            next_values,
            rollout.terminated,
            rollout.truncated,
            config.discount,
            config.td_lambda,
        )
        return fit_critic(
            self.critic,
            self.critic_optimizer,
            self._learning_rate(config.critic_learning_rate),
            normalizer(rollout.states).flatten(0, 1),
            targets.flatten(),
            config.critic_iterations,
            config.critic_minibatches,
            self.shuffle_generator,
        )

    def _learning_rate(self, first: float) -> float:
        config = self.config
        return linear_learning_rate(
            first, config.final_learning_rate, self.iteration, config.iterations
        )

    def _metrics(
        self, on_device: dict[str, Tensor], timer: PhaseTimer, learning_rate: float
    ) -> dict[str, float | None]:
        """Reads the device once and names everything."""
        numbers = torch.stack([value.detach().double() for value in on_device.values()]).tolist()
        mean_return, mean_length = self.episodes.mean()
        metrics: dict[str, float | None] = {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "return": mean_return,
            "episode_length": mean_length,
            **{
                name: number if math.isfinite(number) else None
                for name, number in zip(on_device, numbers, strict=True)
            },
            "learning_rate": learning_rate,
        }
        metrics.update({f"seconds_{name}": value for name, value in timer.seconds().items()})
        pop_seconds = getattr(self.env, "pop_seconds", dict)
        seconds = pop_seconds()
        for name in ("rendering", "simulation"):
            metrics[f"seconds_{name}"] = seconds.get(name, 0.0)
        return metrics


def _check_agreement(env: Environment, config: DvaConfig) -> None:
    image = (3 * config.frame_stack, config.image_size, config.image_size)
    for name, ours, theirs in (
        ("num_envs", config.num_envs, env.num_envs),
        ("frame_stack", config.frame_stack, env.frame_stack),
        ("pixels_shape", image, tuple(env.pixels_shape)),
    ):
        if ours != theirs:
            raise ValueError(
                f"The environment's {name} is {theirs}, the config asks for {ours}. "
                "Make the environment with the config's num_envs, image_size and frame_stack."
            )
