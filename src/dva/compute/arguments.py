"""Checks of what users hand to the program.

Each error names the value, what is allowed, and the fix.
"""

from collections.abc import Sequence
from numbers import Integral

import torch

from dva.compute.threads import split_environments

__all__ = [
    "at_least_one",
    "check_shapes",
    "check_tensor",
    "env_ids",
    "image_size",
    "require",
    "seed",
    "shards",
]


def require(name: str, value: object, condition: bool, allowed: str) -> None:
    """Refuses a value of a configuration.

    Args:
        name: the field.
        value: what it holds.
        condition: whether that is allowed.
        allowed: what is, as the end of a sentence: "1 or more".

    Raises:
        ValueError: the condition is False.
    """
    if not condition:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}.")


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


MAX_IMAGE_SIDE = 4096
"""Pixels; what a camera can be asked for at most."""


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
        or not all(1 <= int(x) <= MAX_IMAGE_SIDE for x in sides)
    ):
        raise ValueError(
            f"image_size is {value!r}; give a side in pixels such as 84, or (height, width), "
            f"each from 1 to {MAX_IMAGE_SIDE}."
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


def env_ids(value: Sequence[int] | None, num_envs: int) -> list[int]:
    """Accepts numbers of environments; None is all of them.

    Raises:
        ValueError: there is none, or one does not exist.
    """
    ids = list(range(num_envs)) if value is None else [int(i) for i in value]
    if not ids or min(ids) < 0 or max(ids) >= num_envs:
        raise ValueError(f"env_ids is {ids}; give at least one number from 0 to {num_envs - 1}.")
    return ids


def check_shapes(state_dict: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    """Accepts a saved state with a generator and tensors of these names and shapes.

    Raises:
        ValueError: an entry is missing, unknown, or of another shape.
    """
    wanted = {*shapes, "generator"}
    if set(state_dict) != wanted:
        raise ValueError(
            f"The state has the entries {sorted(state_dict)}, expected {sorted(wanted)}. "
            "Make the environment with the same task and observe=... as the one that was saved."
        )
    for name, shape in shapes.items():
        if tuple(state_dict[name].shape) != shape:
            raise ValueError(
                f"Entry {name!r} has shape {tuple(state_dict[name].shape)}, expected {shape}. "
                "Make the environment with the same task, num_envs, image_size and frame_stack "
                "as the one that was saved."
            )
