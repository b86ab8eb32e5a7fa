"""D.Va: decoupled visual analytical policy gradient.

One iteration is three blocks, then the critic:

1. rollout: images, actor without a graph, physics with one;
2. action gradient dL/da: through physics, reward and critic;
3. regression: sum_i dL/da_i . da_i/dtheta, in micro-batches of images; or, with a guide, onto a
   policy of the state, which the policy of images then imitates (`guide.py`).

With states instead of images (`observe="state"`) it is the decoupled gradient of the paper's
Appendix D: nothing but the actor's input changes.

Source: You, Liu, Abraham, "Accelerating Visual-Policy Learning through Parallel Differentiable
Simulation", arXiv 2505.10646, algorithm 1 and Theorem 1.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dva.compute.arguments import require
from dva.compute.random_streams import stream_seed
from dva.compute.timing import PhaseTimer
from dva.envs import Environment
from dva.learning.algorithm import AlgorithmEntry, Preset, TrainingContext
from dva.learning.config import RegressionConfig, Values, require_count, require_rate, require_share
from dva.learning.first_order.action_gradient import (
    ActionGradient,
    cap_environments,
    drop_nonfinite,
    find_action_gradient,
)
from dva.learning.first_order.actor_critic import FirstOrderAlgorithm
from dva.learning.first_order.config import FirstOrderConfig, choose_preset
from dva.learning.first_order.guide import Guide
from dva.learning.muon import muon_of_actor
from dva.learning.registry import register
from dva.learning.regression import (
    IMITATION_PIECES,
    choose_micro_batch,
    decoupled_objective,
    set_policy_gradient,
)
from dva.learning.replay import RolloutReplay
from dva.learning.rollout import Rollout
from dva.policies import ActorPolicy, normalize
from dva.policies.actor import Weights
from dva.spec import STATE, Observation

__all__ = ["DVA", "DvaConfig"]


@dataclass
class DvaConfig(FirstOrderConfig, RegressionConfig):
    """Hyperparameters of D.Va."""

    action_gradient: str = "adjoint"
    """Estimator of dL/da: adjoint, through a differentiable simulator; MODULE:NAME for one of your
    own."""
    action_gradient_cap: float | None = None
    """Longest dL/da of one environment, in medians over all of them; longer ones are shortened.
    None: any length."""
    guide: bool = False
    """Let a policy of the state learn the action gradients, and the policy imitate it."""
    guide_envs: int = 56
    """Environments in which the guide acts and from which it learns, beside those in which the
    policy acts; nothing is rendered there. 0: the guide learns from what the policy does."""
    guide_restarts: int = 0
    """Of these environments, how many begin every rollout in states in which the policy is, so that
    the guide learns to go on from there. 0: the guide sees only where it comes to by itself."""
    quiet_share: float = 0.0
    """Share of the policy's environments beside those of a guide in which it acts without noise, as
    it does in the end: there are states that noise never leads to. 0: none."""
    guide_closed_loop: bool = True
    """In its own environments, let the guide's action gradients include how its later actions
    answer to the state, as SHAC's gradient does; without, later actions are held fixed."""
    guide_average: float = 0.95
    """Share of itself that a running average of the guide, which the policy imitates, keeps in an
    iteration. 0: the policy imitates the guide as it is."""
    imitation_steps: int = 4
    """Updates of the policy in an iteration, with a guide."""
    imitation_batch: int = 128
    """Samples in each of them."""
    imitation_learning_rate: float = 0.02
    """Learning rate at the first step of Muon, which makes these updates."""
    replay_images: int = 20_000
    """Samples of the last rollouts to imitate the guide on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        cap = self.action_gradient_cap
        valid = cap is None or 0.0 < cap < math.inf
        require("action_gradient_cap", cap, valid, "above 0, or None")
        for name in ("imitation_steps", "imitation_batch", "replay_images"):
            require_count(name, getattr(self, name), 100_000_000)
        require_share("guide_average", self.guide_average)
        many = self.guide_envs
        require("guide_envs", many, 0 <= many <= 1_000_000, "between 0 and 1,000,000")
        restarts = self.guide_restarts
        valid = not self.guide or 0 <= restarts <= many
        require("guide_restarts", restarts, valid, f"between 0 and guide_envs, {many}")
        require_rate("imitation_learning_rate", self.imitation_learning_rate)
        require_share("quiet_share", self.quiet_share)
        alone = not self.guide or many > 0 or self.quiet_share == 0.0
        why = "0 where the guide has no environments of its own (guide_envs=0) to explore in"
        require("quiet_share", self.quiet_share, alone, why)


class DVA(FirstOrderAlgorithm):
    """Trains a policy with action gradients from a simulator.

    Args:
        env: as for `FirstOrderAlgorithm`.
        config: hyperparameters.
        context: planned steps, seed, threads.
        action_gradient: estimator of dL/da; None: the one that the configuration names.

    Raises:
        ValueError: environment and configuration disagree, or the estimator needs a differentiable
            simulator and this one is not.
    """

    config: DvaConfig

    def __init__(
        self,
        env: Environment,
        config: DvaConfig,
        context: TrainingContext,
        action_gradient: ActionGradient | None = None,
    ) -> None:
        super().__init__(env, config, context)
        self.action_gradient = action_gradient or find_action_gradient(config.action_gradient)
        if self.action_gradient.needs_graph and not env.simulator.differentiable:
            raise ValueError(
                f"The action gradient {config.action_gradient!r} needs a differentiable simulator, "
                f"and {type(env.simulator).__name__} is not. Use another simulator, or an action "
                "gradient that needs no graph."
            )
        self._cuda_graphs = self._cuda_graphs and self.action_gradient.recordable
        self.micro_batch = choose_micro_batch(
            config, self.actor, env.num_envs * config.horizon, self.device, self.threads or 1
        )
        """Samples in one pass of the regression, at most."""
        self.guide = self._make_guide() if config.guide else None
        """The policy of the state that learns in the policy's stead."""
        self.taught = slice(env.blind_envs or None)
        """The guide's own environments, if there are such, or all: from these it learns, and the
        critic, which is to value what the guide does and not what its pupil does."""
        self.measured = slice(env.blind_envs, None)
        self._restarts = self.group.share("guide_restarts", config.guide_restarts)
        self._noisy = self._choose_noisy()
        if self.guide is not None:
            self.parts = (*self.parts, "guide")
        elif env.blind_envs:
            raise ValueError(
                f"The environment has {env.blind_envs} environments without sensors, in which only "
                "a guide can act. Make it without (blind_envs=0), or set guide=True."
            )

    @property
    def large_state(self) -> RolloutReplay | None:
        """The guide's replay, if there is one."""
        return self.guide.replay if self.guide is not None else None

    def set_learning_rates(self) -> float:
        """Gives every optimizer its rate; with a guide the actor's is the guide's."""
        rate = super().set_learning_rates()
        if self.guide is not None:
            self.guide.optimizer.set_learning_rate(rate)
            imitation = self.learning_rate(self.config.imitation_learning_rate)
            self.actor_optimizer.set_learning_rate(imitation)
        return rate

    def train_once(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs the three blocks and the critic's; see `Learner.train_once`."""
        with timer("rollout"):
            rollout = self.blocks("rollout", self.rollout)
            measures = self.blocks("measures", self.measure, rollout)
        with timer("action_gradient"):
            gradient, loss, dropped = self.blocks(
                "action_gradient", self._finite_action_gradient, rollout
            )
        with timer("regression"):
            norm, skipped = self.blocks("regression", self._improve_actor, rollout, gradient)
        nonfinite = self.group.sum(dropped.sum()) + skipped
        dead = torch.maximum(skipped, (norm == 0.0).float())
        imitation: dict[str, Tensor] = {}
        if self.guide is not None:
            with timer("imitation"):
                error, skips = self.blocks("imitation", self._imitate)
            imitation = {"imitation_error": error}
            nonfinite = nonfinite + skips
            dead = torch.maximum(dead, (skips == self.config.imitation_steps).float())
        with timer("critic"):
            critic = self.blocks("critic", self.fit_critic, rollout)
            self.blocks("statistics", self.update_statistics, rollout)
        # Each process counts its own environments in 1 / (N h).
        length = self.group.norm(gradient.norm()) / self.group.size
        return rollout, {
            **measures,
            **critic,
            **imitation,
            "actor_loss": torch.where(torch.isfinite(loss), loss, 0.0).sum(),
            "actor_grad_norm": norm,
            "action_gradient_norm": length,
            "skipped_updates": dead,
            "nonfinite_count": critic["nonfinite_count"] + nonfinite,
        }

    def measure(self, rollout: Rollout) -> dict[str, Tensor]:
        """Adds what the guide earns in its environments; see `RolloutLearner.measure`."""
        measures = super().measure(rollout)
        if self.env.blind_envs:
            # Less those that go on from where the policy is: it may be about to fall there.
            blind = self.env.blind_envs
            alone = slice(self._restarts if self._restarts < blind else 0, blind)
            measures["guide_reward"] = rollout.rewards.detach()[:, alone].mean()
        return measures

    def prepare_rollout(self) -> None:
        """Puts some of the guide's robots where the policy's are; see `guide_restarts`."""
        if self.guide is None or not self._restarts:
            return
        robots = torch.arange(self._restarts, device=self.device)
        blind = self.env.blind_envs
        first = self.guide.replay.count * self._restarts  # each in its turn, where they are fewer
        self.env.begin_at(robots, blind + (robots + first) % (self.env.num_envs - blind))

    def rollout(self) -> Rollout:
        """Block 1: collects h steps; the policy leaves no graph, the physics leaves one."""
        with torch.no_grad():
            weights = self.actor.cast_weights()  # the parameters stay as they are for h steps
        with torch.set_grad_enabled(self.action_gradient.needs_graph):
            return self.collect(partial(self._sample_action, weights))

    def policy_gradient(self, rollout: Rollout, action_gradient: Tensor) -> None:
        """Block 3: replaces the actor's gradients by the decoupled policy gradient of a rollout.

        Args:
            rollout: gives what the policy saw, and noise.
            action_gradient: dL/da (h, N, A).

        Raises:
            ValueError: the policy sees images and the rollout has none.
        """
        missing = [x.name for x in self.env.policy_spec.images if x.name not in rollout.frames]
        if missing:
            raise ValueError(
                f"The rollout has no frames of {missing[0]!r}, which the policy sees. Collect the "
                "rollout with this algorithm's rollout()."
            )
        vectors = {
            name: value.flatten(0, 1)
            for name, value in normalize(rollout.vectors, self.horizon_normalizers).items()
        }

        def inputs(start: int, stop: int) -> dict[str, Tensor]:
            images = {
                name: buffer.observations(start, stop) for name, buffer in rollout.frames.items()
            }
            return {**images, **{name: value[start:stop] for name, value in vectors.items()}}

        set_policy_gradient(
            self.actor,
            inputs,
            decoupled_objective(rollout.noise, action_gradient),
            self.env.num_envs * self.config.horizon,
            self.micro_batch,
            self.threads or 1,
        )

    def _finite_action_gradient(self, rollout: Rollout) -> tuple[Tensor, Tensor, Tensor]:
        """Block 2, of the taught environments, capped and without those whose gradient is not
        finite; and the loss (N,), and which were dropped, bool (N,)."""
        gradient, loss = self.action_gradient(
            rollout, self.env, self.target_value, self.config.discount
        )
        rows = (len(rollout.actions), self.env.num_envs)
        self._check_estimate("dL/da", gradient, (*rows, self.env.action_spec.size))
        self._check_estimate("the loss", loss, rows[1:])
        gradient, dropped = drop_nonfinite(gradient[:, self.taught])
        if self.config.action_gradient_cap is not None:
            cap = self.config.action_gradient_cap
            gradient = cap_environments(gradient, cap, self.group)
        return gradient, loss, dropped

    def _check_estimate(self, what: str, value: object, shape: tuple[int, ...]) -> None:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if found != shape:
            raise ValueError(
                f"{type(self.action_gradient).__name__} returns {what} as {found}, expected a "
                f"tensor {shape}. It must return dL/da (h, N, A) and the loss (N,)."
            )

    def _improve_actor(self, rollout: Rollout, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Block 3 and the update of the actor, or of its guide."""
        if self.guide is not None:
            return self.guide.learn(rollout, gradient, self.taught, self.horizon_normalizers)
        self.policy_gradient(rollout, gradient)
        return self.actor_optimizer.step()

    def _guided_mean(self, observation: Observation) -> Tensor:
        """What the guide does in its environments: (blind_envs, A)."""
        assert self.guide is not None
        states = observation[STATE][self.taught]
        with torch.set_grad_enabled(self.config.guide_closed_loop and torch.is_grad_enabled()):
            return self.guide.actor({STATE: self.horizon_normalizers[STATE](states)})[0]

    def _choose_noisy(self) -> Tensor | None:
        """Tells by 1.0 and 0.0, (N, 1), where actions are noisy; None: everywhere."""
        quiet = int(self.config.quiet_share * (self.env.num_envs - self.env.blind_envs))
        if self.guide is None or not quiet:
            return None
        noisy = torch.ones(self.env.num_envs, 1, device=self.device)
        noisy[self.env.num_envs - quiet :] = 0.0
        return noisy

    def _imitate(self) -> tuple[Tensor, Tensor]:
        """Lets the actor imitate its guide; returns the error, and the count of skipped updates."""
        assert self.guide is not None
        config = self.config
        return self.guide.teach(
            config.imitation_steps,
            config.imitation_batch,
            self.generators["replay"],
            self.horizon_normalizers,
            min(self.micro_batch, -(-config.imitation_batch // IMITATION_PIECES[self.device.type])),
            self.threads or 1,
        )

    def _make_guide(self) -> Guide:
        if list(self.env.policy_spec) == [STATE]:
            raise ValueError(
                "A guide is for policies of images, and this one sees nothing but the state. "
                "Set guide=False (--no-guide)."
            )
        self.generators["replay"] = self.new_generator("replay")
        self.actor_optimizer = muon_of_actor(self.actor, self.config.max_grad_norm, self.group)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.context.seed, "guide"))
            return Guide(
                self.env, self.config, self.actor, self.actor_optimizer,
                self.config.replay_images, self.config.guide_average, self.device, self.group,
            )  # fmt: skip

    def _sample_action(self, weights: Weights, observation: Observation) -> tuple[Tensor, Tensor]:
        """Draws actions before tanh (N, A), leaves of the physics graph, and their noise."""
        seen = self.policy_input(observation)
        mean = self.policy.mean(seen, weights)
        if self.env.blind_envs:
            mean = torch.cat([self._guided_mean(observation), mean])
        noise = self.draw_noise()
        if self._noisy is not None:
            noise = noise * self._noisy
        action = mean + self.actor.log_std.detach().exp() * noise
        if not action.requires_grad:
            action.requires_grad_(self.action_gradient.needs_graph)
        return action, noise


# What lets a policy of images see.
_FROM_IMAGES: Values = {"center_features": True, "action_gradient_cap": 2.0}
_UNGUIDED = {"cpu": ("cartpole", "hopper"), "fast": ("cartpole",)}
"""All others are guided, those that no preset knows among them."""
# The guide learns as SHAC does in the paper. On a CPU a few environments are rendered; on a GPU so
# many that the policy is as good as its guide at all times.
_GUIDED_VALUES: dict[str, Values] = {
    "cpu": {
        "guide": True, "guide_envs": 56, "guide_restarts": 16, "num_envs": 8, "quiet_share": 0.5,
        "horizon": 32, "iterations": 1_000, "actor_learning_rate": 2e-3, "imitation_steps": 12,
    },
    "fast": {
        "guide": True, "guide_envs": 768, "num_envs": 256, "iterations": 1_000,
        "imitation_steps": 8, "imitation_batch": 512, "replay_images": 60_000,
    },
}  # fmt: skip
# A cheetah's actions are soon learned from pictures; what is slow is the guide. A humanoid falls
# early and in many ways: fewer pictures are of what its policy has yet to learn.
_GUIDED_TASKS: dict[str, dict[str, Values]] = {
    "cpu": {
        "cheetah": {"imitation_steps": 4, "iterations": 1_200},
        "ant": {"iterations": 2_000},
        "humanoid": {
            "guide_envs": 40, "num_envs": 24, "replay_images": 60_000, "iterations": 1_500,
        },
        "anymal": {"actor_learning_rate": 1e-3},
    },
    "fast": {
        "hopper": {"iterations": 600},
        "humanoid": {
            "horizon": 32, "target_alpha": 0.9, "imitation_steps": 12, "iterations": 2_000,
        },
        "anymal": {"actor_learning_rate": 1e-3, "iterations": 600},
    },
}  # fmt: skip


def _preset(task: str, name: str, observe: tuple[str, ...] | None) -> Preset:
    observe = observe or ("pixels",)
    as_published = name not in _UNGUIDED or task == "cartpole"  # which is seen well enough
    last: Values = {}
    if not as_published and task not in _UNGUIDED[name] and observe != (STATE,):
        last = {**_GUIDED_VALUES[name], **_GUIDED_TASKS[name].get(task, {})}
    from_images = {} if as_published else _FROM_IMAGES
    return choose_preset(DvaConfig, task, name, observe, from_images, last)


register(
    AlgorithmEntry(
        "dva",
        "D.Va: action gradients through physics, regressed onto a policy of pixels (or states).",
        DvaConfig,
        DVA,
        ActorPolicy,
        _preset,
        look_up=lambda config: find_action_gradient(config.action_gradient),
        blind_envs=lambda config: config.guide_envs if config.guide else 0,
        distributed=True,
    )
)
