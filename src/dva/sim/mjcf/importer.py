"""Reads an MJCF file into a `Model`.

MuJoCo parses and compiles the file, so defaults, classes, angles and inertias are MuJoCo's. Two
things have no word in MJCF and stand in `user` data: `<joint user="limit_stiffness limit_damping">`
and `<geom user="ke kd kf mu">`.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from dva.sim.mjcf.published import INERTIA_CHOICES, read_inertias
from dva.sim.model import FREE, PRISMATIC, REVOLUTE, Model

__all__ = ["load_model"]

DEFAULT_LIMIT = (1e3, 1.0)
"""Stiffness and damping of a limit without `user` data [N/m, N s/m or N m/rad, N m s/rad]."""
DEFAULT_MATERIAL = (1e4, 1e3, 1e3)
"""Contact ke, kd, kf of a geom without `user` data; mu is then its MuJoCo sliding friction."""

_HINGE, _SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
_IDENTITY = (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))

Pose = tuple[np.ndarray, np.ndarray]
"""Position (3,) and quaternion (w, x, y, z), MuJoCo's order, used only while importing."""


def load_model(path: str | Path, inertia: str = "physical") -> Model:
    """Reads an MJCF file into a `Model`.

    Joints may be free (on a body of the world), hinge and slide, several to a body; bodies without
    a joint are merged into the body that carries them. Actuators are motors on hinges and slides.
    A geom whose `contype` is not 0 touches the ground: spheres with their centre, capsules with
    both end points, boxes with their corners.

    Args:
        path: MJCF file.
        inertia: "physical" takes the bodies' inertias from the MJCF; "published" takes those of the
            file `<name>.inertia.json` beside it (masses and centres of mass stay).

    Raises:
        FileNotFoundError: there is no such MJCF file.
        ValueError: MuJoCo cannot compile the file, or it holds something that is not simulated
            (ball joints, tendons, equality constraints, actuators other than motors, ...);
            `inertia` is unknown, or the robot has no published ones; the file's name does not end
            in .xml or .urdf.
    """
    path = Path(path)
    if inertia not in INERTIA_CHOICES:
        raise ValueError(f"inertia is {inertia!r}; allowed: {', '.join(INERTIA_CHOICES)}.")
    if not path.is_file():
        raise FileNotFoundError(f"No MJCF file at {path}.")
    if path.suffix not in (".xml", ".urdf"):
        raise ValueError(f"{path} is no robot file: its name must end in .xml (MJCF) or .urdf.")
    try:
        compiled = mujoco.MjSpec.from_file(str(path)).compile()
    except ValueError as error:
        raise ValueError(f"MuJoCo cannot compile {path}: {error}") from error
    _refuse_unsupported(compiled, path)
    published = read_inertias(path, compiled) if inertia == "published" else {}
    return _Builder(compiled, path, published).build()


def _refuse_unsupported(m: mujoco.MjModel, path: Path) -> None:
    for count, what in ((m.neq, "equality constraints"), (m.ntendon, "tendons")):
        if count:
            raise ValueError(f"{path} has {count} {what}, which are not simulated: remove them.")
    for values, what, fix in (
        (m.dof_frictionloss, "frictionloss", "Use damping"),
        (m.body_gravcomp, "gravcomp", "Remove it"),
        (m.jnt_actfrclimited, "actuatorfrcrange", "Remove it and choose the motors' gear"),
        (m.actuator_forcelimited, "forcerange", "Remove it and choose the motors' gear"),
    ):
        if np.any(values):
            raise ValueError(f"{path} has {what}, which is not simulated. {fix}.")
    if m.nv == 0:
        raise ValueError(f"{path} has no joint, so there is nothing to simulate: add a joint.")
    for j in range(m.njnt):
        if m.jnt_type[j] == mujoco.mjtJoint.mjJNT_BALL:
            raise ValueError(
                f"{path}: joint {_name(m.joint(j))} is a ball joint. Allowed: free, hinge, slide. "
                "Use three hinges on one body instead."
            )
        if m.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE and m.body_parentid[m.jnt_bodyid[j]] != 0:
            raise ValueError(f"{path}: free joint {_name(m.joint(j))} is not on a top-level body.")


