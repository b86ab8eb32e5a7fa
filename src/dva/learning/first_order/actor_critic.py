"""What all first-order methods share: networks, optimizers, the critic's fit, saving, metrics."""

import copy
import math
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dva.compute.random_streams import stream_seed
from dva.compute.recording import Blocks, CudaRecorder, FixedState, Recorder
from dva.compute.timing import PhaseTimer
from dva.envs import Environment
from dva.learning.algorithm import LargeState, Metrics, TrainingContext
from dva.learning.episodes import EpisodeHistory
from dva.learning.first_order.config import FirstOrderConfig
from dva.learning.first_order.critic import fit_critic, update_target
from dva.learning.first_order.returns import horizon_loss, td_lambda_targets
from dva.learning.first_order.rollout import Rollout, collect_rollout, feedback
from dva.learning.optimizer import ClippedAdam, linear_learning_rate
from dva.learning.state import add_prefix, strip_prefix
from dva.policies import ActorPolicy, Critic, RunningNormalizer, normalize
from dva.spec import STATE, Observation

__all__ = ["FirstOrderAlgorithm"]

_WARM_UP = 3
"""Iterations before blocks are recorded: they compile kernels and allocate what is kept."""
_CENTER_SHARE = 0.1
"""Share of the way that the centres of the images' features move in an iteration."""


