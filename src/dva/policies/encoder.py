"""The image encoder of DrQ-v2, in float32 or bfloat16 arithmetic."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dva.spec import Entry

__all__ = ["Encoder"]

KERNEL = 3
STRIDES = (2, 1, 1, 1)
CHANNELS = 32


class Encoder(nn.Module):
    """Encodes stacked images by four 3x3 convolutions of 32 channels, strides 2 1 1 1, with ReLU.

    Values x enter as (x - middle) / range of the entry's low and high: pixels as x / 255 - 0.5.
    Weights start orthogonal with gain sqrt(2), biases at zero.

    Args:
        entry: the images, with a height and width of at least 15 and a finite range.

    Raises:
        ValueError: the images are too small for the four convolutions, or their range is infinite.

    Source: D.Va, Table 3 (the encoder of DrQ-v2).
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        channels, height, width = entry.stacked_shape
        if not math.isfinite(entry.high - entry.low):
            raise ValueError(
                f"Images {entry.name!r} lie between {entry.low} and {entry.high}. Give their "
                "sensor's entry a finite low and high."
            )
        self.entry = entry
        self.middle = (entry.low + entry.high) / 2.0
        self.scale = 1.0 / (entry.high - entry.low)
        self.compute_dtype = torch.float32
        """Arithmetic of the convolutions; parameters and gradients are float32."""
        sizes = [_output_length(height), _output_length(width)]
        if min(sizes) < 1:
            raise ValueError(
                f"Images of {height}x{width} are too small for the encoder. "
                "Use an image_size of 15 or more."
            )
        self.output_size = CHANNELS * sizes[0] * sizes[1]
        self.pixel_counts = _pixel_counts(height, width)
        inputs = [channels] + [CHANNELS] * (len(STRIDES) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(count, CHANNELS, KERNEL, stride)
            for count, stride in zip(inputs, STRIDES, strict=True)
        )
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.orthogonal_(layer.weight, math.sqrt(2.0))
            nn.init.zeros_(layer.bias)

    @property
    def activation_bytes(self) -> int:
        """Bytes of one image in a forward and a backward pass: each layer's input and output, and
        two gradients of the largest layer."""
        outputs = [CHANNELS * count for count in self.pixel_counts]
        inputs = math.prod(self.entry.stacked_shape)
        return (inputs + sum(outputs) + 2 * outputs[0]) * self.compute_dtype.itemsize

    def castable(self) -> list[tuple[Tensor, float]]:
        """Lists each layer's weight and bias, each with its factor in `cast_weights`."""
        scale = self.scale
        pairs = []
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            pairs += [(layer.weight, scale), (layer.bias, 1.0)]
            scale = 1.0
        return pairs

    def cast_weights(self) -> list[tuple[Tensor, Tensor]]:
        """Casts each layer's weight and bias to `compute_dtype`, with their graph.

        The first weight is divided by the range of the images.
        """
        # Master weights stay contiguous: checkpoints and optimizer moments have one layout.
        tensors = [
            (parameter * scale if scale != 1.0 else parameter).to(
                self.compute_dtype,
                memory_format=torch.channels_last
                if parameter.dim() == 4
                else torch.preserve_format,
            )
            for parameter, scale in self.castable()
        ]
        return list(zip(tensors[::2], tensors[1::2], strict=True))

    def forward(
        self, images: Tensor, weights: Sequence[tuple[Tensor, Tensor]] | None = None
    ) -> Tensor:
        """Encodes images (B, C, H, W) into features (B, output_size) of `compute_dtype`.

        Args:
            images: of the entry's dtype, or float32 through which a gradient may flow.
            weights: what `cast_weights` returned, so that many small batches share one cast.

        Raises:
            TypeError: the images have another dtype.
        """
        if images.dtype not in (self.entry.torch_dtype, torch.float32):
            raise TypeError(
                f"{self.entry.name!r} has dtype {images.dtype}; the encoder takes "
                f"{self.entry.torch_dtype} or float32."
            )
        if images.dtype == torch.uint8:
            # Pixel - 127.5 needs eight significant bits, which bfloat16 has: the cast is exact,
            # and the division by 255 moves into the small weight. Bytes are reordered twice as
            # fast as the wider numbers that they become.
            images = images.contiguous(memory_format=torch.channels_last)
            x = images.to(self.compute_dtype).sub_(self.middle)
        else:
            x = images.float() - self.middle
            x = x.to(self.compute_dtype, memory_format=torch.channels_last)
        for (weight, bias), stride in zip(weights or self.cast_weights(), STRIDES, strict=True):
            x = F.relu_(F.conv2d(x, weight, bias, stride))
        # Features in (H, W, C) order are a view of channels-last memory; (C, H, W) would copy it.
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], self.output_size)


def _pixel_counts(height: int, width: int) -> list[int]:
    """Counts the output pixels of each layer."""
    counts = []
    for stride in STRIDES:
        height, width = (height - KERNEL) // stride + 1, (width - KERNEL) // stride + 1
        counts.append(height * width)
    return counts


def _output_length(length: int) -> int:
    for stride in STRIDES:
        length = (length - KERNEL) // stride + 1
    return length
