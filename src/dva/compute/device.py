"""Devices by name."""

import torch

__all__ = ["indexed_device", "resolve_device"]


def resolve_device(device: str | torch.device) -> torch.device:
    """Accepts "cpu", "cuda", "cuda:1", ... and "auto", which prefers CUDA.

    Returns:
        The device; a CUDA device has its index, as a tensor's device has.

    Raises:
        ValueError: the name is unknown, or this machine has no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(_unknown(device)) from error
    if found.type not in ("cpu", "cuda") or (found.type == "cpu" and found.index):
        raise ValueError(_unknown(device))
    if found.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (found.index or 0) >= count:
            raise ValueError(
                f"device is {str(device)!r}, but PyTorch finds {count} CUDA device(s) on this "
                "machine, counted from 0. Use another index, or 'cpu', or install a CUDA build of "
                "PyTorch and a driver that fits it (`dva doctor` shows what is there)."
            )
        # A tensor's device is "cuda:0", never "cuda", and must compare equal.
        found = torch.device("cuda", found.index or 0)
    return found if found.type == "cuda" else torch.device("cpu")


def indexed_device(device: str | torch.device) -> torch.device:
    """Returns the device with its index: Warp does not know "cuda" without one."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _unknown(device: object) -> str:
    return f"device is {str(device)!r}; give 'auto', 'cpu', 'cuda' or 'cuda:INDEX'."
