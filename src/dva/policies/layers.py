"""Layers that actors and critics share."""

from collections.abc import Sequence

from torch import nn

__all__ = ["mlp"]


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Stacks hidden layers, each made of linear, ELU and layer norm.

    Args:
        sizes: input size, then the size of each hidden layer; one entry alone gives the identity.

    Source: D.Va, appendix C.1 (policy and critic networks are those of state-based SHAC).
    """
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(inputs, outputs), nn.ELU(), nn.LayerNorm(outputs)]
    return nn.Sequential(*layers)
