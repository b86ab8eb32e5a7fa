"""Returns over a horizon, in which episodes may end."""

import torch
from torch import Tensor

__all__ = ["horizon_loss", "td_lambda_targets"]


def horizon_loss(
    rewards: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor, discount: float
) -> Tensor:
    """Computes each environment's share of the actor loss; the sum over environments is the loss.

    L = -1/(N h) sum over environments and segments of [sum_t gamma^t r_t + gamma^k V(s_k)]. The
    ends of episodes cut the horizon into segments; k is the length of a segment, and t counts from
    its start. V counts as 0 where the episode terminated.

    Args:
        rewards: (h, N).
        next_values: (h, N), value of the state after each step, before any reset.
        terminated: bool (h, N).
        truncated: bool (h, N).
        discount: gamma.

    Returns:
        (N,), with the graph of rewards and next_values.

    Source: D.Va, equation (3); ends of episodes from its published code.
    """
    horizon, num_envs = rewards.shape
    done = terminated | truncated
    weights = _discounts_since_start(done, discount)
    closing = done.clone()
    closing[-1] = True
    # torch.where, not a product: 0 * nan is nan, although the value is not used.
    bootstrap = torch.where(closing & ~terminated, next_values, 0.0)
    return -(weights * (rewards + discount * bootstrap)).sum(0) / (horizon * num_envs)


def _discounts_since_start(done: Tensor, discount: float) -> Tensor:
    """Computes gamma^t (h, N), with t counted from the start of the horizon or the episode."""
    weights = torch.ones(done.shape, device=done.device)
    for t in range(1, done.shape[0]):
        weights[t] = torch.where(done[t - 1], 1.0, weights[t - 1] * discount)
    return weights


@torch.no_grad()
def td_lambda_targets(
    rewards: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    discount: float,
    td_lambda: float,
) -> Tensor:
    """Computes the critic's TD(lambda) targets.

    With G^k the k-step return and K the number of steps to the segment's end, the target of a step
    is (1 - lambda) sum_{k<K} lambda^{k-1} G^k + lambda^{K-1} G^K, computed by backward recursion.

    Args:
        rewards: (h, N).
        next_values: (h, N), value of the state after each step and before any reset.
        terminated: bool (h, N), where the bootstrap is zero.
        truncated: bool (h, N), where the bootstrap is the value of the state before the reset.
        discount: gamma.
        td_lambda: lambda.

    Returns:
        (h, N), without graph.

    Source: D.Va, equation (16).
    """
    done = terminated | truncated
    bootstrap = torch.where(terminated, 0.0, next_values)
    targets = torch.empty_like(rewards)
    following = bootstrap[-1]
    for t in reversed(range(rewards.shape[0])):
        mixed = (1.0 - td_lambda) * bootstrap[t] + td_lambda * following
        targets[t] = rewards[t] + discount * torch.where(done[t], bootstrap[t], mixed)
        following = targets[t]
    return targets
