"""The articulated system as plain numbers: what the kernels read, for one environment."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dva.sim.features import (
    BallLimits,
    BodyContacts,
    Couplings,
    Fluid,
    GravityCompensation,
    HeightFields,
    JointForces,
    PlaneContacts,
    TerrainContacts,
    Transmissions,
)

__all__ = ["BALL", "FREE", "PRISMATIC", "REVOLUTE", "Model", "Skeleton"]

PRISMATIC, REVOLUTE, FREE, BALL = 0, 1, 2, 3


@dataclass(frozen=True)
class Skeleton:
    """The kinematics and masses of a robot of L links, nq coordinates, nd dofs and A actions.

    This is what robots of all simulators share, and all that cameras and tasks need.

    A link is one joint together with the mass that moves behind it. A body with several joints is
    a chain of links of which only the last has mass; bodies without a joint are merged into the
    link that carries them. Links are in depth-first order, so parents precede children.

    Units are SI and radians, the world is z up, quaternions are (x, y, z, w). All arrays are
    float64 (indices int32) and belong to the skeleton: do not write to them.
    """

    path: Path
    """MJCF file that the robot was read from."""

    link_joint: np.ndarray
    """(L,) joint type: `PRISMATIC`, `REVOLUTE`, `FREE` or `BALL`."""
    link_parent: np.ndarray
    """(L,) link that carries the joint; -1 is the world."""
    link_frame: np.ndarray
    """(L, 7) joint frame in the parent link's frame: position, quaternion."""
    link_axis: np.ndarray
    """(L, 3) joint axis in the joint frame; zero for free and ball joints."""
    link_coordinate: np.ndarray
    """(L,) index of the joint's first coordinate in `joint_q`."""
    link_dof: np.ndarray
    """(L,) index of the joint's first dof in `joint_qd`."""
    link_mass: np.ndarray
    """(L,) kg."""
    link_com: np.ndarray
    """(L, 3) centre of mass in the link frame."""
    link_inertia: np.ndarray
    """(L, 3, 3) inertia about the centre of mass, in the axes of the link frame, kg m^2."""
    dof_link: np.ndarray
    """(nd,) link of the dof."""

    joint_names: tuple[str, ...]
    """One name per link, as in the MJCF."""
    action_names: tuple[str, ...]
    """One name per action, as in the MJCF."""
    body_names: tuple[str, ...]
    """Bodies of the MJCF in MuJoCo's order; body 0 is the world."""
    body_link: np.ndarray
    """(B,) link that a body is rigidly attached to; -1 is the world."""
    body_frame: np.ndarray
    """(B, 7) body frame in the link's frame: position, quaternion."""
    initial_q: np.ndarray
    """(nq,) deterministic start: the first keyframe, or the MJCF's default pose."""

    @property
    def num_links(self) -> int:
        """Number of links L."""
        return len(self.link_joint)

    @property
    def num_coords(self) -> int:
        """Number of generalized coordinates nq."""
        return len(self.initial_q)

    @property
    def num_dofs(self) -> int:
        """Number of generalized velocities nd."""
        return len(self.dof_link)

    @property
    def num_actions(self) -> int:
        """Number of actions A."""
        return len(self.action_names)

    @property
    def has_balls(self) -> bool:
        """Whether there is a ball joint."""
        return bool(np.any(self.link_joint == BALL))

    def root(self, link: int) -> int:
        """Gives the link of a link's tree that the world carries; -1 for the world itself."""
        while link >= 0 and self.link_parent[link] >= 0:
            link = int(self.link_parent[link])
        return link

    def dof_pairs(self) -> np.ndarray:
        """Lists the structurally nonzero entries of the mass matrix's upper triangle.

        Returns:
            (P, 2) pairs (i, j) with i <= j in which dof i lies on the path from dof j to the root.
        """
        pairs = []
        for j, link in enumerate(self.dof_link):
            ancestor = int(link)
            while ancestor >= 0:
                pairs += [(i, j) for i in np.flatnonzero(self.dof_link == ancestor) if i <= j]
                ancestor = int(self.link_parent[ancestor])
        return np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)


@dataclass(frozen=True)
class Model(Skeleton):
    """A skeleton with the forces that our own simulator applies, and C contact points."""

    gravity: np.ndarray
    """(3,) m/s^2."""

    dof_armature: np.ndarray
    """(nd,) rotor inertia, added to the diagonal of the mass matrix."""
    dof_stiffness: np.ndarray
    """(nd,) spring toward `dof_target`; of a ball joint, along the vector of its rotation."""
    dof_damping: np.ndarray
    """(nd,) passive damping."""
    dof_target: np.ndarray
    """(nd,) rest coordinate of the spring."""
    dof_limit: np.ndarray
    """(nd, 2) lower and upper limit; infinite where there is none, and for ball joints."""
    dof_limit_stiffness: np.ndarray
    """(nd,) spring beyond a limit."""
    dof_limit_damping: np.ndarray
    """(nd,) damping of the limit model; acts inside the limits too."""
    dof_action: np.ndarray
    """(nd,) index of the action that drives the dof, or -1."""
    dof_gear: np.ndarray
    """(nd,) generalized force at action 1, N or N m."""

    contact_link: np.ndarray
    """(C,) link of the contact point."""
    contact_point: np.ndarray
    """(C, 3) point in the link frame."""
    contact_radius: np.ndarray
    """(C,) radius of the sphere around the point, m."""
    contact_material: np.ndarray
    """(C, 4) stiffness ke, damping kd, friction slope kf, friction coefficient mu."""

    action_range: np.ndarray
    """(A, 2) controls that actions -1 and 1 stand for, in MuJoCo's terms."""
    plane_contacts: PlaneContacts | None = None
    """Contacts that follow MuJoCo's parameters, or touch other planes than z = 0."""
    height_fields: HeightFields | None = None
    """Ground that is not flat."""
    terrain_contacts: TerrainContacts | None = None
    """Contacts of links with it."""
    body_contacts: BodyContacts | None = None
    """Contacts of links with each other and with geoms of the world that are no planes."""
    transmissions: Transmissions | None = None
    """Actuators that are no plain motors, and fixed tendons."""
    joint_forces: JointForces | None = None
    """Limits that follow MuJoCo's parameters, dry friction, ranges of actuator forces."""
    ball_limits: BallLimits | None = None
    """How far ball joints may turn."""
    couplings: Couplings | None = None
    """Joints that depend on others."""
    gravity_compensation: GravityCompensation | None = None
    """Links that are held up."""
    fluid: Fluid | None = None
    """What drags at the bodies."""
    free_damping: np.ndarray | None = None
    """(L,) damping of a free joint, N s/m and N m s/rad; None if there is none."""

    @property
    def num_contacts(self) -> int:
        """Number of points that touch the ground: C and those of planes and height fields."""
        further = (self.plane_contacts, self.terrain_contacts)
        return len(self.contact_link) + sum(len(table or ()) for table in further)