def _name(element: Any) -> str:
    """Names an element of the model, or counts it if it has no name."""
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
    """Walks the compiled bodies in order and collects links, contacts and dof parameters."""

    def __init__(self, m: mujoco.MjModel, path: Path, published: dict[int, np.ndarray]):
        self.m, self.path, self.published = m, path, published
        self.links: list[_Link] = []
        self.body_link = [-1]
        self.body_frame: list[Pose] = [_IDENTITY]
        self.contacts: list[tuple[int, np.ndarray, float, np.ndarray]] = []

    def build(self) -> Model:
        m = self.m
        for body in range(1, m.nbody):
            self._add_body(body)
        for geom in range(m.ngeom):
            self._add_contacts(geom)
        links = self.links
        self._refuse_massless(links)
        dofs = self._dof_parameters()
        contacts = self.contacts
        return Model(
            path=self.path,
            gravity=m.opt.gravity.copy(),
            link_joint=np.array([link.joint for link in links], np.int32),
            link_parent=np.array([link.parent for link in links], np.int32),
            link_frame=np.array([_xyzw(link.frame) for link in links]),
            link_axis=np.array([link.axis for link in links]),
            link_coordinate=np.array([link.coordinate for link in links], np.int32),
            link_dof=np.array([link.dof for link in links], np.int32),
            link_mass=np.array([link.mass for link in links]),
            link_com=np.array([link.com for link in links]),
            link_inertia=np.array([link.inertia for link in links]),
            **dofs,
            contact_link=np.array([c[0] for c in contacts], np.int32),
            contact_point=np.array([c[1] for c in contacts]).reshape(-1, 3),
            contact_radius=np.array([c[2] for c in contacts], float),
            contact_material=np.array([c[3] for c in contacts]).reshape(-1, 4),
            joint_names=tuple(link.name for link in links),
            action_names=tuple(m.actuator(a).name for a in range(m.nu)),
            body_names=tuple(m.body(b).name for b in range(m.nbody)),
            body_link=np.array(self.body_link, np.int32),
            body_frame=np.array([_xyzw(frame) for frame in self.body_frame]),
            initial_q=self._initial_q(),
        )

    def _add_body(self, body: int) -> None:
        m = self.m
        parent_body = m.body_parentid[body]
        link = self.body_link[parent_body]
        # `offset` is the pose of the body frame, before the joint, in the frame of `link`.
        offset = _compose(self.body_frame[parent_body], (m.body_pos[body], m.body_quat[body]))
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
            link = _Link(FREE, -1, _IDENTITY, np.zeros(3), q, dof, m.joint(j).name)
            after = _IDENTITY
        else:
            # The link frame sits at the joint's anchor and takes in the coordinate's reference.
            axis, anchor = m.jnt_axis[j].copy(), m.jnt_pos[j].copy()
            frame = _compose(offset, (anchor, _IDENTITY[1]))
            reference = m.qpos0[q]
            if m.jnt_type[j] == _HINGE:
                kind, back = REVOLUTE, (np.zeros(3), _axis_quaternion(axis, -reference))
            else:
                kind, back = PRISMATIC, (-reference * axis, _IDENTITY[1])
            link = _Link(kind, parent, _compose(frame, back), axis, q, dof, m.joint(j).name)
            after = (-anchor, _IDENTITY[1])
        self.links.append(link)
        return len(self.links) - 1, after

    def _add_mass(self, index: int, frame: Pose, body: int) -> None:
        m, link = self.m, self.links[index]
        position, quaternion = _compose(frame, (m.body_ipos[body], m.body_iquat[body]))
        if body in self.published:
            rotation, inertia = _matrix(frame[1]), self.published[body]
        else:
            rotation, inertia = _matrix(quaternion), np.diag(m.body_inertia[body])
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

    def _add_contacts(self, geom: int) -> None:
        m = self.m
        link = self.body_link[m.geom_bodyid[geom]]
        if m.geom_contype[geom] == 0 or link < 0:
            return
        frame = _compose(
            self.body_frame[m.geom_bodyid[geom]], (m.geom_pos[geom], m.geom_quat[geom])
        )
        size, kind = m.geom_size[geom], m.geom_type[geom]
        if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
            points, radius = np.zeros((1, 3)), size[0]
        elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            points, radius = np.array([[0, 0, size[1]], [0, 0, -size[1]]]), size[0]
        elif kind == mujoco.mjtGeom.mjGEOM_BOX:
            signs = [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
            points, radius = np.array(signs) * size, 0.0
        else:
            raise ValueError(
                f"{self.path}: geom {_name(m.geom(geom))} of body "
                f"{m.body(m.geom_bodyid[geom]).name!r} is a "
                f"{mujoco.mjtGeom(kind).name[7:].lower()}, which has no ground contact. "
                'Allowed: sphere, capsule, box. Set contype="0" if it is only to be seen.'
            )
        user = m.geom_user[geom] if m.nuser_geom >= 4 else np.zeros(4)
        material = user[:4] if user[:4].any() else (*DEFAULT_MATERIAL, m.geom_friction[geom, 0])
        for point in points:
            self.contacts.append(
                (link, frame[0] + _rotate(frame[1], point), float(radius), np.array(material))
            )

    def _dof_parameters(self) -> dict[str, np.ndarray]:
        m = self.m
        link = np.repeat(
            np.arange(len(self.links)), [6 if link.joint == FREE else 1 for link in self.links]
        )
        scalar = {i: m.dof_jntid[i] for i in range(m.nv) if self.links[link[i]].joint != FREE}
        limit = np.tile([-np.inf, np.inf], (m.nv, 1))
        stiffness, target = np.zeros(m.nv), np.zeros(m.nv)
        limit_law = np.zeros((m.nv, 2))
        for dof, joint in scalar.items():
            stiffness[dof] = np.ravel(m.jnt_stiffness[joint])[0]
            target[dof] = m.qpos_spring[m.jnt_qposadr[joint]]
            user = m.jnt_user[joint][:2] if m.nuser_jnt >= 2 else np.zeros(2)
            if user.any():
                limit_law[dof] = user
            elif m.jnt_limited[joint]:
                limit_law[dof] = DEFAULT_LIMIT
            if m.jnt_limited[joint]:
                limit[dof] = m.jnt_range[joint]
        action, gear = self._actuators()
        return {
            "dof_link": link.astype(np.int32),
            "dof_armature": m.dof_armature.copy(),
            "dof_stiffness": stiffness,
            "dof_damping": m.dof_damping.reshape(m.nv, -1)[:, 0].copy(),
            "dof_target": target,
            "dof_limit": limit,
            "dof_limit_stiffness": limit_law[:, 0].copy(),
            "dof_limit_damping": limit_law[:, 1].copy(),
            "dof_action": action,
            "dof_gear": gear,
        }

    def _actuators(self) -> tuple[np.ndarray, np.ndarray]:
        m = self.m
        action, gear = np.full(m.nv, -1, np.int32), np.zeros(m.nv)
        for a in range(m.nu):
            name = _name(m.actuator(a))
            joint = m.actuator_trnid[a, 0]
            is_motor = (
                m.actuator_trntype[a] == mujoco.mjtTrn.mjTRN_JOINT
                and m.actuator_gaintype[a] == mujoco.mjtGain.mjGAIN_FIXED
                and m.actuator_biastype[a] == mujoco.mjtBias.mjBIAS_NONE
                and m.actuator_dyntype[a] == mujoco.mjtDyn.mjDYN_NONE
                and int(m.jnt_type[joint]) in (_HINGE, _SLIDE)
            )
            if not is_motor:
                raise ValueError(
                    f"{self.path}: actuator {name} is not a motor on a hinge or slide joint. "
                    "Write it as <motor joint=... gear=.../>."
                )
            if not (m.actuator_ctrllimited[a] and np.allclose(m.actuator_ctrlrange[a], (-1, 1))):
                raise ValueError(
                    f"{self.path}: actuator {name} has ctrlrange {m.actuator_ctrlrange[a]}. "
                    'Actions are in [-1, 1]: write ctrlrange="-1 1"; gear holds the strength.'
                )
            dof = int(m.jnt_dofadr[joint])
            if action[dof] >= 0:
                raise ValueError(f"{self.path}: two actuators drive joint {_name(m.joint(joint))}.")
            action[dof] = a
            gear[dof] = m.actuator_gear[a, 0] * m.actuator_gainprm[a, 0]
        return action, gear

    def _initial_q(self) -> np.ndarray:
        m = self.m
        q = (m.key_qpos[0] if m.nkey else m.qpos0).copy()
        for link in self.links:
            if link.joint == FREE:
                start = link.coordinate + 3
                q[start : start + 4] = np.roll(q[start : start + 4], -1)
        return q

    def _refuse_massless(self, links: list[_Link]) -> None:
        subtree = np.array([link.mass for link in links])
        for i in reversed(range(len(links))):
            if links[i].parent >= 0:
                subtree[links[i].parent] += subtree[i]
        for link, mass in zip(links, subtree, strict=True):
            if mass <= 0:
                raise ValueError(
                    f"{self.path}: joint {link.name!r} moves no mass, so its acceleration is "
                    "undefined. Give its body a geom with density or an <inertial>."
                )


def _compose(a: Pose, b: Pose) -> Pose:
    quaternion = np.zeros(4)
    mujoco.mju_mulQuat(quaternion, a[1], b[1])
    return a[0] + _rotate(a[1], b[0]), quaternion


def _rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    out = np.zeros(3)
    mujoco.mju_rotVecQuat(out, np.asarray(vector, float), quaternion)
    return out


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    out = np.zeros(9)
    mujoco.mju_quat2Mat(out, quaternion)
    return out.reshape(3, 3)


def _axis_quaternion(axis: np.ndarray, angle: float) -> np.ndarray:
    out = np.zeros(4)
    mujoco.mju_axisAngle2Quat(out, axis, angle)
    return out


def _steiner(mass: float, offset: np.ndarray) -> np.ndarray:
    """Inertia (3, 3) of a point mass at `offset` (3,) about the origin."""
    return mass * (offset @ offset * np.eye(3) - np.outer(offset, offset))


def _xyzw(pose: Pose) -> np.ndarray:
    return np.concatenate([pose[0], np.roll(pose[1], -1)])
