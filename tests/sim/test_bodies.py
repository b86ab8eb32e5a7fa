"""Contacts between bodies and with geoms of the world."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import dataclasses
from itertools import combinations_with_replacement

import mujoco
import numpy as np
import pytest
import torch

from dva.runs.gradient_check import simulator_gradient_error
from dva.sim import WarpSimulator, load_model, stable_substeps
from dva.sim.mjcf.agreement import mechanical_energy, rest_coordinates
from dva.sim.mjcf.compiling import compile_mjcf
from dva.sim.mjcf.pairs import body_pairs
from dva.sim.mjcf.skeleton import build_skeleton
from dva.sim.quaternions import rotation_matrix
from dva.sim.state import State

SHAPES = {
    "sphere": 'type="sphere" size="0.1"',
    "capsule": 'type="capsule" size="0.06 0.1" euler="0 80 20"',
    "box": 'type="box" size="0.1 0.08 0.06"',
    "cylinder": 'type="cylinder" size="0.1 0.06"',
    "ellipsoid": 'type="ellipsoid" size="0.12 0.1 0.07"',
    "mesh": 'type="mesh" mesh="wedge"',
}
MESH = (
    '<asset><mesh name="wedge" vertex="-.1 -.1 -.07 .1 -.1 -.07 -.1 .1 -.07 .1 .1 -.07 '
    '-.1 0 .07 .1 0 .07"/></asset>'
)
HINGE = '<joint axis="0 1 0"/>'


def load(folder, text: str, **options):
    path = folder / "robot.xml"
    path.write_text(f'<mujoco><compiler autolimits="true"/>{text}</mujoco>')
    return load_model(path, **options)


def run(model, steps: int, action=None, start: State | None = None) -> list[State]:
    sim = WarpSimulator(
        model, 1, dtype=torch.float64, substeps=stable_substeps(model, 1 / 60),
        mass_matrix_interval=1, threads=1,
    )  # fmt: skip
    zeros = torch.zeros(1, model.num_dofs, dtype=torch.float64)
    states = [start or State(torch.tensor(model.initial_q)[None], zeros)]
    if action is None:
        action = torch.zeros(1, model.num_actions, dtype=torch.float64)
    for _ in range(steps):
        states.append(sim.step(states[-1], action))
    return states


def two_bodies(folder, lower: str, upper: str):
    """A body on two slides and a hinge, and a free one above it; no weight and no floor."""
    slides = "".join(f'<joint type="slide" axis="{a}" damping="1"/>' for a in ("1 0 0", "0 0 1"))
    model = load(
        folder,
        f'{MESH}<option gravity="0 0 0"/><worldbody>'
        f'<body euler="5 3 0">{slides}<joint axis="0 1 0"/><geom {lower} mass="1"/></body>'
        f'<body pos="0.03 0.02 0.17" euler="4 -6 10"><freejoint/><geom {upper} mass="2"/></body>'
        "</worldbody>",
    )
    return dataclasses.replace(model, plane_contacts=None)


@pytest.mark.parametrize("shapes", list(combinations_with_replacement(SHAPES, 2)), ids="-".join)
def test_gradients_of_every_pair(tmp_path, shapes):
    """They meet at half a metre a second."""
    model = two_bodies(tmp_path, *(SHAPES[shape] for shape in shapes))
    velocity = torch.zeros(1, model.num_dofs, dtype=torch.float64)
    velocity[0, 3:6] = torch.tensor([0.12, 0.06, -0.52])
    states = run(model, 8, start=State(torch.tensor(model.initial_q)[None], velocity))
    falling = torch.stack([state.joint_qd[0, 5] for state in states])
    touched = int((falling + 0.52).abs().gt(1e-3).float().argmax())
    assert 0 < touched < 8
    substeps = stable_substeps(model, 1 / 60)
    for state in (states[touched - 1], states[touched]):
        error = simulator_gradient_error(
            model, state.joint_q, state.joint_qd, 1 / 60, substeps, 1, steps=1
        )
        assert error < 1e-5


def test_what_one_gains_the_other_loses(tmp_path):
    """Linear momentum, and the angular about the world's origin, in an instant of touch."""
    model = load(
        tmp_path,
        f'{MESH}<option gravity="0 0 0"/><default><geom condim="6" friction="1 .1 .1"/></default>'
        f'<worldbody><body><freejoint/><geom {SHAPES["box"]} mass="1"/></body>'
        f'<body pos="0.03 0.02 0.12"><freejoint/><geom {SHAPES["mesh"]} mass="2"/></body>'
        "</worldbody>",
    )
    model = dataclasses.replace(model, plane_contacts=None)
    velocity = torch.zeros(1, 12, dtype=torch.float64)
    velocity[0, 6:] = torch.tensor([0.2, 0.0, -1.0, 0.5, 0.4, 0.3])
    place = torch.tensor(model.initial_q)[None]
    sim = WarpSimulator(
        model, 1, dtype=torch.float64, control_dt=1e-7, substeps=1, threads=1, capture=False
    )
    after = sim.step(State(place, velocity), torch.zeros(1, 0, dtype=torch.float64)).joint_qd
    untouched = dataclasses.replace(model, body_contacts=None)
    free = WarpSimulator(
        untouched, 1, dtype=torch.float64, control_dt=1e-7, substeps=1, threads=1, capture=False
    ).step(State(place, velocity), torch.zeros(1, 0, dtype=torch.float64))
    gained = ((after - free.joint_qd) / 1e-7)[0].view(2, 6).numpy()
    total, spin = np.zeros(3), np.zeros(3)
    for body, mass in enumerate((1.0, 2.0)):
        turn = rotation_matrix(model.initial_q[7 * body + 3 : 7 * body + 7])
        center = model.initial_q[7 * body : 7 * body + 3] + turn @ model.link_com[body]
        total += mass * gained[body, :3]
        spin += mass * np.cross(center, gained[body, :3])
        spin += turn @ model.link_inertia[body] @ turn.T @ gained[body, 3:]
    largest = np.abs(gained).max()
    assert largest > 10.0
    np.testing.assert_allclose(total / largest, 0.0, atol=1e-6)
    np.testing.assert_allclose(spin / largest, 0.0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_bodies_rest_on_boxes_of_the_world_and_on_each_other(tmp_path, shape: str):
    model = load(
        tmp_path,
        f'{MESH}<worldbody><geom type="box" size="0.5 0.5 0.1" pos="0 0 0.3"/>'
        '<body pos="0 0 0.46"><freejoint/><geom type="box" size="0.3 0.3 0.05" mass="3"/></body>'
        f'<body pos="0 0 0.65"><freejoint/><geom {SHAPES[shape]} mass="1"/></body></worldbody>',
    )
    states = run(model, 90)
    assert states[-1].joint_qd.abs().max() < 0.05
    theirs = rest_coordinates(model, 1.5)
    ours = states[-1].joint_q[0]
    assert ours[2].item() == pytest.approx(theirs[2], abs=2e-3)
    assert ours[9].item() == pytest.approx(theirs[9], abs=3e-3)
    energy = mechanical_energy(model, states)
    assert energy.max() - energy[0] < 0.01 * (energy[0] - energy[-1])


def test_mujocos_rules_choose_the_pairs(tmp_path):
    """With all geoms in one place, MuJoCo finds a contact of each pair that may touch."""
    ball = '<geom name="{0}" size="0.1" {1}/>'
    nested = (
        f'<body>{HINGE}{ball.format("a", "")}<body name="b">{HINGE}{ball.format("b", "")}'
        f'<body>{ball.format("welded", "")}</body><body name="c">{HINGE}{ball.format("c", "")}'
        "</body></body></body>"
    )
    others = (
        f'<body name="d">{HINGE}{ball.format("d", """contype="2" conaffinity="0" """)}</body>'
        f'<body name="e">{HINGE}{ball.format("e", """contype="0" conaffinity="3" """)}</body>'
        f'<body name="f">{HINGE}{ball.format("f", """contype="0" conaffinity="0" """)}</body>'
    )
    path = tmp_path / "robot.xml"
    path.write_text(
        f"<mujoco><worldbody>{ball.format('fixed', '')}{nested}{others}</worldbody><contact>"
        '<exclude body1="c" body2="e"/><pair geom1="f" geom2="a" friction="1 1 .1 .1 .1"/>'
        '<pair geom1="d" geom2="b"/></contact></mujoco>'
    )
    m = compile_mjcf(path)
    d = mujoco.MjData(m)
    mujoco.mj_forward(m, d)
    theirs = {tuple(sorted(pair)) for pair in d.contact.geom.tolist()}
    pairs = body_pairs(m, build_skeleton(m, path))
    assert {(pair.one, pair.other) for pair in pairs} == theirs
    assert len(pairs) == len(theirs) > 8
    explicit = [pair for pair in pairs if pair.explicit >= 0]
    assert [m.geom(pair.other).name for pair in explicit] == ["f", "d"]


GRIPPER = """
<worldbody>
  <geom type="plane" size="1 1 1"/>
  <body name="palm" pos="0 0 0.5">
    <joint name="lift" type="slide" axis="0 0 1" range="-0.5 1" damping="5"/>
    <geom type="box" size="0.12 0.04 0.02" pos="0 0 0.15" mass="1"/>
    <body pos="-0.09 0 0">
      <joint name="left" type="slide" axis="1 0 0" damping="2" armature="0.1"/>
      <geom type="box" size="0.02 0.04 0.06" mass="0.2" condim="4" friction="1 0.02 0.001"/>
    </body>
    <body pos="0.09 0 0">
      <joint name="right" type="slide" axis="-1 0 0" damping="2" armature="0.1"/>
      <geom type="box" size="0.02 0.04 0.06" mass="0.2" condim="4" friction="1 0.02 0.001"/>
    </body>
  </body>
  <body name="ball" pos="0 0 0.5"><freejoint/><geom size="0.045" mass="0.2"/></body>
</worldbody>
<actuator>
  <position joint="lift" kp="400" kv="40" ctrlrange="-1 1" forcerange="-100 100"/>
  <position joint="left" kp="200" kv="10" ctrlrange="0 0.1"/>
  <position joint="right" kp="200" kv="10" ctrlrange="0 0.1"/>
</actuator>
"""


def test_a_gripper_holds_a_ball_and_its_gradient_passes_through(tmp_path):
    model = load(tmp_path, GRIPPER)
    action = torch.tensor([[0.2, 1.0, 1.0]], dtype=torch.float64)
    states = run(model, 90, action)
    ball = model.link_coordinate[list(model.body_names).index("ball") - 1] + 2
    heights = torch.stack([state.joint_q[0, ball] - state.joint_q[0, 0] for state in states])
    assert states[-1].joint_q[0, 0] > 0.1  # the palm has risen, and the ball with it
    assert (heights[-30:] - heights[-1]).abs().max() < 5e-3  # soft friction creeps
    substeps = stable_substeps(model, 1 / 60)
    last = states[-1]
    error = simulator_gradient_error(
        model, last.joint_q, last.joint_qd, 1 / 60, substeps, 1, steps=2
    )
    assert error < 1e-5
    # Lifting the palm lifts the ball: a gradient that only contact can carry.
    sim = WarpSimulator(model, 1, dtype=torch.float64, substeps=substeps, threads=1)
    action.requires_grad_()
    state = last
    for _ in range(10):
        state = sim.step(state, action)
    (lift,) = torch.autograd.grad(state.joint_q[0, ball], action)
    assert lift[0, 0] > 0.05


def test_an_open_gripper_drops_the_ball(tmp_path):
    model = load(tmp_path, GRIPPER)
    last = run(model, 60, torch.tensor([[0.0, -1.0, -1.0]], dtype=torch.float64))[-1]
    assert last.joint_q[0, -5] < 0.06  # on the floor


def test_a_cart_pushes_a_block(tmp_path):
    model = load(
        tmp_path,
        '<worldbody><geom type="plane" size="5 5 1"/><body pos="0 0 0.1">'
        '<joint name="x" type="slide" axis="1 0 0"/>'
        '<geom type="box" size="0.2 0.2 0.08" mass="2"/></body>'
        '<body pos="0.35 0 0.1"><freejoint/><geom type="box" size="0.1 0.1 0.1" mass="1"/></body>'
        '</worldbody><actuator><velocity joint="x" kv="50" ctrlrange="-1 1"/></actuator>',
    )
    states = run(model, 120, torch.tensor([[0.5]], dtype=torch.float64))
    cart, block = states[-1].joint_q[0, 0].item(), states[-1].joint_q[0, 1].item()
    assert cart > 0.5 and block - cart == pytest.approx(0.3, abs=0.01)
    error = simulator_gradient_error(
        model, states[-1].joint_q, states[-1].joint_qd, 1 / 60, stable_substeps(model, 1 / 60), 1,
        steps=2,
    )  # fmt: skip
    assert error < 1e-5


def test_friction_about_the_normal_and_of_rolling(tmp_path):
    """A ball's spin falls by mu_t m g / I a second, a rolling one's speed by mu_r g / (1.4 r)."""
    radius, mass = 0.1, 2.0
    for condim in (3, 4, 6):
        model = load(
            tmp_path,
            '<worldbody><geom type="plane" size="5 5 1"/><body pos="0 0 0.0999"><freejoint/>'
            f'<geom size="{radius}" mass="{mass}" condim="{condim}" friction="1 0.02 0.02"/>'
            "</body></worldbody>",
        )
        turning, rolling = torch.zeros(2, 1, 6, dtype=torch.float64)
        turning[0, 5] = 30.0
        rolling[0, 0], rolling[0, 4] = 0.4, 0.4 / radius
        place = torch.tensor(model.initial_q)[None]
        after = run(model, 18, start=State(place, turning))[-1].joint_qd[0, 5].item()
        drop = 0.02 * 9.81 / (0.4 * radius**2) * 0.3 if condim >= 4 else 0.0
        assert 30.0 - after == pytest.approx(drop, rel=0.02, abs=1e-6)
        after = run(model, 9, start=State(place, rolling))[-1].joint_qd[0, 0].item()
        drop = 0.02 * 9.81 / (1.4 * radius) * 0.15 if condim == 6 else 0.0
        assert 0.4 - after == pytest.approx(drop, rel=0.02, abs=2e-3)
        error = simulator_gradient_error(
            model, place, turning + rolling, 1 / 60, stable_substeps(model, 1 / 60), 1, steps=1
        )
        assert error < 1e-5
