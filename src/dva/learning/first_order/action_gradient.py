"""Block 2: how the actions of a rollout should have been different."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from dva.learning.first_order.returns import horizon_loss
from dva.learning.first_order.rollout import Rollout

__all__ = ["ActionGradient", "adjoint_action_gradient", "drop_nonfinite"]


class ActionGradient(Protocol):
    """Estimates dL/da of a rollout along its fixed actions: no images and no policy take part."""

    def __call__(
        self, rollout: Rollout, value: Callable[[Tensor], Tensor], discount: float
    ) -> tuple[Tensor, Tensor]:
        """Returns dL/da (h, N, A) before tanh, and each environment's share of the loss L (N,).

        Args:
            rollout: h steps of N environments.
            value: maps states (..., O), not normalised, to values (...).
            discount: gamma.
        """
        ...


def adjoint_action_gradient(
    rollout: Rollout, value: Callable[[Tensor], Tensor], discount: float
) -> tuple[Tensor, Tensor]:
    """Differentiates the actor loss through a differentiable simulator. See `ActionGradient`.

    The actions are leaves of the graph, so this is the open-loop gradient: what changed actions
    would do to later rewards with later actions held fixed. It consumes the rollout's graph.

    Raises:
        RuntimeError: neither rewards nor values depend on the actions through torch's graph.

    Source: D.Va, equations (3) and (6).
    """
    next_values = value(rollout.next_states)
    loss = horizon_loss(
        rollout.rewards, next_values, rollout.terminated, rollout.truncated, discount
    )
    if not loss.requires_grad:
        raise RuntimeError(
            "The environment's rewards and states carry no graph to the actions. Use a "
            "differentiable simulator, or an action_gradient that needs none."
        )
    gradients = torch.autograd.grad(
        loss.sum(), rollout.actions, allow_unused=True, materialize_grads=True
    )
    return torch.stack(gradients), loss.detach()


def drop_nonfinite(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Zeroes the whole horizon of every environment with a non-finite entry.

    Args:
        gradient: (h, N, A).

    Returns:
        The gradient (h, N, A) without them, and which environments were dropped, bool (N,).
    """
    dropped = ~torch.isfinite(gradient).all(-1).all(0)
    return torch.where(dropped[None, :, None], 0.0, gradient), dropped
