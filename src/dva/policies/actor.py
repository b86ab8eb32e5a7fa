"""The stochastic policy, from images or from states."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dva.policies.encoder import Encoder
from dva.policies.layers import mlp

__all__ = ["Actor"]


class Actor(nn.Module):
    """Maps an observation to the mean and log standard deviation of the action before tanh.

    From images: encoder, trunk (linear, layer norm, tanh), MLP (linear, ELU, layer norm), mean.
    From states: MLP, mean. The log standard deviation is a parameter, the same for all
    observations.

    Args:
        observation_shape: (C, H, W) of stacked uint8 images, or the size of the state.
        action_size: A.
        trunk_size: width of the trunk; unused with states.
        hidden: widths of the MLP's layers.
        log_std_init: initial log standard deviation.
        compute_dtype: arithmetic of encoder and trunk's linear layer (`resolve_precision`).

    Source: D.Va, appendix C.1 and Table 7.
    """

    def __init__(
        self,
        observation_shape: tuple[int, int, int] | int,
        action_size: int,
        trunk_size: int,
        hidden: Sequence[int],
        log_std_init: float = -1.0,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.encoder: Encoder | None = None
        features = observation_shape
        if not isinstance(features, int):
            self.encoder = Encoder(features)
            self.encoder.compute_dtype = compute_dtype
            self.trunk = nn.Linear(self.encoder.output_size, trunk_size)
            self.trunk_norm = nn.LayerNorm(trunk_size)
            features = trunk_size
        sizes = [features, *hidden]
        self.mlp = mlp(sizes)
        self.mean = nn.Linear(sizes[-1], action_size)
        self.log_std = nn.Parameter(torch.full((action_size,), float(log_std_init)))

    def convertible(self) -> list[tuple[Tensor, float]]:
        """Lists the parameters that images meet, and the factor at which `converted` takes each."""
        if self.encoder is None:
            return []
        return [*self.encoder.convertible(), (self.trunk.weight, 1.0), (self.trunk.bias, 1.0)]

    def converted(self) -> list[tuple[Tensor, Tensor]]:
        """Converts the parameters that images meet to their arithmetic, with their graph.

        Returns:
            Weight and bias of each convolution and of the trunk; nothing for states.
        """
        if self.encoder is None:
            return []
        # The trunk reads thousands of features: in bfloat16 this halves the memory it moves.
        dtype = self.encoder.compute_dtype
        return [
            *self.encoder.converted(),
            (self.trunk.weight.to(dtype), self.trunk.bias.to(dtype)),
        ]

    def forward(
        self, observation: Tensor, converted: Sequence[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Computes the mean (B, A) and the log standard deviation (A,), float32, before tanh.

        Args:
            observation: images (B, C, H, W), or (normalised) states (B, O).
            converted: what `converted` returned, to spare many small batches the conversion.
        """
        return self.decide(self.embed(observation, converted)), self.log_std

    def embed(
        self, observation: Tensor, converted: Sequence[tuple[Tensor, Tensor]] | None = None
    ) -> Tensor:
        """Does the large part of `forward`, up to the trunk's linear layer: (B, trunk_size).

        States are left as they are.
        """
        if self.encoder is None:
            return observation
        *convolutions, trunk = converted or self.converted()
        return F.linear(self.encoder(observation, convolutions), *trunk)

    def decide(self, embedded: Tensor) -> Tensor:
        """Does the rest: the mean (B, A) of what `embed` returned."""
        if self.encoder is not None:
            embedded = torch.tanh(self.trunk_norm(embedded.float()))
        return self.mean(self.mlp(embedded))
