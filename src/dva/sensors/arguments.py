"""Checks of numbers that people hand to a camera, shared with the rooms above.

Each error names the value, what is allowed, and the fix.
"""

from collections.abc import Sequence
from numbers import Integral

import torch

from dva.sim import split_environments

__all__ = ["at_least_one", "image_size", "shards"]


def at_least_one(name: str, value: int) -> int:
    """Accepts whole numbers from 1.

    Raises:
        ValueError: `value` is something else.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least 1.")
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
            f"image_size is {value!r}; give a side in pixels such as 84, or (height, width), "
            "both at least 1."
        )
    return int(sides[0]), int(sides[1])


def shards(num_envs: int, threads: int | None, device: torch.device) -> list[slice]:
    """Divides environments over threads.

    Args:
        num_envs: number of environments.
        threads: at most so many shards; None: torch's thread count on the CPU, 1 on CUDA.
        device: where the environments are.

    Returns:
        Contiguous parts, none of them empty.

    Raises:
        ValueError: `threads` is not a whole number of at least 1.
    """
    if threads is None:
        threads = torch.get_num_threads() if device.type == "cpu" else 1
    return split_environments(num_envs, at_least_one("threads", threads))
