"""Checks of what users hand to an environment.

Each error names the value, what is allowed, and the fix.
"""

from collections.abc import Sequence
from numbers import Integral

import torch

from dva.sensors.arguments import at_least_one, image_size

__all__ = [
    "at_least_one",
    "check_shapes",
    "check_tensor",
    "device",
    "env_ids",
    "image_size",
    "seed",
]


def seed(value: int) -> int:
    """Accepts whole numbers from 0 to 2^63 - 1.

    Raises:
        ValueError: `value` is something else.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"seed is {value!r}; give a whole number from 0 to 2^63 - 1.")
    return int(value)


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
        raise ValueError(
            f"device is {value!r}; give 'auto', 'cpu', 'cuda' or 'cuda:INDEX'."
        ) from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {value!r}; give 'auto', 'cpu', 'cuda' or 'cuda:INDEX'.")
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
            "Make the environment with the same pixels=... as the one that was saved."
        )
    for name, shape in shapes.items():
        if tuple(state_dict[name].shape) != shape:
            raise ValueError(
                f"Entry {name!r} has shape {tuple(state_dict[name].shape)}, expected {shape}. "
                "Make the environment with the same task, num_envs, image_size and frame_stack "
                "as the one that was saved."
            )
