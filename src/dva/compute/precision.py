"""The arithmetic of large networks."""

from typing import Literal

import torch

__all__ = ["Precision", "resolve_precision"]

Precision = Literal["auto", "float32", "bfloat16"]


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Chooses the arithmetic of an encoder; parameters stay float32 in any case.

    Args:
        precision: "auto" takes bfloat16 if the processor computes in it, else float32.
        device: the device on which the encoder runs.

    Raises:
        ValueError: the precision is none of the three.
    """
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if precision != "auto":
        raise ValueError(
            f"Unknown precision {precision!r}. Choose one of: auto, float32, bfloat16."
        )
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))
    return torch.bfloat16 if native else torch.float32
