"""DreamerV3: learns a model of the environment, and to act in what the model imagines.

Hafner, Pasukonis, Ba, Lillicrap, "Mastering Diverse Domains through World Models" (arXiv
2301.04104). One iteration takes some steps in the environments, then makes as many updates as these
steps are worth:

    sample sequences from the replay
    world model   latent states of the sequences; their predictions of observation, reward, end
    imagination   from each of these latent states the actor acts in the model for 15 steps
    critic        learns the lambda-returns of the imagined trajectories
    actor         makes actions likelier whose return is above the critic's value
"""

import copy
import math
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from dva.compute.precision import resolve_precision
from dva.compute.random_streams import stream_seed
from dva.compute.timing import PhaseTimer
from dva.envs import Environment
from dva.envs.frames import newest
from dva.learning.algorithm import AlgorithmEntry, TrainingContext
from dva.learning.collecting import Collector, StepsTaken
from dva.learning.critic import update_target
from dva.learning.learner import Learner
from dva.learning.optimizer import ClippedAdam
from dva.learning.registry import register
from dva.learning.state import add_prefix, strip_prefix
from dva.learning.steps import Sequences, StepReplay, bytes_per_step
from dva.learning.world_model.behaviour import (
    DreamerCritic,
    Imagined,
    ReturnRange,
    actor_loss,
    critic_loss,
    imagine,
    lambda_returns,
    trajectory_weights,
)
from dva.learning.world_model.config import DreamerV3Config, choose_preset
from dva.learning.world_model.policy import DreamerPolicy
from dva.learning.world_model.rssm import Latent
from dva.learning.world_model.world_model import WorldModelHeads, model_loss

__all__ = ["DreamerV3"]

_BETAS = (0.9, 0.999)
_MODEL_EPS, _BEHAVIOUR_EPS = 1e-8, 1e-5
_MODEL_NORM, _BEHAVIOUR_NORM = 1000.0, 100.0
"""Gradient norms at which world model, and actor and critic, are clipped (first version of the
paper)."""


