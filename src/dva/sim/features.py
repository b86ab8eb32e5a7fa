"""Forces beyond the plain joint, motor and flat floor: each costs only the robots that have it.

All arrays are float64 (indices int32). Units are SI; "force" of a hinge is a torque.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Couplings", "GravityCompensation", "JointForces", "PlaneContacts", "Transmissions"]


class _Table:
    """A table whose arrays have one row for each of its elements."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))


@dataclass(frozen=True)
class PlaneContacts(_Table):
    """P solids that touch a plane with the point that lies deepest in it.

    At depth d and speed u_n away from the plane the normal force is max(ke d - c min(d / ramp, 1)
    u_n, 0), friction against the tangential velocity u_t is min(kf |u_t|, mu times that).
    """

    link: np.ndarray
    """(P,) link that carries it."""
    point: np.ndarray
    """(P, 3) centre in the link frame."""
    rotation: np.ndarray
    """(P, 4) orientation in the link frame."""
    axes: np.ndarray
    """(P, 3) semi-axes of an ellipsoid: equal for a sphere, 0 for a point."""
    plane: np.ndarray
    """(P, 4) the plane's unit normal n and offset s: its solid side is n . x < s."""
    material: np.ndarray
    """(P, 4) stiffness ke, damping c, friction slope kf, friction coefficient mu."""
    ramp: np.ndarray
    """(P,) depth from which damping acts fully."""


@dataclass(frozen=True)
class Transmissions(_Table):
    """T linear combinations of joint coordinates with a force along them.

    With length L, its rate V and control u, an actuator pulls with (g . (1, L, V)) u +
    b . (1, L, V) within its force range; a fixed tendon with its spring, damper, friction, limits.
    """

    action: np.ndarray
    """(T,) action that drives it, or -1 for a tendon."""
    control: np.ndarray
    """(T, 2) middle and half of the control's range: u = middle + half * action."""
    gain: np.ndarray
    """(T, 3) g."""
    bias: np.ndarray
    """(T, 3) b."""
    force_range: np.ndarray
    """(T, 2) least and largest force of the actuator."""
    stiffness: np.ndarray
    """(T,) of the spring."""
    rest: np.ndarray
    """(T, 2) lengths between which the spring is slack."""
    damping: np.ndarray
    """(T,)."""
    limit: np.ndarray
    """(T, 2) lower and upper limit; infinite where there is none."""
    limit_law: np.ndarray
    """(T, 3) stiffness, damping and ramp beyond a limit; see `JointForces`."""
    friction: np.ndarray
    """(T, 2) dry friction and the width that smooths it; see `JointForces`."""
    coefficients: np.ndarray
    """(T, nd) of the joints' coordinates."""


@dataclass(frozen=True)
class JointForces(_Table):
    """Further forces of the nd dofs, hinges and slides.

    Beyond a limit by r, at rate v outward, the force inward is max(k r + c min(r / ramp, 1) v, 0).
    Dry friction is f tanh(v / width).
    """

    limit_law: np.ndarray
    """(nd, 3) k, c and ramp; the limits themselves are the model's `dof_limit`."""
    friction: np.ndarray
    """(nd, 2) f and width."""
    actuator_range: np.ndarray
    """(nd, 2) least and largest sum of all actuators' forces."""


@dataclass(frozen=True)
class Couplings(_Table):
    """Q springs that hold one joint to a polynomial of another.

    The error is (q_1 - r_1) - (c_0 + c_1 x + ... + c_4 x^4) with x = q_2 - r_2.
    """

    dof: np.ndarray
    """(Q, 2) the two dofs; -1 where there is no second."""
    reference: np.ndarray
    """(Q, 2) r."""
    polynomial: np.ndarray
    """(Q, 5) c."""
    law: np.ndarray
    """(Q, 2) stiffness and damping."""


@dataclass(frozen=True)
class GravityCompensation(_Table):
    """Forces against gravity on the L links."""

    mass: np.ndarray
    """(L,) mass that is held up [kg]."""
    center: np.ndarray
    """(L, 3) point at which it is, in the link frame."""
