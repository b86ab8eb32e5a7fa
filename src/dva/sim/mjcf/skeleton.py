"""Reads the links, masses and names of an MJCF file into a `Skeleton`."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from dva.sim.mjcf.compiling import compile_mjcf
from dva.sim.mjcf.poses import IDENTITY, Pose, axis_quaternion, compose, matrix, xyzw
from dva.sim.mjcf.validation import check_compiled, check_finite
from dva.sim.model import BALL, FREE, PRISMATIC, REVOLUTE, Skeleton

__all__ = ["build_skeleton", "element_name", "read_skeleton"]

_DOFS = {PRISMATIC: 1, REVOLUTE: 1, FREE: 6, BALL: 3}
_QUATERNION = {FREE: 3, BALL: 0}
"""Where a joint's coordinates have a quaternion."""


def read_skeleton(path: str | Path) -> Skeleton:
    """Reads the kinematics of an MJCF file, whatever simulator is to move it.

    Joints may be free, ball, hinge and slide, several to a body; bodies without a joint are merged
    into the body that carries them. Tendons, constraints, contacts and actuators of any kind are
    the simulator's business: of actuators only the names are read.

    Args:
        path: MJCF file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: MuJoCo cannot compile the file, a number in it is not finite, it has no joint,
            or a free joint inside the tree.
    """
    path = Path(path)
    check_finite(path)
    compiled = compile_mjcf(path)
    check_compiled(compiled, path)
    return build_skeleton(compiled, path)


def build_skeleton(
    compiled: mujoco.MjModel, path: Path, inertias: Mapping[int, np.ndarray] | None = None
) -> Skeleton:
    """Collects the links of a compiled robot.

    Args:
        compiled: the robot.
        path: its file.
        inertias: by body, inertias (3, 3) about its centre of mass in the axes of its frame
            [kg m^2] that replace the compiled ones.

    Raises:
        ValueError: there is no joint, or a free joint inside the tree.
    """
    return _Builder(compiled, path, inertias or {}).build()


def element_name(element: Any) -> str:
    """Names an element of a compiled model, or counts it if it has no name."""
    return repr(element.name) if element.name else f"number {element.id}"


@dataclass
class _Link:
    joint: int
    parent: int
    frame: Pose
    axis: np.ndarray
    coordinate: int
    dof: int
    name: str
    mass: float = 0.0
    com: np.ndarray = field(default_factory=lambda: np.zeros(3))
    inertia: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))


