"""The free-base robots with many joints equal the recorded numbers, whatever frames they use.

Recordings have links without mass and links that are fixed to their parents, and their link frames
may be turned about a joint's axis. Both sides are therefore laid out at joint coordinates zero and
compared in the frame of the base, which has z up in the recordings too.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from dva import robots
from dva.sim import Model, load_model
from dva.sim.model import FREE, REVOLUTE
from dva.sim.quaternions import multiply, rotate

DATA = Path(__file__).parents[1] / "data"
NAMES = ("humanoid", "anymal")
RECORDED_KIND = {REVOLUTE: 1, FREE: 4}
FIXED = 3
ROUND_OFF: dict[str, Any] = {"rtol": 2e-6, "atol": 3e-8}
"""The recorded frames are float32."""


@dataclass
class Layout:
    """Moving links at joint coordinates zero, in the frame of the base; L links, C contacts."""

    kind: np.ndarray
    parent: np.ndarray
    axis: np.ndarray
    anchor: np.ndarray
    mass: np.ndarray
    com: np.ndarray
    inertia: np.ndarray
    contacts: list[tuple[float, ...]]


@pytest.fixture(scope="module", params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def data(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"{name}.npz") as file:
        return {key[6:]: file[key] for key in file.files if key.startswith("model/")}


def poses(parent, frames) -> tuple[np.ndarray, np.ndarray]:
    """Gives the positions (L, 3) and rotation matrices (L, 3, 3) of link frames at zero."""
    frames = torch.as_tensor(np.array(frames), dtype=torch.float64)
    # Recorded quaternions are rounded to float32.
    turns = torch.nn.functional.normalize(frames[:, 3:], dim=1)
    position, rotation = [frames[0, :3]], [turns[0]]
    for i in range(1, len(parent)):
        outer = rotation[parent[i]]
        position.append(position[parent[i]] + rotate(outer, frames[i, :3]))
        rotation.append(multiply(outer, turns[i]))
    columns = [torch.stack([rotate(r, e) for e in torch.eye(3).double()], 1) for r in rotation]
    return torch.stack(position).numpy(), torch.stack(columns).numpy()


def contact_rows(link, point, radius, material) -> list[tuple[float, ...]]:
    """Sorts contacts, so that the order of a shape's points does not matter."""
    return sorted(
        (int(i), *(np.round(p, 6) + 0.0), round(float(r), 6), *np.round(m.astype(float), 4))
        for i, p, r, m in zip(link, point, radius, material, strict=True)
    )


def layout(model: Model) -> Layout:
    position, rotation = poses(model.link_parent, model.link_frame)
    link = model.contact_link
    return Layout(
        kind=np.array([RECORDED_KIND[kind] for kind in model.link_joint]),
        parent=model.link_parent,
        axis=np.einsum("lij,lj->li", rotation, model.link_axis),
        anchor=position,
        mass=model.link_mass,
        com=position + np.einsum("lij,lj->li", rotation, model.link_com),
        inertia=rotation @ model.link_inertia @ rotation.transpose(0, 2, 1),
        contacts=contact_rows(
            link,
            position[link] + np.einsum("lij,lj->li", rotation[link], model.contact_point),
            model.contact_radius,
            model.contact_material,
        ),
    )


def merged(mass, com, inertia) -> tuple[float, np.ndarray, np.ndarray]:
    """Combines rigidly joined masses."""
    total = mass.sum()
    center = (mass[:, None] * com).sum(0) / total if total > 0 else np.zeros(3)
    offset = com - center
    shift = np.einsum("k,ki,ki->", mass, offset, offset) * np.eye(3)
    return total, center, inertia.sum(0) + shift - np.einsum("k,ki,kj->ij", mass, offset, offset)


def recorded_layout(data: dict[str, np.ndarray]) -> Layout:
    """Merges the recording's fixed links into those that carry them, in float64."""
    position, rotation = poses(data["joint_parent"], data["joint_X_pj"])
    moving = np.flatnonzero(data["joint_type"] != FIXED)
    carrier = np.arange(len(position))
    for i, parent in enumerate(data["joint_parent"]):
        if data["joint_type"][i] == FIXED:
            carrier[i] = carrier[parent]
    number = {int(link): i for i, link in enumerate(moving)}
    com = position + np.einsum("lij,lj->li", rotation, data["body_com"])
    inertia = rotation @ data["body_inertia"] @ rotation.transpose(0, 2, 1)
    bodies = [
        merged(*(values[carrier == link] for values in (data["body_mass"], com, inertia)))
        for link in moving
    ]
    mass, center, tensor = (np.array(part) for part in zip(*bodies, strict=True))
    body = data["contact_body"]
    return Layout(
        kind=data["joint_type"][moving],
        parent=np.array(
            [number[int(carrier[p])] if p >= 0 else -1 for p in data["joint_parent"][moving]]
        ),
        axis=np.einsum("lij,lj->li", rotation, data["joint_axis"])[moving],
        anchor=position[moving],
        mass=mass,
        com=np.where(mass[:, None] > 0, center, position[moving]),
        inertia=tensor,
        contacts=contact_rows(
            [number[int(carrier[b])] for b in body],
            position[body] + np.einsum("lij,lj->li", rotation[body], data["contact_point"]),
            data["contact_dist"],
            data["contact_material"],
        ),
    )


def published(name: str) -> Model:
    return load_model(robots.mjcf_path(name), inertia="published")


def test_joints_are_the_recorded_ones(name: str, data):
    ours, recorded = layout(published(name)), recorded_layout(data)
    np.testing.assert_array_equal(ours.kind, recorded.kind)
    np.testing.assert_array_equal(ours.parent, recorded.parent)
    np.testing.assert_allclose(ours.axis, recorded.axis, **ROUND_OFF)
    np.testing.assert_allclose(ours.anchor, recorded.anchor, **ROUND_OFF)


