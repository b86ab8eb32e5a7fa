"""Checks of values that users pass in.

Each error names the value, what is allowed, and the fix.
"""

from collections.abc import Sequence
from numbers import Integral

import torch

from dva.compute.threads import split_environments

__all__ = [
    "MAX_COUNT",
    "MAX_IMAGE_SIDE",
    "check_state",
    "check_tensor",
    "count",
    "env_ids",
    "image_size",
    "require",
    "seed",
    "shards",
]


def require(name: str, value: object, condition: bool, allowed: str) -> None:
    """Refuses a value of a configuration unless a condition holds.

    Args:
        name: name of the field.
        value: its value.
        condition: whether the value is allowed.
        allowed: what is allowed, as the end of the message: "1 or more".

    Raises:
        ValueError: the condition is False.
    """
    if not condition:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}.")


MAX_COUNT = 1_000_000
"""The largest number of environments, frames or threads; no memory holds more."""


def count(name: str, value: int) -> int:
    """Accepts whole numbers from 1 to `MAX_COUNT`.

    Raises:
        ValueError: `value` is something else.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not 1 <= value <= MAX_COUNT:
        raise ValueError(f"{name} is {value!r}; give a whole number between 1 and {MAX_COUNT:,}.")
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
"""The largest height or width of an image [pixels]."""


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
    """Divides environments among threads.

    Args:
        num_envs: number of environments.
        threads: largest number of shards; None: torch's thread count on the CPU, 1 on CUDA.
        device: device of the environments.

    Returns:
        Contiguous parts, none of them empty.

    Raises:
        ValueError: `threads` is not a whole number that `count` accepts.
    """
    if threads is None:
        threads = torch.get_num_threads() if device.type == "cpu" else 1
    return split_environments(num_envs, count("threads", threads))


def check_tensor(
    name: str, value: torch.Tensor, shape: tuple[int, ...], device: torch.device
) -> None:
    """Accepts a float32 tensor of the given shape on the given device.

    Raises:
        TypeError: `value` is no tensor.
        ValueError: its shape, dtype or device is wrong.
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
            f"{name} has dtype {value.dtype}, expected torch.float32. Cast it with .float()."
        )
    if value.device != device:
        raise ValueError(
            f"{name} is on {value.device}, the environment on {device}. Use .to(env.device)."
        )


def env_ids(value: Sequence[int] | None, num_envs: int) -> list[int]:
    """Accepts the numbers of some environments; None means all.

    Raises:
        ValueError: the list is empty, or an environment does not exist.
    """
    ids = list(range(num_envs)) if value is None else [int(i) for i in value]
    if not ids or min(ids) < 0 or max(ids) >= num_envs:
        raise ValueError(f"env_ids is {ids}; give at least one number from 0 to {num_envs - 1}.")
    return ids


def check_state(
    state_dict: dict[str, torch.Tensor],
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]],
) -> None:
    """Accepts a saved state with a generator and tensors of the given names, shapes and dtypes.

    Raises:
        ValueError: an entry is missing, unknown, no tensor, or of another shape or dtype.
    """
    wanted = {*expected, "generator"}
    if set(state_dict) != wanted:
        raise ValueError(
            f"The state has the entries {sorted(state_dict)}, expected {sorted(wanted)}. "
            "Make the environment with the same task and observe=... as the one that was saved."
        )
    for name, value in state_dict.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"Entry {name!r} is a {type(value).__name__}, expected a tensor.")
    for name, (shape, dtype) in expected.items():
        if state_dict[name].dtype != dtype:
            raise ValueError(f"Entry {name!r} is {state_dict[name].dtype}, expected {dtype}.")
        if tuple(state_dict[name].shape) != shape:
            raise ValueError(
                f"Entry {name!r} has shape {tuple(state_dict[name].shape)}, expected {shape}. "
                "Make the environment with the same task, num_envs, image_size and frame_stack "
                "as the one that was saved."
            )
