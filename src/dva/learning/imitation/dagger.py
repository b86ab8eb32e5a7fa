"""State-to-visual DAgger: a policy of images imitates an expert of the state, where it goes itself.

First there must be an expert: the policy of another run (`--expert RUN`), or one that SHAC trains
here, in environments of its own that render nothing. Its steps and its time are the run's. Then one
iteration is

1. rollout: h steps of the student in N environments, without any graph;
2. replay: what it saw, and the states, join those of the last rollouts;
3. imitation: regression of the student's actions onto the expert's in the states of the replay,
   until the loss is small enough, or for so many updates.

The loss is the squared error of mean actions, after tanh: it is there that robots feel them, and
there that every expert has them, whatever it is. The mean is over samples and actions.

Source: You, Liu, Abraham, arXiv 2505.10646, Table 9; Mu et al., "When Should We Prefer
State-to-Visual DAgger Over Visual Reinforcement Learning?", 2024; Ross et al., "A Reduction of
Imitation Learning and Structured Prediction to No-Regret Online Learning", 2011.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dva.compute.arguments import require
from dva.compute.errors import require_known
from dva.compute.random_streams import stream_seed
from dva.compute.timing import PhaseTimer
from dva.envs import EnvConfig, Environment
from dva.learning.algorithm import PRESETS, AlgorithmEntry, Metrics, Preset, TrainingContext
from dva.learning.config import (
    RegressionConfig,
    Values,
    network_sizes,
    preset_of,
    require_count,
    require_rate,
)
from dva.learning.first_order.config import choose_preset
from dva.learning.first_order.shac import SHAC, ShacConfig
from dva.learning.muon import muon_of_actor
from dva.learning.optimizer import linear_learning_rate
from dva.learning.registry import register
from dva.learning.regression import (
    IMITATION_PIECES,
    choose_micro_batch,
    set_imitation_gradient,
)
from dva.learning.replay import RolloutReplay
from dva.learning.rollout import Rollout
from dva.learning.rollout_learner import RolloutLearner
from dva.policies import NO_MEMORY, ActorPolicy, SavedPolicy, normalize
from dva.spec import STATE

__all__ = ["DAgger", "DaggerConfig"]

GROUP = 10
"""Updates between two looks at their mean loss, for which the host has to wait for the device."""
OF_STUDENT = (
    "return", "episode_length", "reward", "action_std", "imitation_loss", "actor_grad_norm",
    "learning_rate", "seconds_rollout", "seconds_imitation", "seconds_rendering",
    "seconds_simulation",
)  # fmt: skip
"""Metrics that there are none of while the expert is trained."""


OPTIMIZERS = ("adam", "muon")


@dataclass
class DaggerConfig(RegressionConfig):
    """Hyperparameters of DAgger; the defaults are the paper's (Table 9).

    Raises:
        ValueError: a value is outside its range.
    """

    expert: Path | None = None
    """Folder of the run whose policy is imitated; it must see the state and nothing else. None: an
    expert is trained first."""
    expert_steps: int = 1_024_000
    """Environment steps, of all, in which the expert is trained, without --expert."""
    expert_envs: int | None = None
    """Environments in which it is trained, none of them rendered; None: as many as the
    student's."""
    expert_training: ShacConfig = field(default_factory=ShacConfig)
    """Its training, by SHAC."""
    optimizer: str = "adam"
    """What makes the student's updates: adam, or muon, whose learning rates are higher."""
    learning_rate: float = 2e-3
    """Learning rate at the student's first step."""
    final_learning_rate: float = 1e-5
    """Learning rate at the last planned step; linear between."""
    learning_starts: int = 32_000
    """Samples that the student collects before it learns."""
    replay_samples: int = 100_000
    """Samples of the last rollouts that it learns from, rounded down to whole rollouts."""
    batch: int = 128
    """Samples in an update."""
    max_updates: int = 2_000
    """Updates in an iteration, at most."""
    stop_loss: float = 0.1
    """Mean loss of ten updates at which an iteration makes no more of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.expert, str):
            self.expert = Path(self.expert)
        require_known("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("expert_steps", "replay_samples", "batch", "max_updates"):
            require_count(name, getattr(self, name), 1_000_000_000)
        if self.expert_envs is not None:
            require_count("expert_envs", self.expert_envs, 1_000_000)
        for name in ("learning_rate", "final_learning_rate"):
            require_rate(name, getattr(self, name))
        for name in ("learning_starts", "stop_loss"):
            value = getattr(self, name)
            require(name, value, value >= 0, "0 or more")


class DAgger(RolloutLearner):
    """Trains a policy to do what an expert of the state would do.

    Args:
        env: N environments, which are reset; training runs on their device.
        config: hyperparameters.
        context: planned steps, seed, threads; and the expert, if there is one.

    Raises:
        ValueError: the expert is not one for these environments; or there is none, and none can be
            trained.
    """

    config: DaggerConfig

    def __init__(self, env: Environment, config: DaggerConfig, context: TrainingContext) -> None:
        super().__init__(env, config, context)
        if config.optimizer == "muon":
            self.actor_optimizer = muon_of_actor(self.actor, config.max_grad_norm, self.group)
        self.trainer: SHAC | None = None
        """Trains the expert, unless one was given."""
        if context.expert is not None:
            self.expert: SavedPolicy = context.expert
            require_expert(self.expert, env)
        else:
            self.trainer = self._make_trainer()
            self.parts = (*self.parts, "trainer")
            self.expert = self.trainer.policy
        samples = env.num_envs * config.horizon
        self.replay = RolloutReplay(
            env.policy_spec, env.observation_spec[STATE].channels, env.num_envs, config.horizon,
            max(1, config.replay_samples // samples), self.device,
        )  # fmt: skip
        self.generators["replay"] = self.new_generator("replay")
        self.micro_batch = min(
            choose_micro_batch(config, self.actor, config.batch, self.device, self.threads or 1),
            -(-config.batch // IMITATION_PIECES[self.device.type]),
        )
        """Samples in one pass of the regression, at most."""

    @property
    def large_state(self) -> RolloutReplay:
        """The replay."""
        return self.replay

    @property
    def own_steps(self) -> int:
        """Finished environment steps of the student."""
        return self.env_steps - (0 if self.trainer is None else self.trainer.env_steps)

    def iterate(self) -> Metrics:
        """Trains the expert, or once that is done the student; see `Learner.iterate`."""
        if self.trainer is None:
            return super().iterate()
        if self.trainer.env_steps < self.config.expert_steps:
            return self._train_expert(self.trainer)
        return {**super().iterate(), "expert_return": None, "seconds_expert": None}

    def set_learning_rates(self) -> float:
        """Gives the optimizer its rate, by the student's share of the planned steps."""
        planned = self.context.env_steps - (self.env_steps - self.own_steps)
        config = self.config
        rate = linear_learning_rate(
            config.learning_rate, config.final_learning_rate, self.own_steps, max(1, planned)
        )
        self.actor_optimizer.set_learning_rate(rate)
        return rate

    def train_once(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs one iteration of the student; see `Learner.train_once`."""
        with timer("rollout"):
            rollout = self.blocks("rollout", self.collect_without_graph)
            measures = self.blocks("measures", self.measure, rollout)
            self.blocks("replay", self.remember, rollout)
        with timer("imitation"):
            if self.own_steps + rollout.done.numel() >= self.config.learning_starts:
                found, skipped, updates = self._imitate()
            else:
                found = torch.full((3,), torch.nan, device=self.device)
                skipped, updates = torch.zeros((), device=self.device), 0
                self._since_start = -1  # updates shall have run before they are recorded
        return rollout, {
            **measures,
            "imitation_loss": found[0],
            "actor_grad_norm": found[1],
            "updates": torch.full_like(skipped, updates),
            "skipped_updates": skipped,
            "nonfinite_count": skipped,
        }

    def remember(self, rollout: Rollout) -> None:
        """Block 2: adds a rollout to the replay, and lets the statistics of what is seen follow."""
        self.replay.add(rollout.frames, rollout.vectors, rollout.states)
        self.update_statistics(rollout)

    def _imitate(self) -> tuple[Tensor, Tensor, int]:
        """Makes groups of updates until their loss is small enough.

        Returns:
            Mean loss, gradient norm and share of skipped updates of the last group (3,); number of
            skipped updates (); number of updates.
        """
        group = min(GROUP, self.config.max_updates)
        found, skipped = torch.zeros(3), torch.zeros((), device=self.device)
        groups = self.config.max_updates // group
        for done in range(1, groups + 1):
            # A copy: a recorded block writes its next results to the same place.
            found = self.blocks("imitation", self.improve_policy, group).clone()
            skipped = skipped + found[2] * group
            if found[0].item() <= self.config.stop_loss:
                groups = done
                break
        return found, skipped, groups * group

    def improve_policy(self, updates: int) -> Tensor:
        """Block 3: makes updates; returns means of loss, gradient norm and skips (3,)."""
        rows = []
        for _ in range(updates):
            seen, states = self.replay.sample(self.config.batch, self.generators["replay"])
            loss = set_imitation_gradient(
                self.actor,
                normalize(seen, self.policy.normalizers),
                self.expert.act({STATE: states}, NO_MEMORY)[0],
                self.micro_batch,
                self.threads or 1,
            )
            rows.append(torch.stack([loss, *self.actor_optimizer.step()]))
        return torch.stack(rows).mean(0)

    # ------------------------------------------------------------------ the expert

    def _make_trainer(self) -> SHAC:
        """Makes SHAC for environments of the state.

        Raises:
            ValueError: no expert can be trained here.
        """
        config, context = self.config, self.context
        if config.expert is not None:
            raise ValueError(
                f"The expert of {config.expert} was not loaded. Build the algorithm with "
                "dva.runs.build, or give its policy as TrainingContext(expert=...)."
            )
        if config.expert_steps >= context.env_steps:
            raise ValueError(
                f"expert_steps is {config.expert_steps:,}, and all planned steps are "
                f"{context.env_steps:,}: none are left for the student. Plan more (--env-steps), "
                "take fewer --expert-steps, or give an --expert."
            )
        if not self.env.simulator.differentiable:
            raise ValueError(
                "Without --expert one is trained by SHAC, which needs a differentiable simulator; "
                f"{type(self.env.simulator).__name__} is not. Give the run of an --expert."
            )
        seed = stream_seed(context.seed, "expert")
        env = self.env.without_sensors(stream_seed(seed, "starts"), config.expert_envs)
        return SHAC(
            env,
            config.expert_training,
            TrainingContext(config.expert_steps, seed, context.threads, context.cuda_graphs),
        )

    def _train_expert(self, trainer: SHAC) -> Metrics:
        """Trains the expert a little; metrics are the student's, who has not done anything yet."""
        timer, before = PhaseTimer(self.device), trainer.env_steps
        with timer("expert"):
            found = trainer.iterate()
        self.iteration += 1
        self.env_steps += trainer.env_steps - before
        names = [*OF_STUDENT, *(["visual_feedback"] if self.env.policy_spec.images else [])]
        return {
            **dict.fromkeys(names),
            "updates": 0,
            "skipped_updates": 0,
            "nonfinite_count": found["nonfinite_count"],
            "expert_return": found["return"],
            "seconds_expert": timer.seconds()["expert"],
        }

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing needs but the replay's rollouts, which are apart."""
        return {**super().state_dict(), "replay_count": self.replay.count.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        super().load_state_dict(state)
        self.replay.count.copy_(state["replay_count"])


def require_expert(expert: SavedPolicy, env: Environment) -> None:
    """Makes sure that an expert can be asked what to do in an environment's states.

    Raises:
        ValueError: it sees something else than the state, moves another robot, or has a memory.
    """
    seen, state = expert.observation_spec, env.observation_spec[STATE]
    if list(seen) != [STATE]:
        raise ValueError(
            f"The expert sees {', '.join(seen)}; an expert must see the state and nothing else. "
            "Train one with --observe state."
        )
    if seen[STATE].stacked_shape != state.stacked_shape:
        raise ValueError(
            f"The expert reads states of {seen[STATE].stacked_shape[0]} numbers, and those of this "
            f"task have {state.stacked_shape[0]}. Give an expert of the same task."
        )
    if expert.action_spec != env.action_spec:
        raise ValueError(
            f"The expert's actions are {expert.action_spec}, and this task's are "
            f"{env.action_spec}. Give an expert of the same task."
        )
    if expert.initial_state(1):
        raise ValueError(
            "The expert has a memory, and cannot say what to do in states that it did not come "
            "through. Give an expert without one."
        )


_STUDENT: dict[str, Values] = {
    "paper": {"iterations": 500},
    "cpu": {
        "image_size": 48, "num_envs": 16, "learning_starts": 4_000, "replay_samples": 30_000,
        "max_updates": 20, "stop_loss": 0.005, "iterations": 300,
        "optimizer": "muon", "learning_rate": 0.02,
    },
    "fast": {
        "num_envs": 256, "horizon": 16, "max_updates": 200, "stop_loss": 0.005, "iterations": 500,
        "optimizer": "muon", "learning_rate": 0.02,
    },
}  # fmt: skip
"""Steps of the student are not in the paper."""


def _preset(task: str, name: str, observe: tuple[str, ...] | None) -> Preset:
    require_known("preset", name, PRESETS)
    values = {**network_sizes(task), **_STUDENT[name]}
    del values["critic_hidden"]  # there is none
    # As for D.Va, whose policy looks at the same images.
    values["center_features"] = name != "paper" and task != "cartpole"
    student = preset_of(DaggerConfig, values, observe or ("pixels",))
    config = student.algorithm
    expert = choose_preset(ShacConfig, task, name, (STATE,))
    config.expert_training = expert.algorithm
    config.expert_envs = expert.env.get("num_envs", EnvConfig.num_envs)
    config.expert_steps = expert.env_steps
    return dataclasses.replace(student, env_steps=student.env_steps + config.expert_steps)


register(
    AlgorithmEntry(
        "dagger",
        "DAgger: a policy of pixels imitates an expert of the state, given or trained first.",
        DaggerConfig,
        DAgger,
        ActorPolicy,
        _preset,
        expert=lambda config: config.expert,
    )
)
