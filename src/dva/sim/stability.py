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
from itertools import product

import numpy as np

from dva.sim.mass import InitialPose
from dva.sim.model import Model

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


def stable_substeps(model: Model, control_dt: float) -> int:
    """Computes how many substeps keep a robot and its gradients from exploding.

    Counted are joint springs, dampers, limits and armature, all at once, with one link on the
    ground: any, on any side, with all points of that side. The pose is the initial one. A contact
    is as stiff and as damped as after a fall from the robot's own height; its friction sticks.

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
    damping = (whiten * (model.dof_damping + model.dof_limit_damping)) @ whiten.T
    stiffness = (whiten * (model.dof_stiffness + model.dof_limit_stiffness)) @ whiten.T
    needed = _at_least(1, control_dt, damping, stiffness)
    for points, side in _touching(model):
        d, k = damping.copy(), stiffness.copy()
        for point in points:
            viscous, elastic = _contact(model, pose, whiten, point, side)
            d += viscous
            k += elastic
        needed = _at_least(needed, control_dt, d, k)
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


def _touching(model: Model) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Lists for each link and each of its sides the contact points there, and the side (3,)."""
    found = []
    for link in np.unique(model.contact_link):
        points = np.flatnonzero(model.contact_link == link)
        place, radius = model.contact_point[points], model.contact_radius[points]
        level = _LEVEL * (np.ptp(place, axis=0).max() + radius.max())
        for side in _SIDES:
            reach = place @ side + radius
            found.append((tuple(points[reach >= reach.max() - level]), side))
    return found


def _contact(
    model: Model, pose: InitialPose, whiten: np.ndarray, index: int, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gives damping and stiffness (nd, nd) of a contact point on the ground."""
    link = int(model.contact_link[index])
    ke, kd, kf, mu = model.contact_material[index]
    down = pose.rotation[link] @ side
    lowest = pose.place(link, model.contact_point[index]) + model.contact_radius[index] * down
    jacobian = pose.jacobian(link, lowest)[0] @ whiten.T
    normal = down @ jacobian
    tangents = jacobian - np.outer(down, normal)
    weight = np.linalg.norm(model.gravity) * model.link_mass.sum()
    speed = math.sqrt(2.0 * np.linalg.norm(model.gravity) * pose.height)
    depth, mobility = 0.0, normal @ normal
    if ke > 0 and mobility > 0:
        depth = weight / ke + speed / math.sqrt(ke * mobility)
    viscous = kd * depth * np.outer(normal, normal)
    if mu > 0 and ke > 0:
        viscous += kf * tangents.T @ tangents
    return viscous, (ke + kd * speed) * np.outer(normal, normal)
