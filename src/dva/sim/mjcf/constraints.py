"""MuJoCo's constraint parameters as springs and dampers.

MuJoCo solves for the force f of a soft constraint with f (A + R) = -b v - k d r - a, where A is the
inverse of the effective mass, R = A (1 - d) / d, a the acceleration without the constraint, and k,
b and the impedance d come from `solref` and `solimp`. A constraint at rest is therefore a spring of
stiffness k d^2 / (1 - d) for every kilogram of effective mass. That is the spring here, with the
damping ratio that `solref` asks for; how deep things rest is then MuJoCo's.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import math

import mujoco
import numpy as np

__all__ = ["UnitLaw", "friction_width", "impedance", "unit_law"]

UnitLaw = tuple[float, float]
"""Stiffness [1/s^2] and damping ratio of a constraint of effective mass 1."""

_LEAST, _MOST = 0.0001, 0.9999
"""Range of an impedance, as in MuJoCo."""


def impedance(solimp: np.ndarray) -> float:
    """Gives the impedance half way between touch and full depth."""
    return float(np.clip(solimp[:2], _LEAST, _MOST).mean())


def unit_law(m: mujoco.MjModel, solref: np.ndarray, solimp: np.ndarray) -> UnitLaw:
    """Turns `solref` and `solimp` into stiffness and damping ratio at effective mass 1.

    The impedance is that half way between touch and full depth.

    Args:
        m: the robot, whose time step bounds the time constant from below, as MuJoCo does.
        solref: (2,) time constant and damping ratio, or minus stiffness and damping.
        solimp: (5,) of which the first two, the impedances at touch and in depth, count.
    """
    deep, half_way = float(np.clip(solimp[1], _LEAST, _MOST)), impedance(solimp)
    if solref[0] > 0:
        constant, ratio = float(solref[0]), max(float(solref[1]), 1e-6)
        if not m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_REFSAFE:
            constant = max(constant, 2.0 * m.opt.timestep)
        stiffness = 1.0 / (deep * constant * ratio) ** 2
    else:
        stiffness = -float(solref[0]) / deep**2
        ratio = -float(solref[1]) / deep / (2.0 * math.sqrt(max(stiffness, 1e-12)))
    return stiffness * half_way**2 / (1.0 - half_way), ratio


def friction_width(loss: float, law: UnitLaw, inverse_mass: float) -> float:
    """Gives the speed over which dry friction grows, so that it holds as a limit would.

    The slope of f tanh(v / width) at rest, f / width, is the damping of a constraint of that law.

    Args:
        loss: f [N or N m].
        law: of the friction constraint.
        inverse_mass: of what it holds [1/kg or 1/(kg m^2)].
    """
    stiffness, ratio = law
    slope = 2.0 * max(ratio, 0.1) * math.sqrt(max(stiffness, 1.0)) / max(inverse_mass, 1e-12)
    return loss / slope
