"""Running normalisation of state observations."""

import copy

import torch
from torch import Tensor, nn

from dva.compute.distributed import ALONE, Group

__all__ = ["RunningNormalizer"]


class RunningNormalizer(nn.Module):
    """Normalises states by the statistics of all states so far: (x - mean) / sqrt(var + 1e-5).

    Before the first update the mean is 0 and the variance 1. Statistics are float64, so that
    hundreds of millions of states still count.

    Args:
        state_size: O.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, state_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(state_size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(state_size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, states: Tensor, group: Group = ALONE) -> None:
        """Merges states (..., O) into the statistics, except those with a non-finite entry.

        Args:
            states: those of this process.
            group: the processes whose states count.
        """
        x = states.detach().reshape(-1, states.shape[-1]).double()
        finite = torch.isfinite(x).all(-1, keepdim=True)
        added = group.sum(finite.sum())
        weight = added.clamp(min=1)
        mean = group.sum(torch.where(finite, x, 0.0).sum(0)) / weight
        var = group.sum(torch.where(finite, (x - mean).square(), 0.0).sum(0)) / weight
        total = (self.count + added).clamp(min=1)
        delta = mean - self.mean
        # Merges the moments of two sets; if the new set is empty, all its terms vanish.
        spread = delta.square() * self.count * added / total
        merged = (self.var * self.count + var * added + spread) / total
        known = (self.count + added) > 0
        self.mean.add_(delta * added / total)
        self.var.copy_(torch.where(known, merged, self.var))
        self.count.add_(added)

    def forward(self, states: Tensor) -> Tensor:
        """Normalises states (..., O), keeping dtype and graph; whole numbers become float32."""
        if not states.is_floating_point():
            states = states.float()
        scale = torch.rsqrt(self.var + 1e-5)
        return (states - self.mean.to(states.dtype)) * scale.to(states.dtype)

    def frozen(self) -> "RunningNormalizer":
        """Copies the normaliser, so that one horizon sees one normalisation."""
        return copy.deepcopy(self)
