"""Flat dictionaries of tensors with dotted names, the form in which an algorithm is saved."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["add_prefix", "strip_prefix"]


def add_prefix(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Puts "prefix." before every name and copies the tensors, contiguous and without graph."""
    return {
        f"{prefix}.{name}": value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
    }


def strip_prefix(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Picks the entries whose names start with "prefix." and removes that prefix."""
    start = f"{prefix}."
    return {name[len(start) :]: value for name, value in state.items() if name.startswith(start)}