def test_masses_and_published_inertias_are_the_recorded_ones(name: str, data):
    ours, recorded = layout(published(name)), recorded_layout(data)
    np.testing.assert_allclose(ours.mass, recorded.mass, rtol=1e-6)
    np.testing.assert_allclose(ours.com, recorded.com, **ROUND_OFF)
    np.testing.assert_allclose(ours.inertia, recorded.inertia, **ROUND_OFF)
    assert (ours.mass == 0).sum() == {"humanoid": 9, "anymal": 4}[name]


def test_contacts_are_the_recorded_ones(name: str, data):
    ours, recorded = layout(published(name)), recorded_layout(data)
    np.testing.assert_allclose(ours.contacts, recorded.contacts, atol=2e-6)


def test_dof_parameters_are_the_recorded_ones(name: str, data):
    model = published(name)
    np.testing.assert_allclose(model.dof_armature, data["joint_armature"], rtol=1e-6)
    joints = np.flatnonzero(data["joint_type"] == 1)
    coordinate, dof = data["joint_q_start"][joints], data["joint_qd_start"][joints]
    np.testing.assert_array_equal(dof, np.arange(6, model.num_dofs))
    for ours, recorded in (
        (model.dof_stiffness, data["joint_target_ke"][joints]),
        (model.dof_damping, data["joint_target_kd"][joints]),
        (model.dof_target, data["joint_target"][coordinate]),
        (model.dof_limit[:, 0], data["joint_limit_lower"][coordinate]),
        (model.dof_limit[:, 1], data["joint_limit_upper"][coordinate]),
        (model.dof_limit_stiffness, data["joint_limit_ke"][joints]),
        (model.dof_limit_damping, data["joint_limit_kd"][joints]),
    ):
        np.testing.assert_allclose(ours[dof], recorded, rtol=1e-6)
    np.testing.assert_array_equal(model.dof_action[data["action_dof"]], np.arange(len(dof)))
    np.testing.assert_allclose(model.dof_gear[data["action_dof"]], data["action_scale"])


def test_start_is_the_recorded_one(name: str, data):
    model = published(name)
    start = data["initial_q"].astype(float)
    x, y, z = start[:3]
    np.testing.assert_allclose(model.initial_q[:3], (x, -z, y), atol=1e-6)
    # A quarter turn about x takes the recordings' world, y up, to ours.
    quarter = torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5], dtype=torch.float64)
    turned = multiply(quarter, torch.from_numpy(start[3:7]))
    np.testing.assert_allclose(model.initial_q[3:7], turned, atol=1e-6)
    np.testing.assert_allclose(model.initial_q[7:], start[7:], atol=1e-6)


def test_physical_inertias_are_mujocos_and_those_of_the_shapes(name: str, data):
    model = load_model(robots.mjcf_path(name))
    m = mujoco.MjModel.from_xml_path(str(model.path))
    for body in range(1, m.nbody):
        link = model.body_link[body]
        eigenvalues = np.linalg.eigvalsh(model.link_inertia[link])
        np.testing.assert_allclose(eigenvalues, np.sort(m.body_inertia[body]), rtol=1e-9)
        np.testing.assert_allclose(model.link_mass[link], m.body_mass[body])
    ours = layout(model)
    recorded = shape_layout(data)
    for i in np.flatnonzero(ours.mass):
        mass, com, inertia = recorded[int(i)]
        np.testing.assert_allclose(ours.mass[i], mass, rtol=1e-6)
        np.testing.assert_allclose(ours.com[i], com, **ROUND_OFF)
        np.testing.assert_allclose(ours.inertia[i], inertia, rtol=1e-6, atol=1e-7)


def shape_layout(data: dict[str, np.ndarray]) -> dict[int, Any]:
    """Weighs the recorded spheres and capsules at 1000 kg/m^3, with correct rotations."""
    position, rotation = poses(data["joint_parent"], data["joint_X_pj"])
    moving = np.flatnonzero(data["joint_type"] != FIXED)
    shapes: dict[int, list] = {}
    for body, transform, kind, (radius, half, _) in zip(
        data["shape_body"],
        data["shape_transform"],
        data["shape_geo_type"],
        data["shape_geo_scale"].astype(float),
        strict=True,
    ):
        _, turn = poses([-1], [transform])
        turn = rotation[body] @ turn[0]
        center = position[body] + rotation[body] @ transform[:3]
        shapes.setdefault(int(body), []).append(weigh(kind, radius, half, center, turn))
    result: dict[int, Any] = {}
    for i, link in enumerate(moving):
        end = moving[i + 1] if i + 1 < len(moving) else len(position)
        parts = [part for body in range(link, end) for part in shapes.get(body, [])]
        if parts:
            result[i] = merged(*(np.array(values) for values in zip(*parts, strict=True)))
    return result


def weigh(kind: int, radius: float, half: float, center, turn) -> tuple[float, Any, np.ndarray]:
    """Gives mass, centre and inertia (turned) of a solid sphere (0) or capsule along x (2)."""
    ball = 1000 * 4 / 3 * np.pi * radius**3
    inertia = 0.4 * ball * radius**2 * np.eye(3)
    if kind == 0:
        return ball, center, inertia
    assert kind == 2
    tube = 1000 * np.pi * radius**2 * 2 * half
    across = tube * (radius**2 / 4 + half**2 / 3) + ball * (half**2 + 0.75 * half * radius)
    inertia += np.diag([tube * radius**2 / 2, across, across])
    return ball + tube, center, turn @ inertia @ turn.T
