"""Pictures of images that policies see, and of how much their pixels matter."""

import numpy as np
import torch

from dva.envs.frames import newest
from dva.policies import RepeatingPolicy
from dva.spec import Entry

__all__ = ["beside", "heat", "picture", "seen"]

_RAMP = np.array([[0.0, 0.0, 0.0], [0.45, 0.05, 0.45], [0.95, 0.35, 0.1], [1.0, 0.95, 0.6]])
"""Colours of heat from 0 to 1."""
_GAP = 2
"""Pixels between pictures side by side."""


def seen(policy: object, entry: Entry, stack: torch.Tensor) -> torch.Tensor:
    """Returns what a policy looks at in the newest reading of one robot, (C, H, W).

    Args:
        policy: the policy, or None.
        entry: of the image.
        stack: (1, k C, H, W), the observation.
    """
    reading = newest(stack, entry)
    if isinstance(policy, RepeatingPolicy):
        reading = policy.center({entry.name: reading})[entry.name]
    return reading[0]


def picture(entry: Entry, image: torch.Tensor) -> np.ndarray:
    """Turns an image (C, H, W) into a picture, uint8 (H, W, 3).

    Colours stay as they are. Of whole numbers, such as segmentation, each has a colour of its own;
    other images are grey, from the entry's low to its high, or from their own where these are
    infinite.
    """
    values = image.detach().float().cpu().numpy()
    if entry.shape[0] == 3:
        low, high = (entry.low, entry.high) if np.isfinite(entry.high) else (0.0, 255.0)
        scaled = (values - low) * (255.0 / (high - low))
        return np.ascontiguousarray(scaled.clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0))
    first = values[0]
    if entry.dtype == "int32":
        return _palette(first.astype(int))
    low = entry.low if np.isfinite(entry.low) else float(first.min())
    high = entry.high if np.isfinite(entry.high) else float(first.max())
    grey = ((first - low) * (255.0 / max(high - low, 1e-9))).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def heat(base: np.ndarray, saliency: torch.Tensor) -> np.ndarray:
    """Paints a saliency map (H, W) over the grey of a picture (H, W, 3), brightest where it is
    largest; a map of zeros leaves the grey."""
    values = saliency.detach().float().cpu().numpy()
    if values.shape != base.shape[:2]:  # the picture shows the middle that the policy cuts out
        top, left = ((a - b) // 2 for a, b in zip(values.shape, base.shape[:2], strict=True))
        values = values[top : top + base.shape[0], left : left + base.shape[1]]
    # Single pixels would hide the rest: the brightest half percent is cut off.
    largest = float(np.quantile(values, 0.995)) or float(values.max())
    share = (values / largest).clip(0, 1) if largest > 0 else np.zeros_like(values)
    places = share[..., None] * (len(_RAMP) - 1)
    index = np.minimum(places[..., 0].astype(int), len(_RAMP) - 2)
    colour = _RAMP[index] + (places - index[..., None]) * (_RAMP[index + 1] - _RAMP[index])
    grey = base.mean(2, keepdims=True) / 255.0 * 0.6
    weight = np.sqrt(share)[..., None]
    mixed = (1.0 - weight) * grey + weight * colour
    return (mixed * 255.0).clip(0, 255).astype(np.uint8)


def beside(pictures: list[np.ndarray]) -> np.ndarray:
    """Puts pictures (H, W, 3) of any sizes side by side, on white."""
    height = max(len(x) for x in pictures)
    width = sum(x.shape[1] for x in pictures) + _GAP * (len(pictures) - 1)
    joined = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for one in pictures:
        joined[: len(one), left : left + one.shape[1]] = one
        left += one.shape[1] + _GAP
    return joined


def _palette(numbers: np.ndarray) -> np.ndarray:
    """Gives each whole number a colour, below 0 black."""
    turns = (numbers * 0.618034) % 1.0  # the golden ratio keeps neighbours apart
    waves = np.stack([np.cos(2 * np.pi * (turns + shift)) for shift in (0.0, 1 / 3, 2 / 3)], -1)
    colours = (140 + 100 * waves).astype(np.uint8)
    return np.where((numbers < 0)[..., None], 0, colours).astype(np.uint8)