class FirstOrderAlgorithm:
    """An actor of what the policy may see, and a critic of normalised states. See `Algorithm`.

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

    def __init__(
        self, env: Environment, config: FirstOrderConfig, context: TrainingContext
    ) -> None:
        self.env, self.config, self.context = env, config, context
        self.threads = context.threads
        self.device = torch.device(env.device)
        self.iteration = 0
        """Finished iterations."""
        self.env_steps = 0
        """Finished steps, summed over environments."""
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
        # As many as there are environments: those that end soonest are the worst of them.
        self.episodes = EpisodeHistory(max(64, env.num_envs))
        self.taught = slice(None)
        """Environments whose action gradients teach."""
        self.measured = slice(None)
        """Environments in which the policy acts: returns are of their episodes."""
        self.blocks = Blocks()
        """Runs the blocks of `train_once`."""
        on_cuda = self.device.type == "cuda" and context.threads is None
        self._cuda_graphs = context.cuda_graphs and on_cuda and env.recordable
        self._fixed: FixedState | None = None
        self._since_start = 0
        """Iterations since the algorithm was made or loaded."""
        self.actor.recenter(env.reset(), 1.0)

    @property
    def large_state(self) -> LargeState | None:
        """None: its state is small."""
        return None

    # ------------------------------------------------------------------ an iteration

    def iterate(self) -> Metrics:
        """Runs one training iteration.

        Returns:
            Metrics by name. "return" and "episode_length" are means over the last finished
            episodes, None until one has finished; "nonfinite_count" counts environments reset or
            dropped and updates skipped because of non-finite numbers; a metric that is not finite
            itself is None; times are in seconds, None where a recorded block hides them.
        """
        timer = PhaseTimer(self.device)
        rate = self.set_learning_rates()
        if self._fixed is not None and self._fixed.left:
            self._forget_recording()
        if self._cuda_graphs and self._fixed is None and self._since_start >= _WARM_UP:
            rollout, metrics = self._record(timer)
        else:
            rollout, metrics = self.train_once(timer)
        self._since_start += 1
        return self._finish_iteration(rollout, metrics, timer, rate)

    def train_once(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs the blocks of one iteration, through `self.blocks`, each in a phase of the timer.

        Returns:
            The rollout, and metrics on the device by name; among them "nonfinite_count", and
            "skipped_updates", which is 1 where the actor's update was skipped or its gradient 0.
        """
        raise NotImplementedError

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
        if self._fixed:
            self._fixed.leave()
        rollout = collect_rollout(
            self.env, sample_action, self.config.horizon, self.image_gradient
        )
        if self._fixed:
            self._fixed.keep()
        return rollout

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
        """Fits the critic to TD(lambda) targets, moves its target, and lets the statistics of what
        is seen follow; returns metrics."""
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
        for name, seen in {**rollout.vectors, STATE: rollout.states}.items():
            self.normalizers[name].update(seen)  # type: ignore[operator]
        self.actor.recenter(self.env.observation, _CENTER_SHARE)
        return {"critic_loss": loss, "critic_grad_norm": norm, "nonfinite_count": skipped}

    def new_generator(self, stream: str) -> torch.Generator:
        """Makes a random generator on the device for a stream of its own."""
        seed = stream_seed(self.context.seed, stream)
        return torch.Generator(self.device).manual_seed(seed)

    def learning_rate(self, first: float) -> float:
        """Interpolates a learning rate for the present iteration."""
        return linear_learning_rate(
            first, self.config.final_learning_rate, self.env_steps, self.context.env_steps
        )

    def _finish_iteration(
        self, rollout: Rollout, on_device: dict[str, Tensor], timer: PhaseTimer, rate: float
    ) -> Metrics:
        """Counts the iteration; reads the device once and names all metrics."""
        self.iteration += 1
        self.env_steps += rollout.rewards.numel()
        self.episodes.add(
            rollout.done[:, self.measured],
            rollout.episode_returns[:, self.measured],
            rollout.episode_lengths[:, self.measured],
        )
        on_device["nonfinite_count"] = on_device["nonfinite_count"] + rollout.nonfinite.sum()
        numbers = torch.stack([value.detach().double() for value in on_device.values()]).tolist()
        mean_return, mean_length = self.episodes.mean()
        metrics: Metrics = {
            "return": mean_return,
            "episode_length": mean_length,
            **{
                name: number if math.isfinite(number) else None
                for name, number in zip(on_device, numbers, strict=True)
            },
            "updates": 1,
            "learning_rate": rate,
        }
        metrics.update({f"seconds_{name}": value for name, value in timer.seconds().items()})
        for name, value in self.env.pop_seconds().items():
            metrics[f"seconds_{name}"] = None if self._fixed else value
        return metrics

    # ------------------------------------------------------------------ recording

    def _record(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs an iteration and records its blocks; where that fails, goes on without graphs."""
        before = self.state_dict()
        self._fixed = FixedState(self.env)
        failure = ""
        try:
            self.blocks = Blocks(self._new_recorder())
            return self.train_once(timer)
        except RuntimeError as error:
            failure = " ".join(str(e) for e in (error.__context__, error) if e is not None)
        # Beyond the except block, which keeps what has failed and its memory.
        warnings.warn(
            f"CUDA graphs could not record an iteration ({failure}); training goes on without "
            "them, more slowly. --no-cuda-graphs avoids the attempt.",
            stacklevel=3,
        )
        self._cuda_graphs = False
        self.load_state_dict(before)
        return self.train_once(timer)

    def _forget_recording(self) -> None:
        self.blocks, self._fixed, self._since_start = Blocks(), None, 0

    def _new_recorder(self) -> Recorder:
        return CudaRecorder(self.device, [*self.generators.values(), self.env.generator])

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing bit for bit needs: tensors with dotted names."""
        state = add_prefix("policy", self.policy.state_dict())
        for name in self.parts:
            state |= add_prefix(name, getattr(self, name).state_dict())
        return {
            **state,
            **{f"generator.{name}": x.get_state() for name, x in self.generators.items()},
            "episodes": self.episodes.state(),
            "iteration": torch.tensor(self.iteration),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned, for the same configuration."""
        self._forget_recording()  # it reads other memory
        self.policy.load_state_dict(strip_prefix("policy", state))
        for name in self.parts:
            getattr(self, name).load_state_dict(strip_prefix(name, state))
        # New ones: a recording that failed may leave a generator that is waiting for its end.
        for name in self.generators:
            self.generators[name] = torch.Generator(self.device)
            self.generators[name].set_state(state[f"generator.{name}"].cpu())
        self.episodes.load_state(state["episodes"])
        self.iteration = int(state["iteration"])
        self.env_steps = int(state["env_steps"])
