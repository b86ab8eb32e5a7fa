"""The stochastic policy network, for any observation spec."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dva.compute.distributed import ALONE, Group
from dva.policies.encoder import Encoder
from dva.policies.layers import mlp
from dva.spec import Entry, ObservationSpec

__all__ = ["Actor", "ImageTrunk", "Weights"]

Weights = Mapping[str, Sequence[tuple[Tensor, Tensor]]]
"""Weight and bias of every layer that images pass, cast to its arithmetic, by name of the image."""


class ImageTrunk(nn.Module):
    """Encodes images into few features: encoder, linear, then layer norm and tanh.

    The linear layer's weight starts orthogonal with gain 1, its bias at zero.

    Args:
        entry: the images.
        size: number of features.
        compute_dtype: arithmetic of the encoder and the linear layer (`resolve_precision`).
        centered: whether a running mean is subtracted from what the linear layer reads. Most of it
            is the same in every image, and drowns what differs once the weights have moved.
    """

    center: Tensor | None
    """(encoder's output size), the running mean; None if it is not centred."""

    def __init__(
        self, entry: Entry, size: int, compute_dtype: torch.dtype, centered: bool = False
    ) -> None:
        super().__init__()
        self.encoder = Encoder(entry)
        self.encoder.compute_dtype = compute_dtype
        self.linear = nn.Linear(self.encoder.output_size, size)
        nn.init.orthogonal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.norm = nn.LayerNorm(size)
        center = torch.zeros(self.encoder.output_size) if centered else None
        self.register_buffer("center", center)

    @torch.no_grad()
    def recenter(self, images: Tensor, share: float, group: Group = ALONE) -> None:
        """Moves the centre by a share of the way to the mean features of images (B, C, H, W), as
        many in every process of a group."""
        if self.center is not None:
            self.center.lerp_(group.mean(self.encoder(images).float().mean(0)), share)

    def castable(self) -> list[tuple[Tensor, float]]:
        """Lists the parameters that images pass, each with its factor in `cast_weights`."""
        return [*self.encoder.castable(), (self.linear.weight, 1.0), (self.linear.bias, 1.0)]

    def cast_weights(self) -> list[tuple[Tensor, Tensor]]:
        """Casts weight and bias of each convolution and of the linear layer, with their graph."""
        # The linear layer reads thousands of features: bfloat16 halves the memory it moves.
        dtype = self.encoder.compute_dtype
        linear = (self.linear.weight.to(dtype), self.linear.bias.to(dtype))
        return [*self.encoder.cast_weights(), linear]

    def embed(self, images: Tensor, weights: Sequence[tuple[Tensor, Tensor]] | None) -> Tensor:
        """Computes the large part, up to the linear layer: (B, size)."""
        *convolutions, linear = weights or self.cast_weights()
        features = self.encoder(images, convolutions)
        if self.center is not None:
            features = features - self.center.to(features.dtype)
        return F.linear(features, *linear)

    def finish(self, embedded: Tensor) -> Tensor:
        """Computes the rest: features (B, size) from what `embed` returned."""
        return torch.tanh(self.norm(embedded.float()))


class Actor(nn.Module):
    """Maps an observation to the mean and log standard deviation of the action before tanh.

    Each image passes its own trunk; the features and the vectors, in the order of the spec (images
    first), pass an MLP (linear, ELU, layer norm) and a linear layer. The log standard
    deviation is a parameter, the same for all observations.

    Args:
        spec: the entries that the policy reads.
        action_size: A.
        trunk_size: number of features of each image; unused without images.
        hidden: widths of the MLP's layers.
        log_std_init: initial log standard deviation.
        compute_dtype: arithmetic of the image trunks' large layers (`resolve_precision`).
        center_features: whether images' features are centred (`ImageTrunk`); the centre stays at
            zero until `recenter` is called.

    Source: D.Va, appendix C.1 and Table 7.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        action_size: int,
        trunk_size: int,
        hidden: Sequence[int],
        log_std_init: float = -1.0,
        compute_dtype: torch.dtype = torch.float32,
        center_features: bool = False,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.images = nn.ModuleDict(
            {
                entry.name: ImageTrunk(entry, trunk_size, compute_dtype, center_features)
                for entry in spec.images
            }
        )
        vectors = sum(entry.stacked_shape[0] for entry in spec.vectors)
        sizes = [trunk_size * len(self.images) + vectors, *hidden]
        self.mlp = mlp(sizes)
        self.mean = nn.Linear(sizes[-1], action_size)
        self.log_std = nn.Parameter(torch.full((action_size,), float(log_std_init)))

    @property
    def trunks(self) -> dict[str, ImageTrunk]:
        """The image trunks by name."""
        return dict(self.images.items())  # type: ignore[arg-type]

    @property
    def activation_bytes(self) -> int:
        """Bytes of one observation's images in a forward and a backward pass; 0 without images."""
        return sum(trunk.encoder.activation_bytes for trunk in self.trunks.values())

    def castable(self) -> list[tuple[Tensor, float]]:
        """Lists the parameters that images pass, in the order of `cast_weights`, each with its
        factor there."""
        return [pair for trunk in self.trunks.values() for pair in trunk.castable()]

    def cast_weights(self) -> Weights:
        """Casts the parameters that images pass to their arithmetic, with their graph."""
        return {name: trunk.cast_weights() for name, trunk in self.trunks.items()}

    def recenter(self, inputs: Mapping[str, Tensor], share: float, group: Group = ALONE) -> None:
        """Moves every image's centre by a share of the way to these images' mean features."""
        for name, trunk in self.trunks.items():
            trunk.recenter(inputs[name], share, group)

    def forward(
        self, inputs: Mapping[str, Tensor], weights: Weights | None = None
    ) -> tuple[Tensor, Tensor]:
        """Computes the mean (B, A) and the log standard deviation (A,), float32, before tanh.

        Args:
            inputs: images (B, C, H, W) and normalised vectors (B, n) by name.
            weights: what `cast_weights` returned, so that many small batches share one cast.
        """
        return self.decide(self.embed(inputs, weights), inputs), self.log_std

    def embed(
        self, inputs: Mapping[str, Tensor], weights: Weights | None = None
    ) -> dict[str, Tensor]:
        """Computes the large part of `forward`: (B, trunk_size) for each image."""
        return {
            name: trunk.embed(inputs[name], weights[name] if weights else None)
            for name, trunk in self.trunks.items()
        }

    def decide(self, embedded: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
        """Computes the rest of `forward`: the mean (B, A).

        Args:
            embedded: what `embed` returned.
            inputs: normalised vectors (B, n) by name.
        """
        parts = [trunk.finish(embedded[name]) for name, trunk in self.trunks.items()]
        parts += [inputs[entry.name] for entry in self.spec.vectors]
        features = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return self.mean(self.mlp(features))
