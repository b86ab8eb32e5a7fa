"""Stiffness, damping and friction of contacts from MuJoCo's parameters."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from dva.sim.mass import InitialPose, velocity_at
from dva.sim.mjcf.constraints import UnitLaw, impedance, unit_law
from dva.sim.mjcf.poses import rotate
from dva.sim.mjcf.shapes import geom_frame, probes
from dva.sim.model import Skeleton

__all__ = ["EffectiveMasses", "Mixed", "mix", "pair_parameters", "probe_rows"]

HEAVIEST = 5.0
"""A body's effective mass counts up to as many times that of the point that touches. A body whose
centre of mass lies on its joint's axis would otherwise be as stiff as an immovable one."""
_IMMOVABLE = 1e-9
"""[1/kg] What moves no more than that under a force does not move."""


@dataclass(frozen=True)
class Mixed:
    """What two geoms touch with."""

    law: UnitLaw
    friction: np.ndarray
    """(3,) coefficients: sliding; about the normal and rolling [m]."""
    margin: float
    impedance: float


def mix(m: mujoco.MjModel, geoms: Sequence[int]) -> Mixed:
    """Combines the parameters of geoms as MuJoCo does."""
    rows = list(geoms)
    margin = float(m.geom_margin[rows].sum())
    best = max(m.geom_priority[rows])
    rows = [row for row in rows if m.geom_priority[row] == best]
    weight = m.geom_solmix[rows].astype(float)
    weight = weight / weight.sum() if weight.sum() > 0 else np.full(len(rows), 1.0 / len(rows))
    references = m.geom_solref[rows]
    mixed = references.min(0) if (references[:, 0] <= 0).any() else weight @ references
    friction = _of_dimension(m.geom_friction[rows].max(0), max(m.geom_condim[rows]))
    solimp = weight @ m.geom_solimp[rows]
    return Mixed(unit_law(m, mixed, solimp), friction, margin, impedance(solimp))


def pair_parameters(m: mujoco.MjModel, pair: int) -> Mixed:
    """Gives those of a `<contact><pair>`, whose friction has one number for both directions.

    MuJoCo's own are two; the larger one counts.
    """
    given = m.pair_friction[pair]
    friction = np.array([given[:2].max(), given[2], given[3:].max()])
    friction = _of_dimension(friction, m.pair_dim[pair])
    law = unit_law(m, m.pair_solref[pair], m.pair_solimp[pair])
    margin, half_way = float(m.pair_margin[pair]), impedance(m.pair_solimp[pair])
    return Mixed(law, friction, margin, half_way)


def _of_dimension(friction: np.ndarray, condim: int) -> np.ndarray:
    """Keeps sliding friction from `condim` 3 on, that about the normal from 4, rolling from 6."""
    return friction * (condim >= np.array([3, 4, 6]))


class EffectiveMasses:
    """Contact laws at the effective masses of the initial pose."""

    def __init__(self, m: mujoco.MjModel, skeleton: Skeleton):
        self._m, self._skeleton = m, skeleton
        self._pose = InitialPose(skeleton)
        try:
            self._inverse = np.linalg.inv(self._pose.mass_matrix(m.dof_armature))
        except np.linalg.LinAlgError:
            self._inverse = None  # which `stable_substeps` reports
        self._of_links: dict[int, np.ndarray] = {}

    def law(
        self,
        mixed: Mixed,
        places: Sequence[tuple[int, np.ndarray]],
        between: bool = False,
        grip: bool = False,
    ) -> tuple[np.ndarray, float, np.ndarray] | None:
        """Gives material (4,), ramp and spin (4,) of a contact; None where nothing can move.

        Args:
            mixed: parameters of the two geoms.
            places: of each that moves, its geom and the points (n, 3) that may touch, in the
                link's frame.
            between: whether it is of two bodies, neither of them the world. Then the point that
                touches counts, which is lighter than its body.
            grip: friction yields as slowly as MuJoCo's, so that what is held does not slip away;
                that can take more substeps. Otherwise its slope is the normal damping.
        """
        m = self._m
        heaviest = 1.0 if between else HEAVIEST
        least, mobility = 0.0, 0.0
        for geom, points in places:
            body = int(m.geom_bodyid[geom])
            link = int(self._skeleton.body_link[body])
            mine = sum(self._mobility(link, point) for point in points) / len(points)
            least += max(float(m.body_invweight0[body, 0]), mine / heaviest)
            mobility += mine
        unit, ratio = mixed.law
        if least <= _IMMOVABLE or unit <= 0:
            return None
        ke = unit / least
        # A point on a joint's axis hardly moves: it is no heavier than its body.
        mass = 1.0 / max(mobility, least)
        damping = 2.0 * ratio * np.sqrt(ke * mass)
        gravity = float(np.linalg.norm(m.opt.gravity)) or 9.81
        slide = mixed.friction[0]
        # MuJoCo's friction yields to each velocity by the square of its coefficient.
        share = (mixed.friction[1:] / slide) ** 2 if slide > 0 else np.zeros(2)
        slope = damping / np.sqrt(1.0 - mixed.impedance) if grip else damping
        material = np.array([ke, damping, slope, slide])
        spin = np.concatenate([mixed.friction[1:] * (slide > 0), slope * share])
        return material, gravity * mass / ke, spin

    def _mobility(self, link: int, point: np.ndarray) -> float:
        """Acceleration of a link's point by a unit force, averaged over directions [1/kg]."""
        if self._inverse is None or link < 0:
            return 0.0
        if link not in self._of_links:
            twist = self._pose.twist_jacobian(link)
            self._of_links[link] = twist @ self._inverse @ twist.T
        there = velocity_at(self._pose.place(link, point))
        return float(np.trace(there @ self._of_links[link] @ there.T)) / 3.0


def probe_rows(
    m: mujoco.MjModel, skeleton: Skeleton, masses: EffectiveMasses, geom: int, mixed: Mixed,
    **ground: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """Gives a geom's rows of contacts with one ground.

    Args:
        m, skeleton, masses: the robot.
        geom: its probes touch the ground.
        mixed: parameters of the contact.
        ground: what every row says of the ground, by name.
    """
    frame = geom_frame(m, skeleton, geom)
    found = []
    for probe in probes(m, geom, skeleton.path):
        point = frame[0] + rotate(frame[1], probe.center)
        law = masses.law(mixed, [(geom, point[None])])
        if law is None:
            continue
        material, ramp, spin = law
        found.append({
            "link": int(skeleton.body_link[m.geom_bodyid[geom]]), "point": point,
            "rotation": np.roll(frame[1], -1), "axes": probe.axes, "material": material,
            "ramp": ramp, "spin": spin, **ground,
        })  # fmt: skip
    return found
