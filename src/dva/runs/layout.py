"""Comparing the tensors of a file with those that they are to replace."""

from collections.abc import Mapping
from pathlib import Path

import torch

from dva.compute.errors import UsageError

__all__ = ["FIX", "check_layout", "layout_fault", "refuse_nan"]

FIX = "Use the checkpoint with the configuration of its own run, and the same version of dva."
"""What to do about a checkpoint that does not fit."""


def check_layout(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    finite: bool = True,
) -> None:
    """Makes sure that tensors from a file fit where they go.

    Args:
        path: the file, for the message.
        tensors: what it holds.
        expected: tensors of the names, shapes and dtypes that are needed, such as a policy's own
            `state_dict()`.
        finite: whether floating-point tensors must be finite.

    Raises:
        UsageError: a name is missing or unknown, a shape or a dtype differs, or a tensor that must
            be finite is not.
    """
    fault = layout_fault(tensors, expected)
    if fault is not None:
        raise UsageError(f"{path} {fault}. {FIX}")
    for name, found in tensors.items():
        if finite and found.is_floating_point():
            _refuse_entries(path, name, ~found.isfinite(), "not finite")


def layout_fault(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> str | None:
    """Says how names, shapes and dtypes differ from the expected ones; None if they do not."""
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            return f"lacks the tensor {name!r}"
        if name not in expected:
            return f"holds a tensor {name!r} that nothing asks for"
        found, wanted = tensors[name], expected[name]
        if found.shape != wanted.shape:
            shapes = tuple(found.shape), tuple(wanted.shape)
            return f"holds a tensor {name!r} of shape {shapes[0]}, expected {shapes[1]}"
        if found.dtype != wanted.dtype:
            return f"holds a tensor {name!r} of {found.dtype}, expected {wanted.dtype}"
    return None


def refuse_nan(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Makes sure that no floating-point tensor holds a NaN; an infinity may have a meaning.

    Args:
        path: the file, for the message.
        tensors: what it holds.

    Raises:
        UsageError: there is one; the text names the tensor.
    """
    for name, value in tensors.items():
        if value.is_floating_point():
            _refuse_entries(path, name, value.isnan(), "not finite (NaN)")


def _refuse_entries(path: Path, name: str, wrong: torch.Tensor, what: str) -> None:
    count = int(wrong.sum())
    if count:
        raise UsageError(
            f"{path}: tensor {name!r} has {count} of {wrong.numel()} entries that are {what}. "
            "Training cannot go on from them; use the other checkpoint if it is whole."
        )
