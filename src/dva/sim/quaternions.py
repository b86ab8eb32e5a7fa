"""Quaternions (x, y, z, w)."""

import numpy as np
import torch

__all__ = ["multiply", "rotate", "rotation_matrix", "within_angle"]


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


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Gives the rotation matrix (3, 3) of a quaternion (x, y, z, w) of any length but 0."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def within_angle(quaternion: np.ndarray, angle: float) -> np.ndarray:
    """Turns a unit quaternion (x, y, z, w) back about its axis to at most an angle [rad]."""
    sine, cosine = float(np.linalg.norm(quaternion[:3])), abs(float(quaternion[3]))
    if 2.0 * np.arctan2(sine, cosine) <= angle:
        return quaternion
    axis = np.copysign(1.0, quaternion[3]) * quaternion[:3] / sine
    return np.append(np.sin(0.5 * angle) * axis, np.cos(0.5 * angle))
