"""Layers of the world model, and the encoder and decoder of observations."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dva.learning.world_model.distributions import symlog
from dva.spec import Entry, ObservationSpec

__all__ = [
    "BlockLinear",
    "Decoder",
    "Encoder",
    "ImageDecoder",
    "ImageEncoder",
    "NormedSilu",
    "dense",
    "join_blocks",
    "mlp",
    "split_blocks",
]

_KERNEL = 4
_SMALLEST_SIDE = 4
"""Images are halved until their smaller side is at most this."""


# ---------------------------------------------------------------------- layers


class NormedSilu(nn.Module):
    """Divides by the root mean square over the last axis, scales, and applies SiLU.

    Args:
        size: length of the last axis.

    Source: DreamerV3: RMSNorm and SiLU after every hidden layer.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., size) to (..., size)."""
        return F.silu(F.rms_norm(x, self.scale.shape, self.scale.to(x.dtype), 1e-4))


def dense(inputs: int, outputs: int, gain: float = 1.0, bias: bool = True) -> nn.Linear:
    """Makes a linear layer with a bias of zero, or none, and a weight drawn by `draw_weight`."""
    layer = nn.Linear(inputs, outputs, bias)
    draw_weight(layer.weight, inputs, gain)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def draw_weight(weight: Tensor, inputs: int, gain: float = 1.0) -> None:
    """Fills a weight from a normal distribution, cut off at two deviations, whose outputs keep the
    variance of so many inputs; a gain of 0 gives zeros."""
    # The deviation that is left after cutting at two is 0.88 of that before.
    std = gain / math.sqrt(inputs) / 0.87962566
    if std == 0.0:
        nn.init.zeros_(weight)
    else:
        nn.init.trunc_normal_(weight, 0.0, std, -2.0 * std, 2.0 * std)


def mlp(inputs: int, units: int, layers: int, bias: bool = True) -> nn.Sequential:
    """Stacks hidden layers, each made of linear, RMSNorm and SiLU.

    Inputs that are all zero must pass layers without bias: its slope there is 100, since the norm
    divides by next to nothing, and 100 times 100 after two layers.
    """
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [dense(inputs, units, bias=bias), NormedSilu(units)]
        inputs = units
    return nn.Sequential(*parts)


class BlockLinear(nn.Module):
    """Is a linear layer whose weight is block-diagonal: block g of outputs reads block g of inputs.

    Args:
        inputs, outputs: sizes, multiples of `blocks`.
        blocks: number of blocks G.
        bias: whether there is one.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks))
        draw_weight(self.weight, inputs // blocks)
        zeros = torch.zeros(blocks, 1, outputs // blocks)
        self.bias = nn.Parameter(zeros) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps blocks first, (G, B, inputs / G) to (G, B, outputs / G)."""
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


def split_blocks(x: Tensor, blocks: int) -> Tensor:
    """Views (B, n) with blocks first: (G, B, n / G)."""
    return x.unflatten(-1, (blocks, -1)).transpose(0, 1)


def join_blocks(x: Tensor) -> Tensor:
    """Copies (G, B, n / G) to (B, n)."""
    return x.transpose(0, 1).flatten(1)


# ---------------------------------------------------------------------- images


def _halvings(height: int, width: int) -> list[tuple[int, int]]:
    """Returns the sizes of an image and of its halves, halves rounded up, the smallest last."""
    sizes = [(height, width)]
    while min(sizes[-1]) > _SMALLEST_SIDE:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def _channels_last_norm(norm: NormedSilu, x: Tensor) -> Tensor:
    """Normalises the channels of (B, C, H, W) at each pixel; in channels-last memory no copy."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ImageEncoder(nn.Module):
    """Encodes images by convolutions that halve them and double the channels.

    Args:
        entry: the images, of a finite range; one reading, without stack.
        channels: those of the first layer.
        compute_dtype: arithmetic of the convolutions.

    Raises:
        ValueError: the images have an infinite range, or a side of at most 4.

    Source: DreamerV3: strided convolutions until 4 x 4.
    """

    center: Tensor
    """(C, H, W), what is subtracted from images in [0, 1]: at first one half everywhere."""

    def __init__(self, entry: Entry, channels: int, compute_dtype: torch.dtype) -> None:
        super().__init__()
        _check_image(entry)
        self.register_buffer("center", torch.full(entry.shape, 0.5))
        self.entry, self.compute_dtype = entry, compute_dtype
        self.sizes = _halvings(*entry.shape[1:])
        widths = [entry.channels, *(channels * 2**i for i in range(len(self.sizes) - 1))]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, _KERNEL, 2) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        for layer, inputs in zip(self.layers, widths, strict=False):
            draw_weight(layer.weight, inputs * _KERNEL**2)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        # A norm would blow up what is left of a centred background, and hide how bright a pixel
        # is, if nothing of constant length were added.
        draw_weight(self.layers[0].bias, entry.channels * _KERNEL**2)  # type: ignore[arg-type]
        self.norms = nn.ModuleList(NormedSilu(width) for width in widths[1:])
        self.output_size = widths[-1] * math.prod(self.sizes[-1])

    def centered(self, images: Tensor) -> Tensor:
        """Maps images (B, C, H, W) of the entry's values to [0, 1], less the centre, float32."""
        low, high = self.entry.low, self.entry.high
        return (images.float() - low).mul_(1.0 / (high - low)).sub_(self.center)

    def forward(self, images: Tensor) -> Tensor:
        """Encodes centred images (B, C, H, W) into (B, output_size), float32."""
        x = images.to(self.compute_dtype, memory_format=torch.channels_last)
        for layer, norm, (height, width) in zip(self.layers, self.norms, self.sizes, strict=False):
            assert isinstance(layer, nn.Conv2d) and isinstance(norm, NormedSilu)
            # One pixel all around, and one more where a side is odd, so that halves round up.
            x = F.pad(x, (1, 1 + width % 2, 1, 1 + height % 2))
            x = F.conv2d(x, layer.weight.to(x.dtype), _cast(layer.bias, x.dtype), 2)
            x = _channels_last_norm(norm, x)
        return x.permute(0, 2, 3, 1).reshape(len(x), -1).float()


class ImageDecoder(nn.Module):
    """Decodes images from features: the encoder's sizes backwards.

    Args:
        entry: the images.
        inputs: number of features.
        channels: those before the last layer.
        compute_dtype: arithmetic of the convolutions.
    """

    def __init__(
        self, entry: Entry, inputs: int, channels: int, compute_dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.compute_dtype = compute_dtype
        self.sizes = _halvings(*entry.shape[1:])[::-1]
        count = len(self.sizes) - 1
        widths = [*(channels * 2**i for i in reversed(range(count))), entry.channels]
        self.first = dense(inputs, widths[0] * math.prod(self.sizes[0]))
        self.norms = nn.ModuleList(NormedSilu(width) for width in widths[:-1])
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(a, b, _KERNEL, 2, 1)
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        for layer, width in zip(self.layers, widths, strict=False):
            # Each output pixel is reached by a quarter of the kernel.
            draw_weight(layer.weight, width * _KERNEL**2 // 4)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        # The first images are the centre, near enough.
        draw_weight(self.layers[-1].weight, widths[-2] * _KERNEL**2 // 4, 0.01)  # type: ignore

    def forward(self, features: Tensor) -> Tensor:
        """Decodes features (B, inputs) into centred images (B, C, H, W), float32."""
        height, width = self.sizes[0]
        x = self.first(features).view(len(features), height, width, -1).permute(0, 3, 1, 2)
        x = x.to(self.compute_dtype)
        for layer, norm, (height, width) in zip(
            self.layers, self.norms, self.sizes[1:], strict=True
        ):
            assert isinstance(layer, nn.ConvTranspose2d) and isinstance(norm, NormedSilu)
            x = _channels_last_norm(norm, x)
            weight, bias = layer.weight.to(x.dtype), _cast(layer.bias, x.dtype)
            x = F.conv_transpose2d(x, weight, bias, 2, 1)[..., :height, :width]
        return x.float()


def _cast(bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    assert bias is not None
    return bias.to(dtype)


def _check_image(entry: Entry) -> None:
    if not math.isfinite(entry.high - entry.low):
        raise ValueError(
            f"Images {entry.name!r} lie between {entry.low} and {entry.high}. Give their sensor's "
            "entry a finite low and high."
        )
    if min(entry.shape[1:]) <= _SMALLEST_SIDE:
        raise ValueError(
            f"Images of {entry.shape[1]}x{entry.shape[2]} are too small for the encoder. Use an "
            f"image_size of {_SMALLEST_SIDE + 1} or more."
        )


# ---------------------------------------------------------------------- observations


class Encoder(nn.Module):
    """Encodes observations: images by convolutions, vectors together by an MLP of their symlog.

    Args:
        spec: the entries to read, images without stack.
        channels: of the first convolution.
        units: width of the MLP's hidden layers.
        layers: their number.
        compute_dtype: arithmetic of the convolutions.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        channels: int,
        units: int,
        layers: int,
        compute_dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.images = nn.ModuleDict(
            {entry.name: ImageEncoder(entry, channels, compute_dtype) for entry in spec.images}
        )
        vectors = sum(entry.stacked_shape[0] for entry in spec.vectors)
        self.mlp = mlp(vectors, units, layers) if vectors else None
        if self.mlp is not None:
            # A norm would hide how long a vector is, if nothing of constant length were added.
            draw_weight(self.mlp[0].bias, vectors)  # type: ignore[arg-type]
        self.output_size = sum(image.output_size for image in self.images.values())  # type: ignore
        self.output_size += units if vectors else 0

    def prepare(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Centres images and takes the symlog of vectors, (B, ...) by name: what is encoded, and
        what a decoder predicts."""
        vectors = {
            entry.name: symlog(observation[entry.name].float()) for entry in self.spec.vectors
        }
        images = {name: image.centered(observation[name]) for name, image in self.images.items()}  # type: ignore
        return {**images, **vectors}

    def forward(self, prepared: Mapping[str, Tensor]) -> Tensor:
        """Encodes what `prepare` returned into (B, output_size), float32."""
        parts = [encode(prepared[name]) for name, encode in self.images.items()]
        if self.mlp is not None:
            parts.append(self.mlp(join_vectors(prepared, self.spec)))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    @torch.no_grad()
    def center(self, means: Mapping[str, Tensor]) -> None:
        """Subtracts from now on these images (C, H, W), of the entries' values, by name."""
        for name, image in self.images.items():
            image.center.zero_()  # type: ignore[union-attr, operator]
            image.center.copy_(image.centered(means[name][None])[0])  # type: ignore


class Decoder(nn.Module):
    """Predicts observations from features: centred images, the symlog of vectors.

    Args:
        spec: the entries to predict, images without stack.
        inputs: number of features.
        channels, units, layers, compute_dtype: as for `Encoder`.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        inputs: int,
        channels: int,
        units: int,
        layers: int,
        compute_dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.images = nn.ModuleDict(
            {
                entry.name: ImageDecoder(entry, inputs, channels, compute_dtype)
                for entry in spec.images
            }
        )
        vectors = sum(entry.stacked_shape[0] for entry in spec.vectors)
        self.vectors: nn.Sequential | None = None
        if vectors:
            self.vectors = nn.Sequential(mlp(inputs, units, layers), dense(units, vectors))

    def loss(self, features: Tensor, prepared: Mapping[str, Tensor]) -> Tensor:
        """Computes the squared error (B,), summed over pixels and numbers.

        Args:
            features: (B, inputs).
            prepared: entries (B, ...) by name, as `Encoder.prepare` returns them.

        Source: DreamerV3: squared error of images, and of symlog vectors.
        """
        losses = []
        for name, decode in self.images.items():
            losses.append((decode(features) - prepared[name]).square().sum((1, 2, 3)))
        if self.vectors is not None:
            error = self.vectors(features) - join_vectors(prepared, self.spec)
            losses.append(error.square().sum(1))
        return torch.stack(losses).sum(0)


def join_vectors(prepared: Mapping[str, Tensor], spec: ObservationSpec) -> Tensor:
    """Joins an observation's vectors: (B, n)."""
    return torch.cat([prepared[entry.name] for entry in spec.vectors], -1)