class DreamerV3(Learner):
    """Trains a policy in imagination. See `Algorithm`.

    Args:
        env: N environments with the readings of final observations; they are reset.
        config: hyperparameters.
        context: planned steps, seed, and whether updates are recorded as CUDA graphs.

    Raises:
        ValueError: environment and configuration disagree.
    """

    parts = (
        "heads", "critic", "slow_critic", "return_range", "model_optimizer", "actor_optimizer",
        "critic_optimizer", "replay", "env",
    )  # fmt: skip
    records_env = False
    policy: DreamerPolicy

    def __init__(self, env: Environment, config: DreamerV3Config, context: TrainingContext) -> None:
        super().__init__(env, context)
        self.config = config
        # Parameters are drawn on the CPU: a seed means the same networks on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(context.seed, "networks"))
            self.policy = DreamerPolicy(
                env.policy_spec,
                env.action_spec,
                config.size,
                config.action_repeat,
                config.precision,
                self.device,
            )
            features = self.policy.rssm.feature_size
            self.heads = WorldModelHeads(
                self.policy.model_spec,
                features,
                self.policy.encoder.output_size,
                config,
                resolve_precision(config.precision, self.device),
            ).to(self.device)
            self.critic = DreamerCritic(features, config.model_size.units).to(self.device)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.return_range = ReturnRange(config.return_decay).to(self.device)
        policy, heads = self.policy, self.heads
        model = [*policy.encoder.parameters(), *policy.rssm.parameters(), *heads.parameters()]
        self.model_optimizer = ClippedAdam(model, _BETAS, _MODEL_NORM, eps=_MODEL_EPS)
        actor, critic = policy.actor.parameters(), self.critic.parameters()
        self.actor_optimizer = ClippedAdam(actor, _BETAS, _BEHAVIOUR_NORM, eps=_BEHAVIOUR_EPS)
        self.critic_optimizer = ClippedAdam(critic, _BETAS, _BEHAVIOUR_NORM, eps=_BEHAVIOUR_EPS)
        self.generators = {
            name: self.new_generator(name) for name in ("acting", "replay", "model", "imagination")
        }
        self.replay = StepReplay(
            policy.model_spec,
            env.action_spec.size,
            env.num_envs,
            self._replay_capacity(),
            self.device,
            config.replay_memory,
        )
        self._fetched: Sequences | None = None
        """A batch from the host's memory, where recorded blocks read it."""
        self.collector = Collector(env, self.replay, config.action_repeat)
        self.memory = policy.initial_state(env.num_envs)
        """The policy's memory in the environments."""

    @property
    def large_state(self) -> StepReplay:
        """The replay."""
        return self.replay

    def set_learning_rates(self) -> float:
        """Gives every optimizer its rate of this iteration; returns the actor's."""
        config = self.config
        share = self.scheduled(1.0, config.final_rate_share)
        self.model_optimizer.set_learning_rate(share * config.model_learning_rate)
        self.critic_optimizer.set_learning_rate(share * config.critic_learning_rate)
        self.actor_optimizer.set_learning_rate(share * config.actor_learning_rate)
        return share * config.actor_learning_rate

    # ------------------------------------------------------------------ an iteration

    def train_once(self, timer: PhaseTimer) -> tuple[StepsTaken, dict[str, Tensor]]:
        """Takes steps, then updates; see `Learner.train_once`."""
        with timer("rollout"):
            steps = [] if self.replay.added else self._act_randomly()
            before = self._updates_due()
            while self._updates_due() == before:
                steps.append(self._step())
        updates = self._updates_due() - before
        with timer("updates"):
            rows = [self._update_once() for _ in range(updates)]
        sums = {name: torch.stack([row[name] for row in rows]).sum() for name in rows[0]}
        counts = {name: sums.pop(name) for name in ("skipped_updates", "nonfinite_count")}
        rewards = torch.stack([step.reward for step in steps])
        return _joined(steps), {
            "reward": rewards.mean() / self.config.action_repeat,
            **{name: total / updates for name, total in sums.items()},
            "updates": torch.full((), float(updates), device=self.device),
            **counts,
        }

    def _updates_due(self) -> int:
        """Counts the updates that all steps so far are worth: no fraction is lost."""
        config = self.config
        replayed = self.replay.added * self.env.num_envs * config.train_ratio
        return math.floor(replayed / (config.batch_size * config.batch_length))

    def _act_randomly(self) -> list[StepsTaken]:
        """Takes the random actions that the first update waits for, and centres images."""
        num_envs, size = self.env.num_envs, self.env.action_spec.size
        wanted = math.ceil(self.config.seed_steps / (num_envs * self.config.action_repeat))
        count = max(self.config.batch_length, wanted)
        draw = self._uniform("acting", count, num_envs, size)
        spec = self.policy.model_spec
        means = {x.name: torch.zeros(x.shape, device=self.device) for x in spec.images}
        steps = []
        for action in 2.0 * draw - 1.0:
            steps.append(self.collector.step(action))
            for name, mean in means.items():
                mean += newest(self.env.observation[name], spec[name]).float().mean(0) / count
        if self.config.center_images:
            self.policy.encoder.center(means)
        return steps

    def _step(self) -> StepsTaken:
        """Takes one action of the policy in every environment."""
        policy, num_envs = self.policy, self.env.num_envs
        uniform = self._uniform("acting", num_envs, policy.rssm.size.categoricals)
        normal = self._normal("acting", num_envs, self.env.action_spec.size)
        action, memory = policy.choose(self.collector.observation, self.memory, uniform, normal)
        taken = self.collector.step(action)
        self.memory = policy.reset(memory, taken.ended)
        return taken

    # ------------------------------------------------------------------ an update

    def _update_once(self) -> dict[str, Tensor]:
        """Updates all networks on new sequences; returns metrics."""
        batch = self._draw()
        latent, model = self.blocks("world_model", self._learn_model, batch)
        behaviour = self.blocks("behaviour", self._learn_behaviour, latent, batch)
        metrics = {**model, **behaviour}
        metrics["nonfinite_count"] = torch.stack([metrics.pop(name) for name in _SKIPS]).sum()
        # Copies: recorded blocks write the next update's numbers into the same memory.
        return {name: value.clone() for name, value in metrics.items()}

    def _draw(self) -> Sequences:
        """Draws the sequences of one update."""
        config, generator = self.config, self.generators["replay"]
        arguments = (config.batch_size, config.batch_length, generator)
        if config.replay_memory == "device":
            return self.blocks("draw", self.replay.sequences, *arguments)
        # A recorded block cannot wait for the host: it finds them where the first ones were.
        drawn = self.replay.sequences(*arguments)
        if self._fetched is None:
            self._fetched = drawn
        for place, value in zip(_tensors(self._fetched), _tensors(drawn), strict=True):
            place.copy_(value)
        return self._fetched

    def _learn_model(self, batch: Sequences) -> tuple[Latent, dict[str, Tensor]]:
        """Updates the world model; returns the latent states of the batch, (B L, ...)."""
        policy, sizes = self.policy, self.policy.rssm.size
        uniform = self._uniform("model", *batch.reward.shape, sizes.categoricals)
        loss = model_loss(policy.encoder, policy.rssm, self.heads, batch, uniform, self.config)
        norm, skipped = _descend(loss.total, self.model_optimizer)
        latent = Latent(*(part.detach().flatten(0, 1) for part in loss.latent))
        return latent, {**loss.parts, "model_grad_norm": norm, "model_skips": skipped}

    def _learn_behaviour(self, start: Latent, batch: Sequences) -> dict[str, Tensor]:
        """Updates critic and actor on trajectories imagined from latent states."""
        config, critic, actor = self.config, self.critic, self.policy.actor
        imagined = self._imagine(start)
        with torch.no_grad():
            rewards = self.heads.rewards(imagined.features[1:])
            continues = self.heads.continue_probs(imagined.features[1:])
            slow_values = self.slow_critic.value(self.slow_critic(imagined.features[:-1]))
            last_value = critic.value(critic(imagined.features[-1:]))
        logits = critic(imagined.features[:-1])
        values = critic.value(logits.detach())
        returns = lambda_returns(
            rewards, continues, torch.cat([values, last_value]), config.discount, config.td_lambda
        )
        alive = 1.0 - batch.terminated.flatten().float()
        weights = trajectory_weights(alive, continues, config.discount)
        loss = critic_loss(logits, returns, slow_values, weights, critic.bins)
        critic_norm, critic_skipped = _descend(loss, self.critic_optimizer)
        update_target(self.slow_critic, critic, config.critic_decay)
        scale = self.return_range.update(returns)
        distribution = actor(imagined.features[:-1])
        gain = actor_loss(
            distribution, imagined.actions, (returns - values) / scale, weights,
            config.entropy_scale,
        )  # fmt: skip
        norm, skipped = _descend(gain, self.actor_optimizer)
        return {
            "actor_loss": gain.detach(),
            "actor_grad_norm": norm,
            "action_std": distribution.std.detach().mean(),
            "critic_loss": loss.detach(),
            "critic_grad_norm": critic_norm,
            "imagined_return": returns.mean(),
            "return_range": scale,
            "critic_skips": critic_skipped,
            "actor_skips": skipped,
            "skipped_updates": torch.maximum(skipped, (norm == 0.0).float()),
        }

    def _imagine(self, start: Latent) -> Imagined:
        horizon, count = self.config.imagination_horizon, len(start.deter)
        uniform = self._uniform("imagination", horizon, count, self.policy.rssm.size.categoricals)
        normal = self._normal("imagination", horizon, count, self.env.action_spec.size)
        return imagine(self.policy.rssm, self.policy.actor, start, uniform, normal)

    def _uniform(self, generator: str, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generators[generator], device=self.device)

    def _normal(self, generator: str, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generators[generator], device=self.device)

    def _replay_capacity(self) -> int:
        """Returns the steps that the replay is to hold.

        Raises:
            ValueError: the machine's memory cannot hold them.
        """
        config, on_cuda = self.config, self.device.type == "cuda"
        each = bytes_per_step(self.policy.model_spec, self.env.action_spec.size)
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        on_host = config.replay_memory == "host" or not on_cuda
        if on_host and config.replay_steps * each > installed:
            raise ValueError(
                f"replay_steps is {config.replay_steps:,}; at {each:,} bytes each they take "
                f"{config.replay_steps * each / 1e9:,.0f} GB, and this machine has "
                f"{installed / 1e9:,.0f} GB. Use at most --replay-steps {installed // each}."
            )
        return config.replay_steps

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing bit for bit needs, but for what the replay keeps."""
        return {**super().state_dict(), **add_prefix("memory", self.memory)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned, for the same configuration."""
        super().load_state_dict(state)
        memory = strip_prefix("memory", state)
        self.memory = {name: memory[name].to(self.device, copy=True) for name in self.memory}


