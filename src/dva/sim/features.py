"""Forces beyond the plain joint, motor and flat floor: each costs only the robots that have it.

All arrays are float64 (indices int32). Units are SI; "force" of a hinge is a torque.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from dva.sim.quaternions import rotation_matrix

__all__ = [
    "BOX",
    "CYLINDER",
    "ELLIPSOID",
    "POLYTOPE",
    "ROUND",
    "SLABS",
    "BallLimits",
    "BodyContacts",
    "Couplings",
    "Fluid",
    "GravityCompensation",
    "HeightFields",
    "JointForces",
    "PlaneContacts",
    "TerrainContacts",
    "Transmissions",
    "box_sides",
]

ROUND, BOX, CYLINDER, ELLIPSOID, POLYTOPE = 0, 1, 2, 3, 4
"""Solids that others touch: a sphere or capsule, and so on."""

SLABS = np.array([side for side in product((-1, 0, 1), repeat=3) if side > (0, 0, 0)], float)
SLABS /= np.linalg.norm(SLABS, axis=1, keepdims=True)
"""(13, 3) normals of a polytope's pairs of sides: towards a cube's faces, edges and corners."""


def box_sides(turn: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Gives the middles (6, 3) of a box's sides from its centre.

    Args:
        turn: (4,) the box's orientation.
        extent: (3,) its half sizes.
    """
    axes = (rotation_matrix(turn) * extent).T
    return np.concatenate([axes, -axes])


class _Table:
    """A table whose arrays have one row for each of its elements."""

    def __len__(self) -> int:
        return len(next(iter(vars(self).values())))


@dataclass(frozen=True)
class _Contacts(_Table):
    """P probes, ellipsoids that touch something, and the law of their contact.

    At depth d and speed u_n away the normal force N is max(ke d - c min(d / ramp, 1) u_n, 0),
    friction against the tangential velocity u_t is min(kf |u_t|, mu N). Torques against the angular
    velocity about the normal and across it are min(k_t |w_n|, mu_t N) and min(k_r |w_t|, mu_r N).
    """

    link: np.ndarray
    """(P,) link that carries the probe; -1 is the world."""
    point: np.ndarray
    """(P, 3) its centre in the link frame."""
    rotation: np.ndarray
    """(P, 4) its orientation in the link frame."""
    axes: np.ndarray
    """(P, 3) its semi-axes: equal for a sphere, 0 for a point."""
    material: np.ndarray
    """(P, 4) stiffness ke, damping c, friction slope kf, friction coefficient mu."""
    ramp: np.ndarray
    """(P,) depth from which damping acts fully."""
    spin: np.ndarray
    """(P, 4) mu_t [m], mu_r [m], k_t and k_r [N m s/rad]."""


@dataclass(frozen=True)
class PlaneContacts(_Contacts):
    """Probes that touch a plane with the point that lies deepest in it."""

    plane: np.ndarray
    """(P, 4) the plane's unit normal n and offset s: its solid side is n . x < s."""


@dataclass(frozen=True)
class TerrainContacts(_Contacts):
    """Probes that touch a height field.

    The normal is that of the ground's surface above or below the probe's point that lies furthest
    against the normal at its centre, and the depth that point's distance from the plane there.
    """

    field: np.ndarray
    """(P,) which of the height fields."""
    margin: np.ndarray
    """(P,) distance from which they touch [m]."""


@dataclass(frozen=True)
class HeightFields(_Table):
    """F grids of heights, fixed in the world, bilinear between their samples.

    Each is solid from its surface down to its base; beyond its edges there is nothing.
    """

    place: np.ndarray
    """(F, 3) the middle of the field, at height 0 [m]."""
    turn: np.ndarray
    """(F, 4) orientation of its axes."""
    half: np.ndarray
    """(F, 2) half sizes along x and y [m]."""
    base: np.ndarray
    """(F,) how far it reaches below height 0 [m]."""
    shape: np.ndarray
    """(F, 2) samples along y (rows) and along x (columns)."""
    first: np.ndarray
    """(F,) index of a field's first sample."""
    heights: np.ndarray
    """(S,) heights of all fields, row by row [m]."""


@dataclass(frozen=True)
class BodyContacts(_Contacts):
    """Probes that touch a solid.

    The solid's normal is that of its surface nearest to the probe's centre, and the depth that of
    the probe's furthest point against the normal.
    """

    span: np.ndarray
    """(P, 3) way along which the centre may slide to where it is nearest to the solid, in the link
    frame; 0 for none."""
    solid_link: np.ndarray
    """(P,) link that carries the solid; -1 is the world."""
    place: np.ndarray
    """(P, 3) the solid's centre in its link's frame."""
    turn: np.ndarray
    """(P, 4) its orientation there."""
    shape: np.ndarray
    """(P,) `ROUND`, `BOX`, `CYLINDER`, `ELLIPSOID` or `POLYTOPE`."""
    size: np.ndarray
    """(P, 3) radius and half length along z of a round solid and a cylinder; half sizes of a box;
    semi-axes of an ellipsoid."""
    slab: np.ndarray
    """(P, 26) how far a polytope reaches along `SLABS`, first the most and then the least."""
    extent: np.ndarray
    """(P, 3) how far the solid reaches along its own axes."""
    margin: np.ndarray
    """(P,) distance from which they touch."""
    share: np.ndarray
    """(P,) part of a contact that the probe stands for; `material` and `spin` are of that part."""
    reach: np.ndarray
    """(P,) distance of `point` and `place` from which they cannot touch."""

    def surface_points(self, row: int) -> np.ndarray:
        """Gives points (6, 3) of a solid's surface, those on its own axes, in its link's frame."""
        return self.place[row] + box_sides(self.turn[row], self.extent[row])


@dataclass(frozen=True)
class Transmissions(_Table):
    """T linear combinations of joint coordinates with a force along them.

    With length L, its rate V and control u, an actuator pulls with (g . (1, L, V)) u +
    b . (1, L, V) within its force range; a fixed tendon with its spring, damper, friction, limits.
    The coordinates of a ball joint are here the three components of its rotation's vector.
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
    period: np.ndarray
    """(T,) lengths that mean the same to a position servo of a ball joint, which goes the shorter
    way round; 0 for others."""
    coupling: np.ndarray
    """(T,) whether it is an equality constraint, whose spring and damper stand for a rigid one."""


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
class BallLimits(_Table):
    """Limits of B ball joints: how far they may turn from their reference, about whatever axis."""

    link: np.ndarray
    """(B,) link of the joint."""
    angle: np.ndarray
    """(B,) largest angle [rad]."""
    law: np.ndarray
    """(B, 3) stiffness, damping and ramp beyond it; see `JointForces`."""


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


@dataclass(frozen=True)
class Fluid(_Table):
    """What drags at B bodies, each taken for a box of its inertia.

    At velocity v and angular velocity w against the fluid, in the box's axes, with the mean side
    s, the force is -3 pi s viscosity v - density / 2 A |v| v and the torque
    -pi s^3 viscosity w - density / 64 Y |w| w, where A_x = b_y b_z and Y_x = b_x (b_y^4 + b_z^4).
    """

    link: np.ndarray
    """(B,) link of the body."""
    point: np.ndarray
    """(B, 3) its centre of mass in the link frame."""
    turn: np.ndarray
    """(B, 4) its principal axes in the link frame."""
    box: np.ndarray
    """(B, 3) sides b of the box."""
    medium: np.ndarray
    """(2,) density and viscosity."""
    wind: np.ndarray
    """(3,) velocity of the fluid in the world."""
