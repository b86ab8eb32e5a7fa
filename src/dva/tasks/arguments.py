"""Checks of what users hand to an environment.

Each error names the value, what is allowed, and the fix.
"""

from collections.abc import Sequence
from numbers import Integral

import torch

__all__ = ["at_least_one", "check_tensor", "device", "image_size", "seed"]


def at_least_one(name: str, value: int) -> int:
    """Accepts whole numbers from 1.

    Raises:
        ValueError: `value` is something else.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least 1.")
    return int(value)


def seed(value: int) -> int:
    """Accepts whole numbers from 0 to 2^63 - 1.

    Raises:
        ValueError: `value` is something else.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"seed is {value!r}; give a whole number from 0 to 2^63 - 1.")
    return int(value)


def image_size(value: int | Sequence[int]) -> tuple[int, int]:
    """Accepts one side of a square, or (height, width), in pixels.

    Returns:
        (height, width).

    Raises:
        ValueError: `value` is something else.
    """
    sides = (value, value) if isinstance(value, Integral) else value
    if (
        not isinstance(sides, Sequence)
        or len(sides) != 2
        or not all(isinstance(x, Integral) and not isinstance(x, bool) for x in sides)
        or min(sides) < 1
    ):
        raise ValueError(
            f"image_size is {value!r}; give one number of pixels of at least 1, or (height, width)."
        )
    return int(sides[0]), int(sides[1])


def device(value: str | torch.device) -> torch.device:
    """Accepts "cpu", "cuda", "cuda:1", ... and "auto", which is CUDA where there is one.

    Raises:
        ValueError: the name is unknown, or the device is not there.
    """
    if value == "auto":
        value = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(value)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device is {value!r}; give 'auto', 'cpu' or 'cuda'.") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {value!r}; give 'auto', 'cpu' or 'cuda'.")
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (found.index or 0) >= count:
            raise ValueError(
                f"device is {value!r}, but PyTorch sees {count} of them. Use 'cpu', or install "
                "a CUDA build of PyTorch on a machine with an NVIDIA GPU."
            )
        # Tensors say "cuda:0", never "cuda"; a comparison needs the same words.
        found = torch.device("cuda", found.index or 0)
    return found


def check_tensor(
    name: str, value: torch.Tensor, shape: tuple[int, ...], device: torch.device
) -> None:
    """Accepts float32 tensors of one shape on one device.

    Raises:
        TypeError: `value` is no tensor.
        ValueError: its shape, dtype or device is another.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(
            f"{name} is a {type(value).__name__}; give a float32 torch tensor of shape {shape}."
        )
    if tuple(value.shape) != shape:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, expected {shape}: one row per environment."
        )
    if value.dtype != torch.float32:
        raise ValueError(
            f"{name} has dtype {value.dtype}, expected torch.float32. Convert it with .float()."
        )
    if value.device != device:
        raise ValueError(
            f"{name} is on {value.device}, the environment on {device}. Use .to(env.device)."
        )
