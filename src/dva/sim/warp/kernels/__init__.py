"""The equations of motion as Warp kernels, in float32 or float64.

A control step is a fixed sequence of small launches (`dva.sim.warp.schedule`), recorded once and
replayed. Spatial vectors are pairs (angular, linear) of 3-vectors in world axes at the
environment's `origin`, where the twists and wrenches of different links simply add. The origin is
where the root was at the start of the control step (`origin_map` in `dva.sim.warp.workspace` says
precisely): the motion does not depend on it, float32 accuracy does.

Axes of the arrays: e environment, k substep, g mass matrix (one for several substeps), i link,
d dof, c contact.

Warp differentiates these kernels. It does so correctly because every element of an array is written
once, or only added to; because nothing is carried from one iteration of a dynamic loop to the next
in a local variable; and because functions only return values (a backward pass calls them again, so
they must have no side effects). Keep it so: Warp gives no warning when it is not. Where a loop must
accumulate (`invert`, `row_product`) the adjoint is written by hand.
"""

from functools import cache
from types import SimpleNamespace
from typing import Any

from dva.compute.warp_runtime import COMPILING
from dva.sim.warp.kernels.contacts import contact_kernels
from dva.sim.warp.kernels.features import feature_kernels
from dva.sim.warp.kernels.forces import force_kernels
from dva.sim.warp.kernels.integration import integration_kernels
from dva.sim.warp.kernels.interface import interface_kernels
from dva.sim.warp.kernels.kinematics import kinematics_kernels
from dva.sim.warp.kernels.mass_matrix import mass_matrix_kernels
from dva.sim.warp.kernels.terrain import terrain_kernels
from dva.sim.warp.kernels.types import kernel_types

__all__ = ["build_kernels"]

_FACTORIES = (
    interface_kernels,
    kinematics_kernels,
    mass_matrix_kernels,
    force_kernels,
    integration_kernels,
)


def build_kernels(real: Any, balls: bool = False) -> SimpleNamespace:
    """Builds the kernels for one floating point type.

    Args:
        real: `wp.float32` or `wp.float64`.
        balls: whether the robot has ball joints.

    Returns:
        The kernels, by name. Their arguments are named as the arrays in `dva.sim.warp.workspace`.
    """
    with COMPILING:
        return _build(real, balls)


@cache
def _build(real: Any, balls: bool) -> SimpleNamespace:
    types = kernel_types(real, balls=balls)
    kernels = [kernel for factory in _FACTORIES for kernel in factory(types)]
    # Apart, so that robots without such features do not wait for their compilation.
    kernels += feature_kernels(kernel_types(real, "features.", balls))
    kernels += [*_contacts(real), *_terrain(real)]
    return SimpleNamespace(**{kernel.func.__name__: kernel for kernel in kernels})


@cache
def _contacts(real: Any) -> tuple[Any, ...]:
    return contact_kernels(kernel_types(real, "contacts."))


@cache
def _terrain(real: Any) -> tuple[Any, ...]:
    return terrain_kernels(kernel_types(real, "terrain."))
