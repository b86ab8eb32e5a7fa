"""SHAC: short-horizon actor-critic, through one graph.

The rollout, the loss and the critic are D.Va's; but the actions stay connected to the observations,
so the gradient also flows from each state through the policy into the next action.

Source: Xu et al., "Accelerated Policy Learning with Parallel Differentiable Simulation", ICLR 2022;
D.Va, equations (1) to (3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dva.compute.timing import PhaseTimer
from dva.envs import Environment
from dva.learning.algorithm import AlgorithmEntry, Preset, TrainingContext
from dva.learning.config import Values
from dva.learning.first_order.actor_critic import FirstOrderAlgorithm
from dva.learning.first_order.config import FirstOrderConfig, choose_preset
from dva.learning.registry import register
from dva.learning.rollout import Rollout
from dva.policies import ActorPolicy
from dva.spec import Observation

__all__ = ["SHAC", "ShacConfig"]


@dataclass
class ShacConfig(FirstOrderConfig):
    """Hyperparameters of SHAC."""


class SHAC(FirstOrderAlgorithm):
    """Trains a policy with the full analytic gradient of a differentiable simulator.

    Where the gradient that reaches an environment's action is not finite, that action is left out
    of the update, and so are the earlier ones that the gradient then spoils: the other environments
    teach what they would without it. "nonfinite_count" counts each such environment once.

    From pixels the gradient also flows through the images, and all of a rollout's are in one graph:
    memory grows with environments, horizon and size of the images.

    Args and errors as for `FirstOrderAlgorithm`; an environment is refused if an image that
    the policy sees carries no gradient, and so is a simulator that is not differentiable.

    Raises:
        ValueError: no gradient flows through what the policy sees, or through the physics.
    """

    config: ShacConfig
    image_gradient = True

    def __init__(self, env: Environment, config: ShacConfig, context: TrainingContext) -> None:
        carried = env.images_with_gradient
        without = [entry.name for entry in env.policy_spec.images if entry.name not in carried]
        if without:
            raise ValueError(
                f"SHAC from {', '.join(env.policy_spec)} needs images that carry a gradient, and "
                f"those of {' and '.join(map(repr, without))} do not: pictures of a hard camera "
                'jump when an edge crosses a pixel. Use the camera "differentiable", or observe '
                '"state", or the algorithm "dva", which needs no gradient through the camera.'
            )
        if not env.simulator.differentiable:
            raise ValueError(
                f"SHAC needs a differentiable simulator, and {type(env.simulator).__name__} is "
                "not. Use another simulator or algorithm."
            )
        super().__init__(env, config, context)
        self._dropped = torch.zeros(env.num_envs, dtype=torch.bool, device=self.device)
        """Environments with a non-finite gradient in the present iteration, (N,)."""

    def train_once(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs the rollout, the actor's update and the critic's; see `Learner.train_once`."""
        with timer("rollout"):
            rollout = self.blocks("rollout", self.collect, self._sample_action)
            measures = self.blocks("measures", self.measure, rollout)
        with timer("policy_gradient"):
            loss, norm, skipped, dropped = self.blocks(
                "policy_gradient", self._improve_actor, rollout
            )
        with timer("critic"):
            critic = self.blocks("critic", self.fit_critic, rollout)
            self.blocks("statistics", self.update_statistics, rollout)
        dropped = self.group.sum(dropped.sum())
        return rollout, {
            **measures,
            **critic,
            "actor_loss": torch.where(torch.isfinite(loss), loss, 0.0).sum(),
            "actor_grad_norm": norm,
            "skipped_updates": torch.maximum(skipped, (norm == 0.0).float()),
            "nonfinite_count": critic["nonfinite_count"] + dropped + skipped,
        }

    def _improve_actor(self, rollout: Rollout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Differentiates the actor loss and updates; gives the loss (N,), the gradient's norm and
        whether the update was skipped, and the environments left out, bool (N,)."""
        loss = self.actor_loss(rollout)
        self.actor_optimizer.zero_grad()
        self._dropped = torch.zeros_like(self._dropped)
        loss.sum().backward()
        return loss.detach(), *self.actor_optimizer.step(), self._dropped

    def _sample_action(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Draws actions before tanh (N, A), with their graph, and their noise."""
        mean, log_std = self.actor(self.policy_input(observation))
        noise = self.draw_noise()
        action = mean + log_std.exp() * noise
        if action.requires_grad:
            # One such row would make the whole gradient of the shared parameters non-finite.
            action.register_hook(self._drop_nonfinite)
        return action, noise

    def _drop_nonfinite(self, gradient: Tensor) -> Tensor:
        """Zeroes and notes the environments whose gradient of an action (N, A) is not finite."""
        bad = ~torch.isfinite(gradient).all(-1)
        self._dropped = self._dropped | bad
        return torch.where(bad[:, None], 0.0, gradient)


# From pixels, through the differentiable camera, Table 10; planned iterations from the published
# configurations.
_FROM_IMAGES: Values = {"camera": "differentiable", "iterations": 2_000}
_FROM_IMAGES_TASKS: dict[str, Values] = {
    "cartpole": {"iterations": 800},
    "ant": {"num_envs": 32, "horizon": 8},
    "humanoid": {"num_envs": 32},
}


def _preset(task: str, name: str, observe: tuple[str, ...] | None) -> Preset:
    from_images = {**_FROM_IMAGES, **_FROM_IMAGES_TASKS.get(task, {})}
    return choose_preset(ShacConfig, task, name, observe or ("state",), from_images)


register(
    AlgorithmEntry(
        "shac",
        "SHAC: the full analytic gradient through physics and policy, from states (or pixels, "
        "through a differentiable camera).",
        ShacConfig,
        SHAC,
        ActorPolicy,
        _preset,
        image_gradient=True,
        distributed=True,
    )
)
