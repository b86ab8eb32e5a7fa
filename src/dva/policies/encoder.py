"""The image encoder of DrQ-v2, in float32 or bfloat16 arithmetic."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Encoder"]

KERNEL = 3
STRIDES = (2, 1, 1, 1)
CHANNELS = 32


class Encoder(nn.Module):
    """Encodes stacked images by four 3x3 convolutions of 32 channels, strides 2 1 1 1, with ReLU.

    Pixels enter as x/255 - 0.5. Weights start orthogonal with gain sqrt(2), biases at zero.

    Args:
        pixels_shape: (C, H, W) of the stacked images, H and W at least 15.

    Raises:
        ValueError: the images are too small for the four convolutions.

    Source: D.Va, Table 3 (the encoder of DrQ-v2).
    """

    def __init__(self, pixels_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = pixels_shape
        self.pixels_shape = (channels, height, width)
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
        """Bytes of one image in a forward and backward pass: each layer's input and output, and
        two gradients of the largest layer."""
        input_size = self.pixels_shape[0] * self.pixels_shape[1] * self.pixels_shape[2]
        outputs = [CHANNELS * count for count in self.pixel_counts]
        return (input_size + sum(outputs) + 2 * outputs[0]) * self.compute_dtype.itemsize

    def convertible(self) -> list[tuple[Tensor, float]]:
        """Lists each layer's weight and bias, and the factor at which `converted` takes it."""
        scale = 1.0 / 255.0
        pairs = []
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            pairs += [(layer.weight, scale), (layer.bias, 1.0)]
            scale = 1.0
        return pairs

    def converted(self) -> list[tuple[Tensor, Tensor]]:
        """Converts each layer's weight and bias to `compute_dtype`, with their graph.

        The first weight is divided by 255.
        """
        # Master weights stay contiguous, so that checkpoints and optimizer moments have one layout.
        tensors = [
            (parameter * scale if scale != 1.0 else parameter).to(
                self.compute_dtype,
                memory_format=torch.channels_last
                if parameter.dim() == 4
                else torch.preserve_format,
            )
            for parameter, scale in self.convertible()
        ]
        return list(zip(tensors[::2], tensors[1::2], strict=True))

    def forward(
        self, pixels: Tensor, converted: Sequence[tuple[Tensor, Tensor]] | None = None
    ) -> Tensor:
        """Encodes images (B, C, H, W) into features (B, output_size) of `compute_dtype`.

        Args:
            pixels: uint8, or float32 in [0, 255] through which a gradient may flow.
            converted: what `converted` returned, to spare many small batches the conversion.

        Raises:
            TypeError: the images are neither uint8 nor float32.
        """
        if pixels.dtype not in (torch.uint8, torch.float32):
            raise TypeError(
                f"Pixels have dtype {pixels.dtype}; the encoder takes uint8 or float32 in 0..255."
            )
        if pixels.dtype == torch.uint8:
            # Pixel - 127.5 needs eight significant bits, which bfloat16 has: the conversion is
            # exact, and the division by 255 moves into the small weight. Bytes change their order
            # twice as fast as what they become.
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            x = pixels.to(self.compute_dtype).sub_(127.5)
        else:
            x = (pixels - 127.5).to(self.compute_dtype, memory_format=torch.channels_last)
        for (weight, bias), stride in zip(converted or self.converted(), STRIDES, strict=True):
            x = F.relu_(F.conv2d(x, weight, bias, stride))
        # Features in (H, W, C) order: a view of channels-last memory, where (C, H, W) would copy
        # it.
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], self.output_size)


def _pixel_counts(height: int, width: int) -> list[int]:
    """Counts the pixels that each layer puts out."""
    counts = []
    for stride in STRIDES:
        height, width = (height - KERNEL) // stride + 1, (width - KERNEL) // stride + 1
        counts.append(height * width)
    return counts


def _output_length(length: int) -> int:
    for stride in STRIDES:
        length = (length - KERNEL) // stride + 1
    return length
