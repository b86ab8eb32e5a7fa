"""The state-value network."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from dva.policies.layers import mlp

__all__ = ["Critic"]


class Critic(nn.Module):
    """Estimates the value of a normalised state by an MLP of linear, ELU and layer norm.

    Weights start orthogonal with gain sqrt(2), biases at zero.

    Args:
        state_size: O.
        hidden: widths of the hidden layers.

    Source: D.Va, Table 7; initialisation of SHAC's published networks.
    """

    def __init__(self, state_size: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [state_size, *hidden]
        self.mlp = mlp(sizes)
        self.value = nn.Linear(sizes[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, math.sqrt(2.0))
                nn.init.zeros_(module.bias)

    def forward(self, state: Tensor) -> Tensor:
        """Estimates the values (...) of normalised states (..., O)."""
        return self.value(self.mlp(state)).squeeze(-1)
