"""D.Va: decoupled visual analytical policy gradient.

One iteration is three blocks, then the critic:

1. rollout: images, actor without a graph, physics with one;
2. action gradient dL/da: through physics, reward and critic;
3. regression: sum_i dL/da_i . da_i/dtheta, in micro-batches of images.

With states instead of images (`observe="state"`) it is the decoupled gradient of the paper's
Appendix D: nothing but the actor's input changes.

Source: You, Liu, Abraham, "Accelerating Visual-Policy Learning through Parallel Differentiable
Simulation", arXiv 2505.10646, algorithm 1 and Theorem 1.
"""

from functools import partial

import torch
from torch import Tensor

from dva.compute.timing import PhaseTimer
from dva.envs.environment import Environment, Observation
from dva.learning.first_order.action_gradient import (
    ActionGradient,
    adjoint_action_gradient,
    drop_nonfinite,
)
from dva.learning.first_order.actor_critic import Learner
from dva.learning.first_order.config import DvaConfig
from dva.learning.first_order.regression import set_policy_gradient
from dva.learning.first_order.rollout import Rollout

__all__ = ["DVA"]

PIECE_MEMORY = {"cpu": 32.0, "cuda": 2048.0}
"""Memory for the activations of one piece of the regression by kind of device, MB. Smaller pieces
pay more overhead; much larger ones fall out of a CPU's caches."""


class DVA(Learner):
    """Trains a policy with action gradients from a differentiable simulator.

    Args:
        env: as for `Learner`.
        config: hyperparameters.
        seed, threads, cuda_graphs: as for `Learner`.
        action_gradient: estimator of dL/da; the adjoint of a differentiable simulator unless given,
            and recorded as a CUDA graph only then.

    Raises:
        ValueError: environment and config disagree.
    """

    config: DvaConfig

    def __init__(
        self,
        env: Environment,
        config: DvaConfig,
        seed: int = 0,
        action_gradient: ActionGradient = adjoint_action_gradient,
        threads: int | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        # Another estimator may count in Python what a graph would not.
        cuda_graphs = cuda_graphs and action_gradient is adjoint_action_gradient
        super().__init__(env, config, seed, threads, cuda_graphs)
        self.action_gradient = action_gradient
        self.micro_batch = self._choose_micro_batch()
        """Samples in one pass of the regression, at most."""

    def train_once(self, timer: PhaseTimer) -> tuple[Rollout, dict[str, Tensor]]:
        """Runs the three blocks and the critic's; see `Learner.train_once`."""
        with timer("rollout"):
            rollout = self.blocks("rollout", self.rollout)
        with timer("action_gradient"):
            gradient, loss, dropped = self.blocks(
                "action_gradient", self._finite_action_gradient, rollout
            )
        with timer("regression"):
            norm, skipped = self.blocks("regression", self._improve_actor, rollout, gradient)
        with timer("critic"):
            critic = self.blocks("critic", self.fit_critic, rollout)
        return rollout, {
            **critic,
            "actor_loss": torch.where(torch.isfinite(loss), loss, 0.0).sum(),
            "actor_grad_norm": norm,
            "action_gradient_norm": gradient.norm(),
            "nonfinite_count": critic["nonfinite_count"] + dropped.sum() + skipped,
        }

    def rollout(self) -> Rollout:
        """Block 1: collects h steps; the policy leaves no graph, the physics leaves one."""
        with torch.no_grad():
            converted = self.actor.converted()  # the parameters stay as they are for h steps
        return self.collect(partial(self._sample_action, converted))

    def policy_gradient(self, rollout: Rollout, action_gradient: Tensor) -> None:
        """Block 3: replaces the actor's gradients by the decoupled policy gradient of a rollout.

        Args:
            rollout: gives images or states, and noise.
            action_gradient: dL/da (h, N, A).

        Raises:
            ValueError: the policy sees pixels and the rollout has none.
        """
        if not self.config.pixels:
            states = self.horizon_normalizer(rollout.states).flatten(0, 1)

            def observations(start: int, stop: int) -> Tensor:
                return states[start:stop]

        elif rollout.frames is not None:
            observations = rollout.frames.observations
        else:
            raise ValueError(
                "The rollout's frames are None, but the policy sees pixels. Collect the rollout "
                "with this learner's rollout()."
            )
        set_policy_gradient(
            self.actor,
            observations,
            rollout.noise.flatten(0, 1),
            action_gradient.flatten(0, 1),
            self.micro_batch,
            self.threads or 1,
        )

    def _choose_micro_batch(self) -> int:
        """Takes what the config asks for; or else divides the samples into equal pieces, as large
        as memory allows, and without a budget in the same way for any number of threads."""
        config, encoder = self.config, self.actor.encoder
        samples = config.num_envs * config.horizon
        if config.micro_batch is not None or encoder is None:
            return config.micro_batch or samples
        memory = PIECE_MEMORY[self.device.type]
        if config.memory_budget is not None:
            memory = config.memory_budget / (self.threads or 1)
        largest = max(1, int(memory * 2**20 / encoder.activation_bytes))
        pieces = -(-samples // largest)
        return -(-samples // pieces)

    def _finite_action_gradient(self, rollout: Rollout) -> tuple[Tensor, Tensor, Tensor]:
        """Block 2, without environments whose gradient is not finite; and the loss (N,), and which
        those are, bool (N,)."""
        gradient, loss = self.action_gradient(rollout, self.target_value, self.config.discount)
        gradient, dropped = drop_nonfinite(gradient)
        return gradient, loss, dropped

    def _improve_actor(self, rollout: Rollout, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Block 3 and the actor's update."""
        self.policy_gradient(rollout, gradient)
        return self.actor_optimizer.step()

    def _sample_action(
        self, converted: list[tuple[Tensor, Tensor]], observation: Observation
    ) -> tuple[Tensor, Tensor]:
        """Draws actions before tanh (N, A), leaves of the physics graph, and their noise."""
        inputs = self.policy_input(observation, self.horizon_normalizer)
        mean = self.policy_mean(inputs, converted)
        noise = self.draw_noise()
        action = mean + self.actor.log_std.detach().exp() * noise
        return action.requires_grad_(), noise
