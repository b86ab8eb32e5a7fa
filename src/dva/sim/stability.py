"""How many substeps a robot needs, from its masses, springs, dampers and contacts.

Linearised, a substep of h seconds of semi-implicit Euler, from x to `next`, is

    M (next - 2 x + last) + h D (x - last) + h^2 K x = 0

with mass matrix M, damping D and stiffness K, all symmetric. Let m, d, k be their products with a
mode of this equation from both sides. The growth z of the mode solves

    m z^2 - (2 m - h d - h^2 k) z + m - h d = 0

whose roots lie within the unit circle exactly if 2 h d + h^2 k < 4 m. So the robot is stable if the
largest eigenvalue of M^-1 (2 h D + h^2 K) is below 4. For a spring alone that is h sqrt(k / m) < 2,
for a damper alone h d / m < 2. Beyond it every substep multiplies rounding errors, and gradients
with them; where the cap of friction still holds the state, the gradient grows all the same.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from dva.sim.features import BodyContacts, PlaneContacts, TerrainContacts
from dva.sim.mass import InitialPose, velocity_at
from dva.sim.model import Model
from dva.sim.quaternions import rotation_matrix

__all__ = ["stable_substeps"]

SAFETY = 0.9
"""Share of the stable eigenvalue that is used; the rest is for poses other than the initial one.

Small robots with one source of instability keep bounded gradients 1% below the computed step and
lose them 1% above it. In 240 states of random play of each robot of the package, with the contacts
that touch there, the eigenvalue is at most that of the initial pose times 0.96, 0.96, 0.96 and 1.01
for those that need most (humanoid, anymal, cheetah, ant), and times 1.4 for the hopper, which has
six times the substeps that it needs."""

_SIDES = tuple(np.array(side) / np.linalg.norm(side) for side in product((-1, 0, 1), repeat=3)
               if any(side))  # fmt: skip
"""Directions in which the ground may lie as seen from a link: its faces, edges and corners."""
_LEVEL = 0.05
"""Points of a link touch together that are level within this share of its size."""
_AT_ONCE = 4
"""Probes of one link that touch another link at once."""
_GROUPS = 4
"""Pairs of links, those that need most by themselves, that are tried together with all springs."""


def stable_substeps(model: Model, control_dt: float) -> int:
    """Computes how many substeps keep a robot and its gradients from exploding.

    Counted are springs, dampers, servos, limits and armature, all at once, with one link on the
    ground: any, on any side, with all points of that side; or with two links against each other,
    at up to four points of each. The pose is the initial one. A contact with the ground is as stiff
    and as damped as after a fall from the robot's own height; friction sticks.

    Args:
        model: the robot.
        control_dt: seconds of a control step.

    Returns:
        The least number of substeps within one control step, at least 1.

    Raises:
        ValueError: the mass matrix is singular in the initial pose.
    """
    pose = InitialPose(model)
    try:
        whiten = np.linalg.inv(np.linalg.cholesky(pose.mass_matrix(model.dof_armature)))
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"{model.path}: the mass matrix is singular in the initial pose, so accelerations are "
            "undefined: two joints move the same mass alike. Give them armature, or change the "
            "first keyframe."
        ) from error
    # In coordinates in which the mass matrix is the identity.
    viscous, elastic = _further(model)
    damping = (whiten * (model.dof_damping + model.dof_limit_damping)) @ whiten.T
    stiffness = (whiten * (model.dof_stiffness + model.dof_limit_stiffness)) @ whiten.T
    damping = damping + whiten @ viscous @ whiten.T
    stiffness = stiffness + whiten @ elastic @ whiten.T
    needed = _at_least(1, control_dt, damping, stiffness)
    contacts = _contact_points(model)
    height = _height(contacts, pose)
    for points, side in _touching(contacts):
        d, k = damping.copy(), stiffness.copy()
        for point in points:
            viscous, elastic = _contact(model, pose, height, whiten, point, side)
            d += viscous
            k += elastic
        needed = _at_least(needed, control_dt, d, k)
    if model.body_contacts is not None:
        for d, k in _body_contacts(model, model.body_contacts, pose, whiten, control_dt / needed):
            needed = _at_least(needed, control_dt, damping + d, stiffness + k)
    return needed


def _at_least(substeps: int, control_dt: float, damping: np.ndarray, stiffness: np.ndarray) -> int:
    """Raises `substeps` to what these matrices (nd, nd) need, with unit mass matrix."""

    def enough(count: int) -> bool:
        h = control_dt / count
        matrix = 2.0 * h * damping + h * h * stiffness
        return np.linalg.eigvalsh(matrix)[-1] <= 4.0 * SAFETY

    if enough(substeps):
        return substeps
    low, high = substeps, 2 * substeps
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class _Point:
    """A contact of a link: where it is, how far it reaches, and its law."""

    link: int
    center: np.ndarray
    frame: np.ndarray
    """(3, 3) rotation of its semi-axes in the link frame."""
    axes: np.ndarray
    ke: float
    kd: float
    """Damping that grows with depth [N s/m^2]."""
    damping: float
    """Damping that is there in any depth [N s/m]."""
    kf: float
    mu: float

    def lowest(self, side: np.ndarray) -> np.ndarray:
        """Gives the furthest point (3,) towards a side (3,), both in the link frame."""
        scaled = self.axes * (side @ self.frame)
        length = np.linalg.norm(scaled)
        return self.center + (self.frame @ (self.axes * scaled) / length if length else 0.0)


def _contact_points(model: Model) -> list[_Point]:
    """Lists the contacts of a robot, those with several planes or height fields once."""
    found = [
        _Point(int(link), center, np.eye(3), np.full(3, radius), ke, kd, 0.0, kf, mu)
        for link, center, radius, (ke, kd, kf, mu) in zip(
            model.contact_link, model.contact_point, model.contact_radius, model.contact_material,
            strict=False,
        )
    ]  # fmt: skip
    planes, terrain = model.plane_contacts, model.terrain_contacts
    on_planes: set[tuple[float, ...]] = set()
    if planes is not None:
        on_planes = {(i, *point) for i, point in zip(planes.link, planes.point, strict=True)}
        first = (planes.plane == planes.plane[0]).all(1)
        found += [_point(planes, int(row)) for row in np.flatnonzero(first)]
    if terrain is not None:
        places = zip(terrain.link, terrain.point, strict=True)
        alone = np.array([(i, *point) not in on_planes for i, point in places])
        first = terrain.field == terrain.field[0]
        found += [_point(terrain, int(row)) for row in np.flatnonzero(alone & first)]
    return found


def _point(table: PlaneContacts | TerrainContacts, row: int) -> _Point:
    ke, damping, kf, mu = table.material[row]
    frame = rotation_matrix(table.rotation[row])
    link, center, axes = int(table.link[row]), table.point[row], table.axes[row]
    return _Point(link, center, frame, axes, ke, 0.0, damping, kf, mu)


def _height(points: list[_Point], pose: InitialPose) -> float:
    """Distance from the robot's lowest contact to its highest [m]; 0 without any."""
    if not points:
        return 0.0
    z = np.array([pose.place(point.link, point.center)[2] for point in points])
    radius = np.array([point.axes.max() for point in points])
    return float((z + radius).max() - (z - radius).min())


