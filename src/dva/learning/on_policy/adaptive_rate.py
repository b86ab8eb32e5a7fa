"""A learning rate that follows the KL divergence between two policies."""

import torch
from torch import Tensor, nn

__all__ = ["AdaptiveRate"]

LOWEST_RATE, HIGHEST_RATE = 1e-5, 1e-2
RATE_FACTOR = 1.5
"""By which the rate rises or falls after an iteration."""


class AdaptiveRate(nn.Module):
    """A learning rate that keeps the policy's steps at one size, on the device.

    Images, states, robots and shrinking noise need other rates, which change in training; the
    distance between two policies means the same for all of them. A schedule would need to know how
    long training will last, and would still have to start from the right rate. It moves once an
    iteration, by the last pass: within one, the divergence grows from 0 in any case.

    Args:
        first: the rate at first.

    Source: Rudin et al., "Learning to Walk in Minutes Using Massively Parallel Deep Reinforcement
    Learning", 2021.
    """

    value: Tensor

    def __init__(self, first: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(first))

    def follow(self, kl: Tensor, target: float) -> None:
        """Lowers the rate where the divergence () is above twice its target; raises it where it is
        below half of it."""
        factor = torch.where(kl > 2.0 * target, 1.0 / RATE_FACTOR, 1.0)
        factor = torch.where(kl < 0.5 * target, RATE_FACTOR, factor)
        # A rate beyond the bounds that was asked for stays where it is until it is to move.
        moved = (self.value * factor).clamp(LOWEST_RATE, HIGHEST_RATE)
        self.value.copy_(torch.where(factor == 1.0, self.value, moved))
