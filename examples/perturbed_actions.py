"""An action-gradient estimator in one file: central differences on copies of the physics.

    dva train cartpole --action-gradient perturbed_actions:perturbed --horizon 8 --env-steps 20000

It needs no gradient from the simulator, and 2 h^2 A steps of it for a rollout of h steps: a check,
and a start for estimators that perturb fewer times.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dva.envs import Environment
from dva.learning.first_order.action_gradient import register_action_gradient
from dva.learning.returns import horizon_loss
from dva.learning.rollout import Rollout


class PerturbedActions:
    """Differentiates the actor loss by moving one action at a time, forward and back."""

    needs_graph = False
    recordable = False
    step = 1e-2
    """How far an action is moved, before tanh."""

    @torch.no_grad()
    def __call__(
        self,
        rollout: Rollout,
        env: Environment,
        value: Callable[[Tensor], Tensor],
        discount: float,
    ) -> tuple[Tensor, Tensor]:
        actions = torch.stack([action.detach() for action in rollout.actions])

        def loss_from(first: int, moved: Tensor) -> Tensor:
            """Repeats the rollout from step `first` with other actions; its loss (N,)."""
            rewards, next_states = rollout.rewards.clone(), rollout.next_states.clone()
            state = rollout.physics[first]
            for t in range(first, len(moved)):
                after = env.transition(state, torch.tanh(moved[t]))
                rewards[t], next_states[t] = after.reward, after.observation
                state = after.state
                if t + 1 < len(moved):  # where an episode ended, the next one began as it did
                    state = state.where(rollout.done[t], rollout.physics[t + 1])
            return horizon_loss(
                rewards, value(next_states), rollout.terminated, rollout.truncated, discount
            )

        gradient = torch.zeros_like(actions)
        for t in range(len(actions)):
            for a in range(actions.shape[-1]):
                sides = []
                for sign in (1.0, -1.0):
                    moved = actions.clone()
                    moved[t, :, a] += sign * self.step
                    sides.append(loss_from(t, moved))
                gradient[t, :, a] = (sides[0] - sides[1]) / (2.0 * self.step)
        return gradient, loss_from(0, actions)


register_action_gradient("perturbed", PerturbedActions)
