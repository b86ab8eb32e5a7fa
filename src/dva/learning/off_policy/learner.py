"""What off-policy methods share: exploration, the replay, and updates from it."""

import math
from dataclasses import fields, replace

import torch
from torch import Tensor

from dva.compute.timing import PhaseTimer
from dva.envs import Environment
from dva.learning.algorithm import Metrics, TrainingContext
from dva.learning.collecting import Collector, StepsTaken
from dva.learning.learner import Learner
from dva.learning.off_policy.config import OffPolicyConfig, replay_capacity
from dva.learning.optimizer import ClippedAdam
from dva.learning.steps import StepReplay, Transitions
from dva.policies import RepeatingPolicy
from dva.spec import Observation

__all__ = ["OffPolicyLearner", "descend"]


class OffPolicyLearner(Learner):
    """Takes one action in every environment, and then makes some updates from the replay.

    A method is a subclass that sets `policy` and `metric_names`, and has `explore`, `update` and
    `set_learning_rates`.

    Args:
        env: N environments that give final observations, which are reset; training runs on their
            device.
        config: hyperparameters.
        context: planned steps, seed, and whether updates are recorded as a CUDA graph.

    Raises:
        ValueError: environment and configuration disagree, or the replay is too large.
    """

    records_env = False
    parts: tuple[str, ...] = ("env", "replay")
    policy: RepeatingPolicy
    n_step = 1
    """Actions whose rewards a target sums up before it takes a value."""
    metric_names: tuple[str, ...]
    """What `update` returns, beside "skipped"."""

    def __init__(self, env: Environment, config: OffPolicyConfig, context: TrainingContext) -> None:
        super().__init__(env, context)
        self.config = config
        spec, actions = env.policy_spec, env.action_spec.size
        self.replay = StepReplay(
            spec,
            actions,
            env.num_envs,
            replay_capacity(config, spec, actions, self.device),
            self.device,
            config.replay_memory,
        )
        self.collector = Collector(env, self.replay, config.action_repeat)
        self.generators = {
            name: self.new_generator(name) for name in ("exploration", "replay", "updates")
        }
        self._fetched: list[Transitions] = []
        """Batches from the host's memory, where a recorded block reads them."""

    @property
    def large_state(self) -> StepReplay:
        """The replay."""
        return self.replay

    def explore(self, observation: Observation) -> Tensor:
        """Chooses actions (N, A) in [-1, 1] for the present observation, with noise."""
        raise NotImplementedError

    def update(self, batch: Transitions, number: int) -> dict[str, Tensor]:
        """Makes an update; returns metrics by name, and "skipped", 1.0 if it was not made.

        Args:
            batch: what was drawn.
            number: which update of the iteration it is.
        """
        raise NotImplementedError

    def draw(self) -> Transitions:
        """Draws the batch of one update."""
        config, generator = self.config, self.generators["replay"]
        batch = self.replay.transitions(config.batch_size, self.n_step, config.discount, generator)
        return replace(batch, reward=config.reward_scale * batch.reward)

    # ------------------------------------------------------------------ an iteration

    def iterate(self) -> Metrics:
        """Runs one iteration; see `Learner.iterate`."""
        self.collecting = self.env_steps < self.config.seed_steps
        metrics = super().iterate()
        slots = self.replay.slots
        return {
            **metrics,
            "updates": 0 if self.collecting else self.config.updates,
            "replay_steps": min(self.replay.added, slots) * self.env.num_envs,
            "replay_capacity": slots * self.env.num_envs,
        }

    def train_once(self, timer: PhaseTimer) -> tuple[StepsTaken, dict[str, Tensor]]:
        """Takes an action, a random one at first, and learns; see `Learner.train_once`."""
        with timer("rollout"):
            observation = self.collector.observation
            for name, normalizer in self.policy.normalizers.items():
                normalizer.update(observation[name])
            explore = self._act_randomly if self.collecting else self.explore
            with torch.no_grad():
                taken = self.collector.step(explore(observation))
        with timer("updates"):
            found = self._learn_nothing() if self.collecting else self._learn()
        skipped = found["skipped"]
        return taken, {
            "reward": taken.reward.mean() / self.config.action_repeat,
            **{name: found[name] for name in self.metric_names},
            "skipped_updates": skipped,
            "nonfinite_count": skipped,
        }

    def _act_randomly(self, observation: Observation) -> Tensor:
        shape = (self.env.num_envs, self.env.action_spec.size)
        generator = self.generators["exploration"]
        return 2.0 * torch.rand(shape, generator=generator, device=self.device) - 1.0

    def _learn_nothing(self) -> dict[str, Tensor]:
        nothing = torch.zeros((), device=self.device)
        unknown = {name: torch.full_like(nothing, math.nan) for name in self.metric_names}
        return {**unknown, "skipped": nothing}

    def _learn(self) -> dict[str, Tensor]:
        if self.config.replay_memory == "device":
            return self.blocks("updates", self._update_all, None)
        # A recorded block cannot wait for the host: the batches are there before it begins.
        drawn = [self.draw() for _ in range(self.config.updates)]
        if not self._fetched:
            self._fetched = drawn
        for place, batch in zip(self._fetched, drawn, strict=True):
            for one, other in zip(_tensors(place), _tensors(batch), strict=True):
                one.copy_(other)
        return self.blocks("updates", self._update_all, self._fetched)

    def _update_all(self, batches: list[Transitions] | None) -> dict[str, Tensor]:
        """Makes the updates of an iteration; returns means of their metrics, and a sum of those
        that were skipped."""
        rows = [
            self.update(batches[number] if batches else self.draw(), number)
            for number in range(self.config.updates)
        ]
        means = {
            name: torch.stack([row[name] for row in rows if name in row]).mean()
            for name in self.metric_names
        }
        return {**means, "skipped": torch.stack([row["skipped"] for row in rows]).sum()}


def descend(loss: Tensor, optimizer: ClippedAdam) -> Tensor:
    """Makes one step down a loss; returns 1.0 if it was skipped, else 0.0."""
    gradients = torch.autograd.grad(loss, optimizer.parameters)
    for parameter, gradient in zip(optimizer.parameters, gradients, strict=True):
        parameter.grad = gradient
    return optimizer.step()[1]


def _tensors(batch: Transitions) -> list[Tensor]:
    values = [getattr(batch, field.name) for field in fields(batch)]
    return [x for value in values for x in (value.values() if isinstance(value, dict) else [value])]
