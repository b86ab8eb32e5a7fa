"""SHAC: short-horizon actor-critic, through one graph.

The rollout, the loss and the critic are D.Va's; but the actions stay connected to the observations,
so the gradient also flows from each state through the policy into the next action.

Source: Xu et al., "Accelerated Policy Learning with Parallel Differentiable Simulation", ICLR 2022;
D.Va, equations (1) to (3).
"""

import torch
from torch import Tensor

from dva.compute.timing import PhaseTimer
from dva.envs.environment import Environment, Observation
from dva.learning.first_order.actor_critic import Learner
from dva.learning.first_order.config import ShacConfig
from dva.learning.first_order.rollout import Rollout

__all__ = ["SHAC"]


class SHAC(Learner):
    """Trains a policy with the full analytic gradient of a differentiable simulator.

    Where the gradient that reaches an environment's action is not finite, that action is left out
    of the update, and so are the earlier ones that the gradient then spoils: the other environments
    teach what they would without it. "nonfinite_count" counts each such environment once.

    From pixels the gradient also flows through the images, and all of a rollout's are in one graph:
    memory grows with environments, horizon and size of the images.

    Arguments and errors as for `Learner`; an environment whose camera is not differentiable is
    refused for pixels.

    Raises:
        ValueError: the policy sees pixels, through which no gradient flows.
    """

    pixel_gradient = True

    def __init__(
        self,
        env: Environment,
        config: ShacConfig,
        seed: int = 0,
        threads: int | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        if config.pixels and not getattr(env, "pixel_gradient", False):
            raise ValueError(
                'SHAC with observe "pixels" needs images that carry a gradient, and this camera\'s '
                "do not: its pictures jump when an edge crosses a pixel. Use the camera "
                '"differentiable", or observe "state", or the algorithm "dva", which needs no '
                "gradient through the camera."
            )
        super().__init__(env, config, seed, threads, cuda_graphs)
        self._dropped = torch.zeros(env.num_envs, dtype=torch.bool, device=self.device)
        """Environments with a non-finite gradient in the present iteration, (N,)."""

    def train_once(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs the rollout, the actor's update and the critic's; see `Learner.train_once`."""
        with timer("rollout"):
            rollout = self.blocks("rollout", self.collect, self._sample_action)
        with timer("policy_gradient"):
            loss, norm, skipped, dropped = self.blocks(
                "policy_gradient", self._improve_actor, rollout
            )
        with timer("critic"):
            critic = self.blocks("critic", self.fit_critic, rollout)
        return rollout, {
            **critic,
            "actor_loss": torch.where(torch.isfinite(loss), loss, 0.0).sum(),
            "actor_grad_norm": norm,
            "nonfinite_count": critic["nonfinite_count"] + dropped.sum() + skipped,
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
        mean, log_std = self.actor(self.policy_input(observation, self.horizon_normalizer))
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
