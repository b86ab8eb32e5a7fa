"""Windows cut out of images at random places: shifts (DrQ-v2) and crops (CURL)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dva.spec import Observation, ObservationSpec

__all__ = ["crop_randomly", "cut_windows", "augment", "shift_randomly"]


def augment(
    observation: Mapping[str, Tensor], spec: ObservationSpec, change: Callable[[Tensor], Tensor]
) -> Observation:
    """Changes the images (B, C, H, W) of an observation, and leaves its vectors."""
    images = {entry.name for entry in spec.images}
    return {name: change(value) if name in images else value for name, value in observation.items()}


def shift_randomly(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Shifts each image by a whole number of pixels, -pad to pad in each direction.

    Pixels that come in from outside repeat the border, as if the images had been padded by it.

    Args:
        images: (B, C, H, W), of any dtype.
        pad: largest shift [pixels].
        generator: draws the shifts, on the device of the images.

    Source: DrQ-v2, section 3.1. Between pixels, bilinear interpolation of whole shifts changes
    nothing, so bytes stay bytes.
    """
    shift = _draw(2 * pad + 1, 2 * pad + 1, images, generator) - pad
    return cut_windows(images, shift[0], shift[1], images.shape[-2], images.shape[-1])


def crop_randomly(images: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    """Cuts a square of `crop` pixels out of each image (B, C, H, W), at a place of its own.

    Source: CURL, section 4.3.
    """
    height, width = images.shape[-2:]
    corner = _draw(height - crop + 1, width - crop + 1, images, generator)
    return cut_windows(images, corner[0], corner[1], crop, crop)


def cut_windows(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Cuts a window out of each image; beyond the border the border's pixels are repeated.

    Args:
        images: (B, C, H, W).
        top, left: (B,) whole numbers, where the windows begin; negative ones begin outside.
        height, width: size of the windows.

    Returns:
        (B, C, height, width), in channels-last memory, which the encoder wants.
    """
    size, channels, high, wide = images.shape
    down = torch.arange(height, device=images.device)
    right = torch.arange(width, device=images.device)
    rows = (top[:, None] + down).clamp(0, high - 1)
    columns = (left[:, None] + right).clamp(0, wide - 1)
    first = torch.arange(size, device=images.device) * (high * wide)
    index = first[:, None, None] + rows[:, :, None] * wide + columns[:, None, :]
    pixels = images.permute(0, 2, 3, 1).reshape(size * high * wide, channels)
    found = pixels.index_select(0, index.flatten())
    return found.view(size, height, width, channels).permute(0, 3, 1, 2)


def _draw(rows: int, columns: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Draws whole numbers from 0 to below `rows` and `columns`, (2, B)."""
    size = len(images)
    drawn = [
        torch.randint(choices, (size,), generator=generator, device=images.device)
        for choices in (rows, columns)
    ]
    return torch.stack(drawn)
