"""Quaternions (x, y, z, w) as torch tensors."""

import torch

__all__ = ["multiply", "rotate"]


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiplies quaternions (..., 4) by quaternions (..., 4)."""
    u, w = a[..., :3], a[..., 3:]
    v, s = b[..., :3], b[..., 3:]
    vector = w * v + s * u + torch.linalg.cross(u, v)
    return torch.cat([vector, w * s - (u * v).sum(-1, keepdim=True)], dim=-1)


def rotate(quaternion: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Rotates vectors (..., 3) by unit quaternions (..., 4)."""
    u, w = quaternion[..., :3], quaternion[..., 3:]
    t = 2.0 * torch.linalg.cross(u, vector)
    return vector + w * t + torch.linalg.cross(u, t)
