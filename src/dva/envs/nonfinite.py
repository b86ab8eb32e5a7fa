"""Finds environments that have become non-finite, and stops their gradients."""

import torch

from dva.sim import State

__all__ = ["MAX_ENTRY", "is_nonfinite", "stop_gradients"]

MAX_ENTRY = 1e6
"""A coordinate or velocity above this in size counts as non-finite, as in the published code."""


def is_nonfinite(state: State, action: torch.Tensor) -> torch.Tensor:
    """Tells which environments have an entry that is not finite or, in a state, above `MAX_ENTRY`
    in size.

    Args:
        state: of N robots.
        action: (N, A).

    Returns:
        bool (N,).
    """
    action = action.detach()
    parts = [x.detach().flatten(1) for x in state.tensors().values() if x.is_floating_point()]
    # x - x is 0 for any finite x, and NaN for others.
    entries = torch.cat([*parts, action - action], dim=1)
    # Negated, because a comparison with NaN is False.
    return ~(entries.abs().amax(1) <= MAX_ENTRY)


def stop_gradients(rows: torch.Tensor, *tensors: torch.Tensor) -> None:
    """Sets every gradient that reaches these rows of some tensors to exactly zero.

    It is not enough to mask what is computed from the tensors: the backward pass multiplies the
    zeros by a derivative, and where that is not finite the product is NaN.

    Args:
        rows: bool (N,).
        tensors: (N, ...) each; those that need no gradient are left alone.
    """
    for tensor in tensors:
        if tensor.requires_grad:
            mask = rows.view(-1, *[1] * (tensor.dim() - 1))
            tensor.register_hook(lambda gradient, mask=mask: gradient.masked_fill(mask, 0.0))