class _Builder:
    """Walks the compiled bodies in order and collects links."""

    def __init__(self, m: mujoco.MjModel, path: Path, inertias: Mapping[int, np.ndarray]):
        self.m, self.path, self.inertias = m, path, inertias
        self.links: list[_Link] = []
        self.body_link = [-1]
        self.body_frame: list[Pose] = [IDENTITY]

    def build(self) -> Skeleton:
        m = self.m
        self._refuse_joints()
        for body in range(1, m.nbody):
            self._add_body(body)
        links = self.links
        return Skeleton(
            path=self.path,
            link_joint=np.array([link.joint for link in links], np.int32),
            link_parent=np.array([link.parent for link in links], np.int32),
            link_frame=np.array([xyzw(link.frame) for link in links]),
            link_axis=np.array([link.axis for link in links]),
            link_coordinate=np.array([link.coordinate for link in links], np.int32),
            link_dof=np.array([link.dof for link in links], np.int32),
            link_mass=np.array([link.mass for link in links]),
            link_com=np.array([link.com for link in links]),
            link_inertia=np.array([link.inertia for link in links]),
            dof_link=np.repeat(
                np.arange(len(links), dtype=np.int32), [_DOFS[link.joint] for link in links]
            ),
            joint_names=tuple(link.name for link in links),
            action_names=tuple(m.actuator(a).name for a in range(m.nu)),
            body_names=tuple(m.body(b).name for b in range(m.nbody)),
            body_link=np.array(self.body_link, np.int32),
            body_frame=np.array([xyzw(frame) for frame in self.body_frame]),
            initial_q=self._initial_q(),
        )

    def _refuse_joints(self) -> None:
        m, path = self.m, self.path
        if m.nv == 0:
            raise ValueError(f"{path} has no joint, so there is nothing to simulate: add a joint.")
        for j in range(m.njnt):
            name = element_name(m.joint(j))
            if m.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE and m.body_parentid[m.jnt_bodyid[j]]:
                raise ValueError(f"{path}: free joint {name} is not on a top-level body.")

    def _add_body(self, body: int) -> None:
        m = self.m
        parent_body = m.body_parentid[body]
        link = self.body_link[parent_body]
        # `offset` is the pose of the body frame, before the joint, in the frame of `link`.
        offset = compose(self.body_frame[parent_body], (m.body_pos[body], m.body_quat[body]))
        first = m.body_jntadr[body]
        for j in range(first, first + m.body_jntnum[body]):
            link, offset = self._add_joint(j, link, offset)
        self.body_link.append(link)
        self.body_frame.append(offset)
        if link >= 0 and m.body_mass[body] > 0:
            self._add_mass(link, offset, body)

    def _add_joint(self, j: int, parent: int, offset: Pose) -> tuple[int, Pose]:
        m = self.m
        q, dof = int(m.jnt_qposadr[j]), int(m.jnt_dofadr[j])
        if m.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE:
            link = _Link(FREE, -1, IDENTITY, np.zeros(3), q, dof, m.joint(j).name)
            after = IDENTITY
        else:
            # The link frame sits at the joint's anchor and takes in the coordinate's reference.
            axis, anchor = m.jnt_axis[j].copy(), m.jnt_pos[j].copy()
            frame = compose(offset, (anchor, IDENTITY[1]))
            reference = m.qpos0[q]
            if m.jnt_type[j] == mujoco.mjtJoint.mjJNT_BALL:
                # Its reference is the unit quaternion, always.
                kind, axis, back = BALL, np.zeros(3), IDENTITY
            elif m.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE:
                kind, back = REVOLUTE, (np.zeros(3), axis_quaternion(axis, -reference))
            else:
                kind, back = PRISMATIC, (-reference * axis, IDENTITY[1])
            link = _Link(kind, parent, compose(frame, back), axis, q, dof, m.joint(j).name)
            after = (-anchor, IDENTITY[1])
        self.links.append(link)
        return len(self.links) - 1, after

    def _add_mass(self, index: int, frame: Pose, body: int) -> None:
        m, link = self.m, self.links[index]
        position, quaternion = compose(frame, (m.body_ipos[body], m.body_iquat[body]))
        if body in self.inertias:
            rotation, inertia = matrix(frame[1]), self.inertias[body]
        else:
            rotation, inertia = matrix(quaternion), np.diag(m.body_inertia[body])
        inertia = rotation @ inertia @ rotation.T
        mass = link.mass + m.body_mass[body]
        com = (link.mass * link.com + m.body_mass[body] * position) / mass
        link.inertia = (
            link.inertia
            + _steiner(link.mass, link.com - com)
            + inertia
            + _steiner(m.body_mass[body], position - com)
        )
        link.mass, link.com = float(mass), com

    def _initial_q(self) -> np.ndarray:
        m = self.m
        q = (m.key_qpos[0] if m.nkey else m.qpos0).copy()
        for link in self.links:
            if link.joint in _QUATERNION:
                start = link.coordinate + _QUATERNION[link.joint]
                q[start : start + 4] = np.roll(q[start : start + 4], -1)
        return q


def _steiner(mass: float, offset: np.ndarray) -> np.ndarray:
    """Inertia (3, 3) of a point mass at `offset` (3,) about the origin."""
    return mass * (offset @ offset * np.eye(3) - np.outer(offset, offset))
