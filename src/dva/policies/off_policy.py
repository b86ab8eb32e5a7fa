"""Networks of off-policy methods: one encoder that actor and critics share, and a head for each."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dva.policies.encoder import Encoder
from dva.spec import ObservationSpec

__all__ = ["Encoders", "Head", "HeadActor", "Seen", "TwinCritic", "crop_spec"]


@dataclass(frozen=True)
class Seen:
    """Holds what the heads read of B observations."""

    features: Tensor
    """(B, F) of the images, in the encoders' arithmetic; F is 0 without images."""
    vectors: Tensor
    """(B, V), normalised; V is 0 without vectors."""

    def detach(self) -> "Seen":
        """Cuts the graph to the encoders."""
        return Seen(self.features.detach(), self.vectors)


class Encoders(nn.Module):
    """Encodes every image of a spec, each by an `Encoder` of its own, and joins the features.

    Args:
        spec: the images, and vectors that pass by.
        compute_dtype: arithmetic of the convolutions (`resolve_precision`).
    """

    def __init__(self, spec: ObservationSpec, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.spec, self.compute_dtype = spec, compute_dtype
        self.images = nn.ModuleDict({entry.name: Encoder(entry) for entry in spec.images})
        self.output_size = 0
        """F."""
        for encoder in self.images.values():
            assert isinstance(encoder, Encoder)
            encoder.compute_dtype = compute_dtype
            self.output_size += encoder.output_size
        self.vector_size = sum(entry.stacked_shape[0] for entry in spec.vectors)
        """V."""

    def forward(self, inputs: Mapping[str, Tensor]) -> Seen:
        """Encodes images (B, C, H, W); normalised vectors (B, n) are joined as they are."""
        size = len(next(iter(inputs.values())))
        features = [encoder(inputs[name]) for name, encoder in self.images.items()]
        vectors = [inputs[entry.name] for entry in self.spec.vectors]
        device = next(iter(inputs.values())).device
        return Seen(
            torch.cat(features, 1) if features else torch.empty(size, 0, device=device),
            torch.cat(vectors, 1) if vectors else torch.empty(size, 0, device=device),
        )


class Head(nn.Module):
    """Reads few numbers off the features: linear, layer norm, perhaps tanh; and the vectors.

    Args:
        encoders: what it reads.
        size: number of features of the images.
        squash: whether the features pass tanh.

    Source: DrQ-v2 (tanh) and CURL (none); Yarats et al. 2021, Laskin et al. 2020.
    """

    def __init__(self, encoders: Encoders, size: int, squash: bool) -> None:
        super().__init__()
        self.squash = squash
        self.compute_dtype = encoders.compute_dtype
        self.linear = self.norm = None
        self.output_size = encoders.vector_size
        """Numbers that leave it."""
        if encoders.output_size > 0:
            self.linear = orthogonal(nn.Linear(encoders.output_size, size))
            self.norm = nn.LayerNorm(size)
            self.output_size += size

    def forward(self, seen: Seen) -> Tensor:
        """Computes (B, output_size), float32."""
        if self.linear is None:
            return seen.vectors
        return torch.cat([self.of_images(seen), seen.vectors], 1)

    def of_images(self, seen: Seen) -> Tensor:
        """Computes the part that is of the images, (B, size), float32."""
        assert self.linear is not None and self.norm is not None
        # Thousands of features: bfloat16 halves the memory that is moved.
        weight, bias = (x.to(self.compute_dtype) for x in (self.linear.weight, self.linear.bias))
        found = self.norm(F.linear(seen.features, weight, bias).float())
        return torch.tanh(found) if self.squash else found


class HeadActor(nn.Module):
    """Maps what is seen to numbers for an action: a head of its own, then an MLP with ReLU.

    Args:
        encoders: what it reads.
        trunk_size, squash: of its head.
        hidden: widths of the MLP's layers.
        outputs: A for means alone, 2 A for means and log standard deviations.
    """

    def __init__(
        self,
        encoders: Encoders,
        trunk_size: int,
        squash: bool,
        hidden: Sequence[int],
        outputs: int,
    ) -> None:
        super().__init__()
        self.head = Head(encoders, trunk_size, squash)
        self.mlp = relu_mlp([self.head.output_size, *hidden, outputs])

    def forward(self, seen: Seen) -> Tensor:
        """Computes (B, outputs); means are before tanh."""
        return self.mlp(self.head(seen))


class TwinCritic(nn.Module):
    """Estimates the value of actions twice: one head, two MLPs with ReLU.

    Args:
        encoders: what it reads.
        action_size: A.
        trunk_size, squash: of its head.
        hidden: widths of the MLPs' layers.
    """

    def __init__(
        self,
        encoders: Encoders,
        action_size: int,
        trunk_size: int,
        squash: bool,
        hidden: Sequence[int],
    ) -> None:
        super().__init__()
        self.head = Head(encoders, trunk_size, squash)
        sizes = [self.head.output_size + action_size, *hidden, 1]
        self.first, self.second = relu_mlp(sizes), relu_mlp(sizes)

    def forward(self, seen: Seen, action: Tensor) -> Tensor:
        """Estimates both values (2, B) of actions (B, A)."""
        inputs = torch.cat([self.head(seen), action], 1)
        return torch.stack([self.first(inputs)[:, 0], self.second(inputs)[:, 0]])


def relu_mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Stacks linear layers with ReLU between them; weights start orthogonal, biases at zero."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [orthogonal(nn.Linear(inputs, outputs)), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def orthogonal(layer: nn.Linear) -> nn.Linear:
    """Lets a layer's weight start orthogonal with gain 1, its bias at zero."""
    nn.init.orthogonal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def crop_spec(spec: ObservationSpec, crop: int | None) -> ObservationSpec:
    """Returns the spec with images of `crop` pixels in height and width; None: as they are."""
    if crop is None:
        return spec
    return ObservationSpec(
        tuple(
            dataclasses.replace(entry, shape=(entry.channels, crop, crop))
            if entry.kind == "image"
            else entry
            for entry in spec.entries
        )
    )
