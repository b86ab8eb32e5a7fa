"""Finds environments that have become non-finite, and stops their gradients."""

import torch

from dva.compute import arguments
from dva.sim import State

__all__ = ["MAX_ENTRY", "check_coordinates", "is_nonfinite", "stop_gradients"]

MAX_ENTRY = 1e6
"""A coordinate or velocity above this in size counts as non-finite, as in the published code."""


def is_nonfinite(state: State, action: torch.Tensor) -> torch.Tensor:
    """Tells which environments have an entry that is not finite, or a coordinate or velocity above
    `MAX_ENTRY` in size.

    Args:
        state: of N robots.
        action: (N, A).

    Returns:
        bool (N,).
    """
    # x - x is 0 for any finite x, and NaN for others. What is carried has units of its own.
    finite = [x.detach() for x in state.carried.values() if x.is_floating_point()]
    parts = [(x - x).reshape(len(x), x[0].numel()) for x in (*finite, action.detach())]
    entries = torch.cat([state.joint_q.detach(), state.joint_qd.detach(), *parts], dim=1)
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


def check_coordinates(
    name: str, value: torch.Tensor, shape: tuple[int, ...], device: torch.device
) -> None:
    """Accepts float32 tensors of one shape on one device, whose entries are finite and moderate.

    Raises:
        TypeError, ValueError: `value` is no such tensor; the text names it and says what is.
    """
    arguments.check_tensor(name, value, shape, device)
    if not bool((value.detach().abs() <= MAX_ENTRY).all()):
        raise ValueError(
            f"{name} has an entry that is not finite or above {MAX_ENTRY:g} in size. "
            "Give finite states."
        )
