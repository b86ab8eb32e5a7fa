"""Fits the critic, and updates its slow copy."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dva.learning.optimizer import ClippedAdam

__all__ = ["fit_critic", "squared_error", "update_target"]


def squared_error(values: Tensor, targets: Tensor, samples: Tensor) -> Tensor:
    """Averages the squared error of values (B,): ()."""
    return F.mse_loss(values, targets)


def fit_critic(
    critic: nn.Module,
    optimizer: ClippedAdam,
    states: Tensor,
    targets: Tensor,
    iterations: int,
    minibatches: int,
    generator: torch.Generator,
    loss_function: Callable[[Tensor, Tensor, Tensor], Tensor] = squared_error,
) -> tuple[Tensor, Tensor, Tensor]:
    """Fits the critic to its targets; samples with a non-finite number have no effect.

    Args:
        critic: maps normalised states (B, O) to values (B,).
        optimizer: optimizer of the critic's parameters.
        states: (M, O), normalised.
        targets: (M,).
        iterations: passes over the samples.
        minibatches: number of updates in a pass.
        generator: shuffles the samples before each pass.
        loss_function: maps values (B,), targets (B,) and the samples' numbers (B,) to a loss ().

    Returns:
        Mean loss and mean gradient norm (before clipping) of the last pass, and the number of
        skipped updates; all ().

    Source: D.Va, equation (15).
    """
    valid = torch.isfinite(states).all(-1) & torch.isfinite(targets)
    states = torch.where(valid[:, None], states, 0.0)
    targets = torch.where(valid, targets, 0.0)
    weights = valid.float()
    skipped = torch.zeros((), device=states.device)
    losses: list[Tensor] = []
    norms: list[Tensor] = []
    for _ in range(iterations):
        losses, norms = [], []
        # A permutation, by operations that a CUDA graph can hold.
        order = torch.rand(states.shape[0], generator=generator, device=states.device).argsort()
        for batch in order.tensor_split(min(minibatches, len(order))):
            values = critic(states[batch]) * weights[batch]
            loss = loss_function(values, targets[batch], batch)
            gradients = torch.autograd.grad(loss, optimizer.parameters)
            for parameter, gradient in zip(optimizer.parameters, gradients, strict=True):
                parameter.grad = gradient
            norm, skip = optimizer.step()
            losses.append(loss.detach())
            norms.append(norm)
            skipped = skipped + skip
    return torch.stack(losses).mean(), torch.stack(norms).mean(), skipped


@torch.no_grad()
def update_target(target: nn.Module, source: nn.Module, alpha: float) -> None:
    """Moves the target critic: V' <- alpha V' + (1 - alpha) V.

    Source: D.Va, algorithm 1.
    """
    for slow, fast in zip(target.parameters(), source.parameters(), strict=True):
        slow.mul_(alpha).add_(fast, alpha=1.0 - alpha)