def _touching(points: list[_Point]) -> list[tuple[tuple[_Point, ...], np.ndarray]]:
    """Lists for each link and each of its sides the contact points there, and the side (3,)."""
    found = []
    for link in sorted({point.link for point in points}):
        mine = [point for point in points if point.link == link]
        place = np.array([point.center for point in mine])
        level = _LEVEL * (np.ptp(place, axis=0).max() + max(p.axes.max() for p in mine))
        for side in _SIDES:
            reach = np.array([point.lowest(side) @ side for point in mine])
            there = np.flatnonzero(reach >= reach.max() - level)
            found.append((tuple(mine[i] for i in there), side))
    return found


def _contact(
    model: Model, pose: InitialPose, height: float, whiten: np.ndarray, point: _Point,
    side: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Gives damping and stiffness (nd, nd) of a contact point on the ground."""
    down = pose.rotation[point.link] @ side
    lowest = pose.place(point.link, point.lowest(side))
    jacobian = pose.jacobian(point.link, lowest)[0] @ whiten.T
    normal = down @ jacobian
    tangents = jacobian - np.outer(down, normal)
    weight = np.linalg.norm(model.gravity) * model.link_mass.sum()
    speed = math.sqrt(2.0 * np.linalg.norm(model.gravity) * height)
    depth, mobility = 0.0, normal @ normal
    if point.ke > 0 and mobility > 0:
        depth = weight / point.ke + speed / math.sqrt(point.ke * mobility)
    viscous = (point.kd * depth + point.damping) * np.outer(normal, normal)
    if point.mu > 0 and point.ke > 0:
        viscous += point.kf * tangents.T @ tangents
    return viscous, (point.ke + point.kd * speed) * np.outer(normal, normal)


def _body_contacts(
    model: Model, table: BodyContacts, pose: InitialPose, whiten: np.ndarray, h: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Gives damping and stiffness (nd, nd) of the contacts of the pairs of links that need most.

    A contact is counted in all directions, since its normal depends on the pose.
    """
    modes = {c: _touch(model, table, c, pose) for c in range(len(table))}
    groups: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for ends, rows in _by_links(table).items():
        twists = np.concatenate([pose.twist_jacobian(link) @ whiten.T for link in ends])
        gram = twists @ twists.T
        for c in rows:
            moved = modes[c] @ gram @ modes[c].swapaxes(1, 2)
            largest = np.linalg.eigvalsh(moved)[:, -1]
            modes[c] = modes[c][largest.argmax()]  # where the solid moves most
            ke, damping = _whole_contact(table, c)
            need = (2.0 * h * damping + h * h * ke) * float(largest.max())
            groups.setdefault(ends, []).append((need, c))
    chosen: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for (i, j), found in groups.items():
        both = chosen.setdefault((min(i, j), max(i, j)), [])
        both += sorted(found, reverse=True)[:_AT_ONCE]
    worst = sorted(chosen.values(), key=lambda rows: -sum(need for need, _ in rows))
    matrices = []
    for those in ([c for _, c in rows] for rows in worst[:_GROUPS]):
        squares = []
        for c in those:
            ends = (int(table.link[c]), int(table.solid_link[c]))
            twists = np.concatenate([pose.twist_jacobian(link) @ whiten.T for link in ends])
            squares.append((modes[c] @ twists).T @ (modes[c] @ twists))
        ke, damping = np.array([_whole_contact(table, c) for c in those]).T
        matrices.append((np.tensordot(damping, squares, 1), np.tensordot(ke, squares, 1)))
    return matrices


def _by_links(table: BodyContacts) -> dict[tuple[int, int], list[int]]:
    """Lists the rows of each pair of links, the probe's first."""
    found: dict[tuple[int, int], list[int]] = {}
    for c, ends in enumerate(zip(table.link.tolist(), table.solid_link.tolist(), strict=True)):
        found.setdefault(ends, []).append(c)
    return found


def _touch(model: Model, table: BodyContacts, c: int, pose: InitialPose) -> np.ndarray:
    """Gives what turns the twists of probe and solid (12,) into a contact's velocities (n, r, 12).

    n is the number of places at which the solid may be touched. Of links of different trees it is
    the relative velocity, r = 3. Links of one tree are not where they touch, and moving all of them
    would seem to move one against the other; so the velocities of both are counted, r = 6.
    """
    i, j = int(table.link[c]), int(table.solid_link[c])
    here = velocity_at(pose.place(i, table.point[c] + 0.5 * table.span[c]))
    places = table.surface_points(c)[: 6 if j >= 0 else 1]
    there = [velocity_at(pose.place(j, place)) for place in places]
    if model.root(i) != model.root(j):
        return np.stack([np.hstack([here, -velocity]) for velocity in there])
    none = np.zeros((3, 6))
    return np.stack([np.block([[here, none], [none, velocity]]) for velocity in there])


def _whole_contact(table: BodyContacts, row: int) -> tuple[float, float]:
    """Gives stiffness and largest damping of a contact of which a probe may be a part."""
    ke, normal, tangential, mu = table.material[row] / table.share[row]
    return float(ke), float(max(normal, tangential if mu > 0 else 0.0))


def _further(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Gives damping and stiffness (nd, nd) of tendons, actuators, limits and couplings."""
    damping, stiffness = np.zeros((2, model.num_dofs, model.num_dofs))
    joints, rows, couplings = model.joint_forces, model.transmissions, model.couplings
    if joints is not None:
        damping += np.diag(joints.limit_law[:, 1] + joints.friction[:, 0] / joints.friction[:, 1])
        stiffness += np.diag(joints.limit_law[:, 0])
    if model.ball_limits is not None:
        for link, law in zip(model.ball_limits.link, model.ball_limits.law, strict=True):
            dofs = int(model.link_dof[link]) + np.arange(3)
            stiffness[dofs, dofs] += law[0]
            damping[dofs, dofs] += law[1]
    if rows is not None:
        control = np.abs(rows.control).sum(1)
        elastic = np.maximum(-rows.bias[:, 1], 0.0) + np.abs(rows.gain[:, 1]) * control
        viscous = np.maximum(-rows.bias[:, 2], 0.0) + np.abs(rows.gain[:, 2]) * control
        elastic = elastic + rows.stiffness + rows.limit_law[:, 0]
        viscous = viscous + rows.damping + rows.limit_law[:, 1]
        viscous = viscous + rows.friction[:, 0] / rows.friction[:, 1]
        damping += (rows.coefficients.T * viscous) @ rows.coefficients
        stiffness += (rows.coefficients.T * elastic) @ rows.coefficients
    if couplings is not None:
        jacobian = np.zeros((len(couplings), model.num_dofs))
        jacobian[np.arange(len(couplings)), couplings.dof[:, 0]] = 1.0
        second = np.flatnonzero(couplings.dof[:, 1] >= 0)
        jacobian[second, couplings.dof[second, 1]] = -couplings.polynomial[second, 1]
        stiffness += (jacobian.T * couplings.law[:, 0]) @ jacobian
        damping += (jacobian.T * couplings.law[:, 1]) @ jacobian
    return damping, stiffness
