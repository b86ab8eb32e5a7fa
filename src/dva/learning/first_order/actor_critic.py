"""What all actor-critic learners share: networks, optimizers, the critic's fit, saving, metrics."""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from dva.compute.precision import resolve_precision
from dva.compute.recording import Blocks, CudaRecorder, Places, Recorder, recordable
from dva.compute.threads import run_side_by_side
from dva.compute.timing import PhaseTimer
from dva.envs.environment import Environment, Observation
from dva.learning.episodes import EpisodeHistory
from dva.learning.first_order.config import LearnerConfig
from dva.learning.first_order.critic import fit_critic, update_target
from dva.learning.first_order.returns import horizon_loss, td_lambda_targets
from dva.learning.first_order.rollout import Rollout, collect_rollout
from dva.learning.optimizer import ClippedAdam, linear_learning_rate
from dva.learning.state import add_prefix, strip_prefix
from dva.policies import Actor, Critic, RunningNormalizer

__all__ = ["Learner"]

_PART = 8
"""Images that pass the actor together where threads share a batch."""
_WARM_UP = 3
"""Iterations before blocks are recorded: they compile kernels and allocate what is kept."""


class Learner:
    """An actor that sees pixels or normalised states, and a critic of normalised states.

    An algorithm is a subclass with `train_once`. One that differentiates through images sets
    `pixel_gradient`.

    Args:
        env: N environments; the learner runs on their device and steps them from where they stand
            after a reset.
        config: hyperparameters.
        seed: of the initial parameters, the actions' noise and the critic's minibatches.
        threads: images pass the actor in parts, so many side by side; results do not depend on how
            many. For CPUs, with torch's own threads set to 1: fewer waits than inside every
            operation. None leaves parallelism to torch.
        cuda_graphs: on CUDA, record each block of an iteration as a graph after a warm-up and
            replay it, if the environment allows it (`dva.compute.recording.recordable`).

    Raises:
        ValueError: environment and config disagree.
    """

    pixel_gradient = False

    def __init__(
        self,
        env: Environment,
        config: LearnerConfig,
        seed: int = 0,
        threads: int | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        _check_agreement(env, config)
        self.threads = threads
        self.env = env
        self.config = config
        self.device = torch.device(env.device)
        self.iteration = 0
        """Finished iterations."""
        self.env_steps = 0
        """Finished steps, summed over environments."""
        # Parameters are drawn on the CPU: a seed means the same policy on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor = Actor(
                env.pixels_shape if config.pixels else env.state_size,
                env.action_size,
                config.trunk_size,
                config.actor_hidden,
                config.log_std_init,
                resolve_precision(config.precision, self.device),
            ).to(self.device)
            self.critic = Critic(env.state_size, config.critic_hidden).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.normalizer = RunningNormalizer(env.state_size).to(self.device)
        self.horizon_normalizer = self.normalizer.frozen()
        """The normaliser as it was when the present horizon began: one horizon sees one."""
        betas, max_norm = config.adam_betas, config.max_grad_norm
        self.actor_optimizer = ClippedAdam(self.actor.parameters(), betas, max_norm)
        self.critic_optimizer = ClippedAdam(self.critic.parameters(), betas, max_norm)
        self.noise_generator = torch.Generator(self.device).manual_seed(seed)
        self.shuffle_generator = torch.Generator(self.device).manual_seed(seed + 1)
        self.episodes = EpisodeHistory()
        self.blocks = Blocks()
        """Runs the blocks of `train_once`."""
        self._observation: Observation | None = None
        on_cuda = self.device.type == "cuda" and threads is None
        self._cuda_graphs = cuda_graphs and on_cuda and recordable(env)
        self._places: Places | None = None
        self._since_start = 0
        """Iterations since the learner was made or loaded."""

    def iterate(self) -> dict[str, float | None]:
        """Runs one training iteration.

        Returns:
            Metrics by name. "return" and "episode_length" are means over the last finished
            episodes, None until one has finished; "nonfinite_count" counts environments reset or
            dropped and updates skipped because of non-finite numbers; a metric that is not finite
            itself is None; times are in seconds, None where a recorded block hides them.
        """
        timer = PhaseTimer(self.device)
        rate = self._learning_rate(self.config.actor_learning_rate)
        self.actor_optimizer.set_learning_rate(rate)
        self.critic_optimizer.set_learning_rate(
            self._learning_rate(self.config.critic_learning_rate)
        )
        if self._places is not None and self._places.left:
            self._forget_recording()
        if self._cuda_graphs and self._places is None and self._since_start >= _WARM_UP:
            rollout, metrics = self._record(timer)
        else:
            rollout, metrics = self.train_once(timer)
        self._since_start += 1
        return self._finish_iteration(rollout, metrics, timer, rate)

    def train_once(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs the blocks of one iteration, through `self.blocks`, each in a phase of the timer.

        Returns:
            The rollout, and metrics on the device by name.
        """
        raise NotImplementedError

    @torch.no_grad()
    def act(self, observation: Observation) -> Tensor:
        """Chooses the policy's mean actions (n, A) in [-1, 1] for observations of any number n."""
        observation = {name: value.to(self.device) for name, value in observation.items()}
        return torch.tanh(self.policy_mean(self.policy_input(observation, self.normalizer)))

    @torch.no_grad()
    def policy_mean(
        self, inputs: Tensor, converted: Sequence[tuple[Tensor, Tensor]] | None = None
    ) -> Tensor:
        """Computes mean actions before tanh (n, A), without graph.

        Args:
            inputs: of `policy_input`, (n, ...).
            converted: of the actor's method of that name.
        """
        if self.threads is None or not self.config.pixels:
            return self.actor(inputs, converted)[0]
        parts = inputs.split(_PART)
        embedded: dict[int, Tensor] = {}
        converted = converted or self.actor.converted()

        def run(lane: range) -> None:
            for i in lane:
                embedded[i] = self.actor.embed(parts[i], converted)

        lanes = [range(i, len(parts), self.threads) for i in range(min(self.threads, len(parts)))]
        run_side_by_side([partial(run, lane) for lane in lanes])
        # Once for all: these layers are small.
        return self.actor.decide(torch.cat([embedded[i] for i in range(len(parts))]))

    def policy_input(self, observation: Observation, normalizer: RunningNormalizer) -> Tensor:
        """Picks what the actor sees: images (n, C, H, W), or normalised states (n, O)."""
        if self.config.pixels:
            return observation["pixels"]
        return normalizer(observation["state"])

    def collect(self, sample_action: Callable[[Observation], tuple[Tensor, Tensor]]) -> Rollout:
        """Collects h steps from where the last rollout ended; freezes the normaliser for them."""
        self.horizon_normalizer = self.normalizer.frozen()
        rollout = collect_rollout(
            self.env,
            self._places.leave() if self._places else self._present_observation(),
            sample_action,
            self.config.horizon,
            self.config.pixels,
            self.pixel_gradient,
        )
        last = rollout.last_observation
        self._observation = self._places.keep(last) if self._places else last
        return rollout

    def draw_noise(self) -> Tensor:
        """Draws the noise of one step's actions, standard normal (N, A)."""
        shape = (self.env.num_envs, self.env.action_size)
        return torch.randn(shape, generator=self.noise_generator, device=self.device)

    def target_value(self, states: Tensor) -> Tensor:
        """Values states (..., O), not normalised, by the target critic: (...)."""
        return self.target_critic(self.horizon_normalizer(states))

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
            self.horizon_normalizer(rollout.states).flatten(0, 1),
            targets.flatten(),
            config.critic_iterations,
            config.critic_minibatches,
            self.shuffle_generator,
        )
        update_target(self.target_critic, self.critic, config.target_alpha)
        self.normalizer.update(rollout.states)
        return {"critic_loss": loss, "critic_grad_norm": norm, "nonfinite_count": skipped}

    def _learning_rate(self, first: float) -> float:
        """Interpolates a learning rate for the present iteration."""
        config = self.config
        return linear_learning_rate(
            first, config.final_learning_rate, self.iteration, config.iterations
        )

    def _record(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs an iteration and records its blocks; where that fails, goes on without graphs."""
        before = self.state_dict()
        self._places = Places(self.env, self._present_observation())
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
        self.blocks, self._places, self._since_start = Blocks(), None, 0

    def _new_recorder(self) -> Recorder:
        generators = [self.noise_generator, self.shuffle_generator]
        return CudaRecorder(self.device, [*generators, self.env.generator])  # type: ignore[attr-defined]

    def _finish_iteration(
        self, rollout: Rollout, on_device: dict[str, Tensor], timer: PhaseTimer, rate: float
    ) -> dict[str, float | None]:
        """Counts the iteration; reads the device once and names all metrics."""
        self.iteration += 1
        self.env_steps += rollout.rewards.numel()
        self.episodes.add(rollout.done, rollout.episode_returns, rollout.episode_lengths)
        on_device["nonfinite_count"] = on_device["nonfinite_count"] + rollout.nonfinite.sum()
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
            "learning_rate": rate,
        }
        metrics.update({f"seconds_{name}": value for name, value in timer.seconds().items()})
        seconds = getattr(self.env, "pop_seconds", dict)()
        for name in ("rendering", "simulation"):
            metrics[f"seconds_{name}"] = None if self._places else seconds.get(name, 0.0)
        return metrics

    def policy_state(self) -> dict[str, Tensor]:
        """Returns what `act` needs: tensors with dotted names, a part of `state_dict`."""
        return {
            **add_prefix("actor", self.actor.state_dict()),
            **add_prefix("normalizer", self.normalizer.state_dict()),
        }

    def load_policy_state(self, state: dict[str, Tensor]) -> None:
        """Restores what `policy_state` returned, from it or from a whole `state_dict`."""
        for name in ("actor", "normalizer"):
            getattr(self, name).load_state_dict(strip_prefix(name, state))

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing bit for bit needs: tensors with dotted names."""
        return {
            **self.policy_state(),
            **add_prefix("critic", self.critic.state_dict()),
            **add_prefix("target_critic", self.target_critic.state_dict()),
            **add_prefix("actor_optimizer", self.actor_optimizer.state_dict()),
            **add_prefix("critic_optimizer", self.critic_optimizer.state_dict()),
            **add_prefix("observation", self._present_observation()),
            **add_prefix("env", self.env.state_dict()),
            "generator.noise": self.noise_generator.get_state(),
            "generator.shuffle": self.shuffle_generator.get_state(),
            "episodes": self.episodes.state(),
            "iteration": torch.tensor(self.iteration),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned, for the same config."""
        self._forget_recording()  # it reads other memory
        self.load_policy_state(state)
        for name in ("critic", "target_critic", "actor_optimizer", "critic_optimizer", "env"):
            getattr(self, name).load_state_dict(strip_prefix(name, state))
        observation = strip_prefix("observation", state)
        self._observation = {name: value.to(self.device) for name, value in observation.items()}
        # New ones: a recording that failed may leave a generator that is waiting for its end.
        self.noise_generator = torch.Generator(self.device)
        self.noise_generator.set_state(state["generator.noise"].cpu())
        self.shuffle_generator = torch.Generator(self.device)
        self.shuffle_generator.set_state(state["generator.shuffle"].cpu())
        self.episodes.load_state(state["episodes"])
        self.iteration = int(state["iteration"])
        self.env_steps = int(state["env_steps"])

    def _present_observation(self) -> Observation:
        """Returns where the next rollout starts; the first call resets the environments."""
        if self._observation is None:
            self._observation = self.env.reset()
        return self._observation


def _check_agreement(env: Environment, config: LearnerConfig) -> None:
    # Only environments that can lack a camera say whether they have one.
    if config.pixels and not getattr(env, "has_camera", True):
        raise ValueError(
            'The config\'s observe is "pixels", but the environment has no camera. Make the '
            'environment with pixels=True, or set observe to "state".'
        )
    pairs: list[tuple[str, object, object]] = [("num_envs", config.num_envs, env.num_envs)]
    if config.pixels:
        image = (3 * config.frame_stack, config.image_size, config.image_size)
        pairs.append(("frame_stack", config.frame_stack, env.frame_stack))
        pairs.append(("pixels_shape", image, tuple(env.pixels_shape)))
    for name, ours, theirs in pairs:
        if ours != theirs:
            raise ValueError(
                f"The environment's {name} is {theirs}, the config asks for {ours}. "
                "Make the environment with the config's num_envs, image_size and frame_stack."
            )