_ROWS = ("action", "reward", "first", "last", "terminated")
_SKIPS = ("model_skips", "critic_skips", "actor_skips")


def _descend(loss: Tensor, optimizer: ClippedAdam) -> tuple[Tensor, Tensor]:
    """Lets an optimizer lower a loss; returns the gradient's norm, and 1.0 if it was skipped."""
    gradients = torch.autograd.grad(loss, optimizer.parameters)
    for parameter, gradient in zip(optimizer.parameters, gradients, strict=True):
        parameter.grad = gradient
    return optimizer.step()


def _tensors(batch: Sequences) -> list[Tensor]:
    return [*batch.observation.values(), *(getattr(batch, name) for name in _ROWS)]


def _joined(steps: list[StepsTaken]) -> StepsTaken:
    """Joins steps along the axis of time."""
    return StepsTaken(
        **{
            name: torch.cat([getattr(step, name) for step in steps])
            for name in ("done", "episode_returns", "episode_lengths", "nonfinite")
        },
        reward=torch.stack([step.reward for step in steps]).sum(0),
        ended=torch.stack([step.ended for step in steps]).any(0),
    )


register(
    AlgorithmEntry(
        "dreamerv3",
        "DreamerV3: a policy that learns in the imagination of a learned world model.",
        DreamerV3Config,
        DreamerV3,
        DreamerPolicy,
        choose_preset,
        final_observations=True,
        threads_inside=True,
    )
)
