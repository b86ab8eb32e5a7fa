"""Published inertia tensors that stand in for those that MuJoCo computes."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import json
from pathlib import Path

import mujoco
import numpy as np

__all__ = ["INERTIA_CHOICES", "inertia_path", "read_inertias"]

INERTIA_CHOICES = ("physical", "published")
"""Allowed values of `load_model`'s `inertia`."""
LARGEST_INERTIA = 1e8
"""kg m^2."""


def inertia_path(mjcf: Path) -> Path:
    """Names the file beside an MJCF file that holds its published inertias."""
    return mjcf.with_name(f"{mjcf.stem}.inertia.json")


def read_inertias(mjcf: Path, m: mujoco.MjModel) -> dict[int, np.ndarray]:
    """Reads the published inertias of an MJCF file's bodies.

    The file is JSON: {"source": where the numbers come from, "bodies": {name: 3 x 3 numbers}}.

    Args:
        mjcf: the MJCF file.
        m: the same, compiled.

    Returns:
        For every body with mass its inertia (3, 3) about its centre of mass, in the axes of the
        body's frame [kg m^2].

    Raises:
        ValueError: there is no such file, or it does not give each body with mass one tensor that
            is finite, symmetric and without negative principal moments.
    """
    path = inertia_path(mjcf)
    if not path.is_file():
        raise ValueError(
            f"{mjcf.name} has no published inertias: there is no {path}. Use "
            'inertia="physical", which takes them from the geoms, or write that file.'
        )
    try:
        given = json.loads(path.read_text())["bodies"]
        tensors = {str(name): np.array(rows, float) for name, rows in given.items()}
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}). It must be "
            '{"source": "...", "bodies": {"torso": [[...], [...], [...]], ...}}.'
        ) from error
    massive = {m.body(b).name: b for b in range(1, m.nbody) if m.body_mass[b] > 0}
    if set(tensors) != set(massive):
        raise ValueError(
            f"{path} names the bodies {sorted(tensors)}, but those with mass in {mjcf.name} are "
            f"{sorted(massive)}. Give each of them one tensor."
        )
    for name, tensor in tensors.items():
        if not _is_inertia(tensor):
            raise ValueError(
                f"{path}: the inertia of {name!r} is {tensor.tolist()}; give a symmetric 3 x 3 "
                "matrix of finite numbers in kg m^2, without negative principal moments."
            )
    return {massive[name]: tensor for name, tensor in tensors.items()}


def _is_inertia(tensor: np.ndarray) -> bool:
    if tensor.shape != (3, 3) or not (np.abs(tensor) < LARGEST_INERTIA).all():
        return False
    symmetric = np.allclose(tensor, tensor.T, rtol=0, atol=1e-9)
    return symmetric and bool(np.linalg.eigvalsh(tensor)[0] > -1e-9)
