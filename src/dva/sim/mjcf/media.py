"""What brakes a body that touches nothing: a fluid, and the damping of its free joint."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import mujoco
import numpy as np

from dva.sim.features import Fluid
from dva.sim.mjcf.poses import compose, from_xyzw
from dva.sim.model import FREE, Skeleton

__all__ = ["read_fluid", "read_free_damping"]

_LEAST_MASS = 1e-10


def read_fluid(m: mujoco.MjModel, skeleton: Skeleton) -> Fluid | None:
    """Reads a fluid by MuJoCo's model of bodies as boxes of their inertia."""
    if not (m.opt.density or m.opt.viscosity):
        return None
    rows = []
    for body in range(1, m.nbody):
        link, mass = int(skeleton.body_link[body]), float(m.body_mass[body])
        start = m.body_geomadr[body]
        geoms = slice(start, start + m.body_geomnum[body])
        if link < 0 or mass < _LEAST_MASS or (m.geom_fluid[geoms, 0] > 0).any():
            continue
        frame = from_xyzw(skeleton.body_frame[body])
        position, quaternion = compose(frame, (m.body_ipos[body], m.body_iquat[body]))
        inertia = m.body_inertia[body]
        box = np.sqrt(np.maximum(inertia.sum() - 2.0 * inertia, 1e-15) * 6.0 / mass)
        rows.append((link, position, np.roll(quaternion, -1), box))
    if not rows:
        return None
    columns = (np.array(column) for column in zip(*rows, strict=True))
    medium = np.array([m.opt.density, m.opt.viscosity])
    return Fluid(*columns, medium=medium, wind=m.opt.wind.copy())


def read_free_damping(m: mujoco.MjModel, skeleton: Skeleton) -> np.ndarray | None:
    """Reads the damping (L,) of free joints; None if there is none."""
    found = np.zeros(skeleton.num_links)
    for link in np.flatnonzero(skeleton.link_joint == FREE):
        found[link] = m.dof_damping.reshape(m.nv, -1)[skeleton.link_dof[link], 0]
    return found if found.any() else None
