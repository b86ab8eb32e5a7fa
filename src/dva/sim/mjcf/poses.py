"""Poses in MuJoCo's order, used only while importing."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import mujoco
import numpy as np

__all__ = [
    "IDENTITY",
    "Pose",
    "axis_quaternion",
    "compose",
    "from_xyzw",
    "matrix",
    "rotate",
    "xyzw",
]

Pose = tuple[np.ndarray, np.ndarray]
"""Position (3,) and quaternion (w, x, y, z)."""

IDENTITY: Pose = (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))


def compose(a: Pose, b: Pose) -> Pose:
    """Expresses pose `b`, given in the frame `a`, in the frame that `a` is given in."""
    quaternion = np.zeros(4)
    mujoco.mju_mulQuat(quaternion, a[1], b[1])
    return a[0] + rotate(a[1], b[0]), quaternion


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotates a vector (3,)."""
    out = np.zeros(3)
    mujoco.mju_rotVecQuat(out, np.asarray(vector, float), quaternion)
    return out


def matrix(quaternion: np.ndarray) -> np.ndarray:
    """Gives the rotation matrix (3, 3) of a quaternion."""
    out = np.zeros(9)
    mujoco.mju_quat2Mat(out, quaternion)
    return out.reshape(3, 3)


def axis_quaternion(axis: np.ndarray, angle: float) -> np.ndarray:
    """Gives the quaternion that turns by `angle` [rad] about the unit vector `axis` (3,)."""
    out = np.zeros(4)
    mujoco.mju_axisAngle2Quat(out, axis, angle)
    return out


def xyzw(pose: Pose) -> np.ndarray:
    """Joins a pose into position and quaternion (x, y, z, w), shape (7,)."""
    return np.concatenate([pose[0], np.roll(pose[1], -1)])


def from_xyzw(values: np.ndarray) -> Pose:
    """Splits what `xyzw` joined."""
    return values[:3], np.roll(values[3:], 1)
