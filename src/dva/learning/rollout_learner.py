"""What algorithms share whose stochastic actor collects rollouts of h steps."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from dva.compute.random_streams import stream_seed
from dva.envs import Environment
from dva.learning.algorithm import TrainingContext
from dva.learning.config import ActorConfig
from dva.learning.learner import Learner
from dva.learning.optimizer import ClippedAdam
from dva.learning.rollout import Rollout, collect_rollout, feedback, sensed
from dva.policies import ActorPolicy, RunningNormalizer, normalize
from dva.policies.actor import Weights
from dva.spec import STATE, Observation

__all__ = ["RolloutLearner"]

_CENTER_SHARE = 0.1
"""Share of the way that the centres of the images' features move in an iteration."""


class RolloutLearner(Learner):
    """An actor of what the policy may see, normalisers of what is seen, and its rollouts.

    A method is a subclass with `train_once` and `set_learning_rates`. One that differentiates
    through images sets `image_gradient`.

    Args:
        env: N environments, which are reset; training runs on their device.
        config: hyperparameters.
        context: planned steps, seed, threads, and whether blocks are recorded as CUDA graphs after
            a warm-up, where the environment allows it.
    """

    image_gradient = False
    parts: tuple[str, ...] = ("normalizers", "actor_optimizer", "env")
    """Attributes that are saved beside the policy."""
    policy: ActorPolicy

    def __init__(self, env: Environment, config: ActorConfig, context: TrainingContext) -> None:
        super().__init__(env, context)
        self.config = config
        # Parameters are drawn on the CPU: a seed means the same policy on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(context.seed, "networks"))
            self.draw_networks()
        self.actor = self.policy.actor
        self.normalizers = torch.nn.ModuleDict(self.policy.normalizers)
        """Normalisers of the vectors that policy and critic see; the policy's are the same."""
        if STATE not in self.normalizers:
            state_size = env.observation_spec[STATE].channels
            self.normalizers[STATE] = RunningNormalizer(state_size).to(self.device)
        self.horizon_normalizers = self.frozen_normalizers()
        """The normalisers as they were when the present horizon began: one horizon sees one."""
        self.actor_optimizer = ClippedAdam(
            self.actor.parameters(), config.adam_betas, config.max_grad_norm, self.group
        )
        self.generators = {"noise": self.new_generator("noise")}
        self.actor.recenter(env.reset(), 1.0, self.group)
        if config.stagger:
            env.stagger()

    def draw_networks(self) -> None:
        """Builds the policy; a method that has more networks draws them after it."""
        config = self.config
        self.policy = ActorPolicy(
            self.env.policy_spec,
            self.env.action_spec,
            config.trunk_size,
            config.actor_hidden,
            config.log_std_init,
            config.precision,
            self.device,
            self.context.threads,
            config.center_features,
        )

    def collect(self, sample_action: Callable[[Observation], tuple[Tensor, Tensor]]) -> Rollout:
        """Collects h steps from where the last rollout ended; freezes the normalisers for them."""
        self.horizon_normalizers = self.frozen_normalizers()
        with self.stepping():
            self.prepare_rollout()
            return collect_rollout(
                self.env, sample_action, self.config.horizon, self.image_gradient
            )

    def whole_episodes(self, experience: Rollout) -> Tensor:
        """Leaves out those that `stagger` cut short; see `Learner.whole_episodes`."""
        if not self.config.stagger:
            return experience.done
        in_time = experience.episode_lengths >= self.env.episode_length
        return experience.terminated | (experience.truncated & in_time)

    def prepare_rollout(self) -> None:
        """Changes where a rollout begins; here it begins where the last one ended."""

    @torch.no_grad()
    def collect_without_graph(self) -> Rollout:
        """Collects h steps of the actor; neither policy nor physics leaves a graph."""
        weights = self.actor.cast_weights()  # the parameters stay as they are for h steps

        def sample_action(observation: Observation) -> tuple[Tensor, Tensor]:
            return self.sample_action(observation, weights)

        return self.collect(sample_action)

    def sample_action(self, observation: Observation, weights: Weights) -> tuple[Tensor, Tensor]:
        """Draws actions before tanh (N, A), without the actor's graph, and their noise."""
        mean = self.policy.mean(self.policy_input(observation), weights)
        noise = self.draw_noise()
        return mean + self.actor.log_std.detach().exp() * noise, noise

    def policy_input(self, observation: Observation) -> Observation:
        """Picks what the actor sees and normalises its vectors as the present horizon does."""
        seen = sensed(observation, self.env)
        seen = {name: seen[name] for name in self.env.policy_spec}
        return normalize(seen, self.horizon_normalizers)

    def frozen_normalizers(self) -> dict[str, RunningNormalizer]:
        """Copies the normalisers: one horizon sees one normalisation."""
        return {name: copy.deepcopy(x) for name, x in self.normalizers.items()}  # type: ignore[misc]

    def draw_noise(self) -> Tensor:
        """Draws the noise of one step's actions, standard normal (N, A).

        Each of several processes draws that of all and takes its own, as one process would.
        """
        shape = (self.env.num_envs * self.group.size, self.env.action_spec.size)
        noise = torch.randn(shape, generator=self.generators["noise"], device=self.device)
        return noise[self.group.rows]

    def update_statistics(self, rollout: Rollout) -> None:
        """Lets the statistics of what is seen follow: normalisers, and centres of features."""
        for name, seen in {**rollout.vectors, STATE: rollout.states}.items():
            self.normalizers[name].update(seen, self.group)  # type: ignore[operator]
        self.actor.recenter(self.env.observation, _CENTER_SHARE, self.group)

    def measure(self, rollout: Rollout) -> dict[str, Tensor]:
        """Returns metrics of a rollout by name, before the policy that made it changes."""
        std, own = self.actor.log_std.detach().exp(), self.measured
        metrics = {"reward": rollout.rewards.detach()[:, own].mean(), "action_std": std.mean()}
        if self.env.policy_spec.images:
            metrics["visual_feedback"] = feedback(rollout, std, own, self.group)
        return metrics
