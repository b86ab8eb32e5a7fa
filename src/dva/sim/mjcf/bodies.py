"""Contacts between bodies, and with geoms of the world that are no planes."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from dva.sim.features import BodyContacts, box_sides
from dva.sim.mjcf.contact_parameters import EffectiveMasses, mix, pair_parameters
from dva.sim.mjcf.pairs import GeomPair, body_pairs
from dva.sim.mjcf.poses import rotate
from dva.sim.mjcf.shapes import geom_frame, is_round, probes, solid
from dva.sim.model import BALL, REVOLUTE, Skeleton

__all__ = ["kept_pairs", "read_body_contacts"]


def kept_pairs(m: mujoco.MjModel, skeleton: Skeleton, ignore: Sequence[str]) -> list[GeomPair]:
    """Lists the pairs of geoms that touch, without those that `ignore` names."""
    links = skeleton.body_link[m.geom_bodyid]
    kept = []
    for pair in body_pairs(m, skeleton):
        if pair.explicit >= 0:
            name = "contact-pairs"
        else:
            name = "world-geoms" if min(links[pair.one], links[pair.other]) < 0 else "body-contact"
        if name not in ignore:
            kept.append(pair)
    return kept


def read_body_contacts(
    m: mujoco.MjModel, skeleton: Skeleton, ignore: Sequence[str]
) -> BodyContacts | None:
    """Collects the contacts of links with each other and with the world's solids.

    A round geom, sphere or capsule, touches others with itself. Of two others, each touches with
    its corners, rims, ellipsoid or vertices the other.
    """
    masses = EffectiveMasses(m, skeleton)
    rows: list[dict[str, Any]] = []
    for pair in kept_pairs(m, skeleton, ignore):
        one, other = pair.one, pair.other
        if not is_round(m, one):
            one, other = other, one
        rows += _rows(m, skeleton, masses, pair, one, other)
        if not is_round(m, one):
            rows += _rows(m, skeleton, masses, pair, other, one)
    if not rows:
        return None
    return BodyContacts(**{name: np.array([row[name] for row in rows]) for name in rows[0]})


def _rows(
    m: mujoco.MjModel, skeleton: Skeleton, masses: EffectiveMasses, pair: GeomPair, probe: int,
    touched: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Gives the contacts of one geom's probes with the solid that another is."""
    mixed = pair_parameters(m, pair.explicit) if pair.explicit >= 0 else mix(m, (probe, touched))
    links = [int(skeleton.body_link[m.geom_bodyid[geom]]) for geom in (probe, touched)]
    frame, place = (geom_frame(m, skeleton, geom) for geom in (probe, touched))
    target, turn = solid(m, touched, skeleton.path), np.roll(place[1], -1)
    surface = place[0] + box_sides(turn, target.extent)
    against = "round" if is_round(m, touched) else "solid"
    found = []
    spacing = float(target.extent.min())
    for part in probes(m, probe, skeleton.path, against, spacing):
        point, span = frame[0] + rotate(frame[1], part.center), rotate(frame[1], part.span)
        places = [(probe, np.stack([point, point + span])), (touched, surface)]
        law = masses.law(mixed, places, min(links) >= 0, _may_slip(skeleton, *links))
        if law is None:
            continue
        material, ramp, spin = law
        material[:3] *= part.share
        spin[2:] *= part.share
        reach = target.radius + part.axes.max() + np.linalg.norm(span) + max(mixed.margin, 0.0)
        found.append({
            "link": links[0], "point": point, "rotation": np.roll(frame[1], -1),
            "axes": part.axes, "material": material, "ramp": ramp, "spin": spin, "span": span,
            "solid_link": links[1], "place": place[0], "turn": turn,
            "shape": target.shape, "size": target.size, "slab": target.slab,
            "extent": target.extent, "margin": mixed.margin, "share": part.share,
            "reach": reach,
        })  # fmt: skip
    return found


def _may_slip(skeleton: Skeleton, one: int, other: int) -> bool:
    """Says whether two links belong to different trees of which one can be carried away."""
    roots = skeleton.root(one), skeleton.root(other)
    if min(roots) < 0 or roots[0] == roots[1]:
        return False
    return any(skeleton.link_joint[root] not in (REVOLUTE, BALL) for root in roots)
