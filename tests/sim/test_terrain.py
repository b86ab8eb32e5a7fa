"""Height fields: bilinear ground that follows MuJoCo's parameters."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from dva.runs.gradient_check import simulator_gradient_error
from dva.runs.robot_doctor import check_robot
from dva.sensors import Camera, Scene, View
from dva.sim import Model, State, WarpSimulator, load_model, stable_substeps
from dva.sim.mjcf.agreement import mechanical_energy, rest_coordinates
from dva.sim.mjcf.compiling import compile_mjcf

from .test_planes import MESH, SHAPES, fall

SAMPLES = np.linspace(-1.0, 1.0, 21)
X, Y = np.meshgrid(SAMPLES, SAMPLES)
GROUNDS = {
    "flat": 0.0 * X,
    "ramp": X + 1.0,
    "bowl": X**2 + Y**2,
    "hills": np.sin(5.0 * X) * np.cos(4.0 * Y) + 0.3 * X * Y,
}


def write(
    folder: Path, ground: str, geom: str, height: float, top: float = 0.3, field: str = "",
    place: str = "0 0",
) -> Path:  # fmt: skip
    """Writes a free body of 1.5 kg above a field of 2 m by 2 m."""
    values = " ".join(f"{value:.6f}" for value in GROUNDS[ground].ravel())
    path = folder / "terrain.xml"
    path.write_text(
        f'<mujoco><asset><hfield name="ground" nrow="21" ncol="21" size="1 1 {top} 0.1" '
        f'elevation="{values}"/></asset>{MESH}<worldbody>'
        f'<geom name="field" type="hfield" hfield="ground" {field}/>'
        f'<body pos="{place} {height}"><freejoint/><geom {geom} mass="1.5"/></body>'
        "</worldbody></mujoco>"
    )
    return path


def bilinear(model: Model, x: float, y: float) -> tuple[float, np.ndarray]:
    """Interpolates one field's samples: height and unit normal, written out."""
    fields = model.height_fields
    assert fields is not None
    rows, columns = fields.shape[0]
    grid = fields.heights.reshape(rows, columns)
    width, depth = 2.0 * fields.half[0] / (columns - 1, rows - 1)
    u, v = (x + fields.half[0, 0]) / width, (y + fields.half[0, 1]) / depth
    j, i = int(u), int(v)
    s, r = u - j, v - i
    (a, b), (c, d) = grid[i, j : j + 2], grid[i + 1, j : j + 2]
    height = (1 - s) * (1 - r) * a + s * (1 - r) * b + (1 - s) * r * c + s * r * d
    along_x = ((1 - r) * (b - a) + r * (d - c)) / width
    along_y = ((1 - s) * (c - a) + s * (d - b)) / depth
    normal = np.array([-along_x, -along_y, 1.0])
    return height, normal / np.linalg.norm(normal)


def test_heights_are_mujocos(tmp_path: Path):
    path = write(tmp_path, "hills", 'size="0.1"', 1.0)
    model, m = load_model(path), compile_mjcf(path)
    fields = model.height_fields
    assert fields is not None and fields.base == [0.1] and model.num_contacts == 1
    np.testing.assert_allclose(fields.heights, 0.3 * m.hfield_data, rtol=1e-6)
    assert fields.heights.min() == 0.0 and fields.heights.max() == pytest.approx(0.3)
    # A ray of MuJoCo's, straight down on a sample, where triangles and bilinear surface meet.
    d = mujoco.MjData(m)
    mujoco.mj_forward(m, d)
    for row, column in ((3, 5), (10, 17)):
        above = np.array([SAMPLES[column] + 1e-6, SAMPLES[row] + 1e-6, 5.0])
        found = mujoco.mj_ray(
            m, d, above, np.array([0, 0, -1.0]), None, 1, 1, np.zeros(1, np.int32), None
        )
        assert fields.heights[21 * row + column] == pytest.approx(5.0 - found, abs=1e-5)


def test_the_force_is_that_of_the_interpolated_surface(tmp_path: Path):
    """At rest: stiffness times depth along the normal, at several places, of a turned field."""
    turn = 'pos="0.3 0.2 0.1" euler="0 0 90"'
    model = load_model(write(tmp_path, "hills", 'size="0.05"', 1.0, field=turn))
    table = model.terrain_contacts
    assert table is not None
    ke = table.material[0, 0]
    seconds, radius = 1e-7, 0.05
    sim = WarpSimulator(
        model, 1, dtype=torch.float64, control_dt=seconds, substeps=1, threads=1, capture=False
    )
    for x, y in ((0.13, -0.42), (-0.58, 0.31), (0.77, 0.66)):
        height, normal = bilinear(model, x, y)
        center = np.array([x, y, height]) + 0.9 * radius * normal
        _, up = bilinear(model, *center[:2])
        lowest = center - radius * up
        under, slope = bilinear(model, *lowest[:2])
        depth = (under - lowest[2]) * slope[2]
        assert depth > 1e-3
        # A quarter turn about z takes x to y and y to -x.
        quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        world = quarter @ center + [0.3, 0.2, 0.1]
        joint_q = torch.tensor([[*world, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
        zeros = torch.zeros(1, 6, dtype=torch.float64)
        after = sim.step(State(joint_q, zeros), torch.zeros(1, 0, dtype=torch.float64))
        force = 1.5 * (after.joint_qd[0, :3].numpy() / seconds - model.gravity)
        np.testing.assert_allclose(force, ke * depth * quarter @ slope, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_on_a_flat_field_bodies_rest_as_mujocos_do(tmp_path: Path, shape: str):
    model = load_model(write(tmp_path, "flat", SHAPES[shape], 0.2))
    states = fall(model, 2.0)
    assert states[-1].joint_qd.abs().max() < 0.02
    height = states[-1].joint_q[0, 2].item()
    assert height == pytest.approx(rest_coordinates(model, 2.0)[2], abs=3e-3)


@pytest.mark.parametrize(("shape", "start"), [("sphere", 0.13), ("box", 0.08), ("capsule", 0.18)])
def test_in_a_bowl_bodies_come_to_rest(tmp_path: Path, shape: str, start: float):
    """A box stands on four corners, a sphere on the lowest sample of the field."""
    geom = SHAPES[shape] + ' condim="6" friction="1 0.01 0.01"'
    model = load_model(write(tmp_path, "bowl", geom, start, place="0.02 0.03"))
    states = fall(model, 3.0)
    assert states[-1].joint_qd.abs().max() < 0.05
    height = states[-1].joint_q[0, 2].item()
    assert height == pytest.approx(rest_coordinates(model, 3.0)[2], abs=5e-3)
    energy = mechanical_energy(model, states)
    assert energy.max() <= energy[0] + 0.01 * (energy[0] - energy.min())


def test_a_ball_slides_down_a_ramp(tmp_path: Path):
    """Without friction at g sin of its angle, whose tangent is 0.6 / 2 here."""
    tilt = np.arctan(0.3)
    model = load_model(
        write(tmp_path, "ramp", SHAPES["sphere"] + ' friction="0 0 0"',
              0.3 + 0.1 / np.cos(tilt), top=0.6, field='friction="0 0 0"')
    )  # fmt: skip
    after = fall(model, 0.4)[-1].joint_qd[0, :3].numpy()
    speed = 9.81 * np.sin(tilt) * 0.4
    direction = np.array([-np.cos(tilt), 0, -np.sin(tilt)])
    np.testing.assert_allclose(after, speed * direction, atol=0.04)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_at_rest_and_in_sliding(tmp_path: Path, shape: str):
    model = load_model(write(tmp_path, "hills", SHAPES[shape], 0.35, place="0.21 0.17"))
    landed = fall(model, 0.5)[-1]
    sliding = torch.tensor([[0.4, 0.3, 0.0, 0.1, 0.2, 0.3]], dtype=torch.float64)
    substeps = stable_substeps(model, 1 / 60)
    for velocity in (landed.joint_qd, sliding):
        error = simulator_gradient_error(
            model, landed.joint_q, velocity, 1 / 60, substeps, 1, steps=2
        )
        assert error < 1e-5


def test_beyond_the_edge_there_is_nothing(tmp_path: Path):
    model = load_model(write(tmp_path, "flat", SHAPES["sphere"], 0.11, place="1.3 0"))
    assert fall(model, 1.0)[-1].joint_q[0, 2] < -1.0


def test_left_out_there_is_the_floor(tmp_path: Path):
    path = write(tmp_path, "flat", SHAPES["sphere"], 0.5, field='pos="0 0 0.3"')
    with pytest.warns(UserWarning, match="as asked: terrain: contact with 1 height fields"):
        model = load_model(path, ignore=("terrain",))
    assert model.height_fields is None and model.num_contacts == 1
    assert fall(model, 2.0)[-1].joint_q[0, 2].item() == pytest.approx(0.1, abs=2e-3)
    assert rest_coordinates(model, 2.0)[2] == pytest.approx(0.1, abs=2e-3)
    assert fall(load_model(path), 2.0)[-1].joint_q[0, 2].item() == pytest.approx(0.4, abs=2e-3)


def test_user_data_is_for_the_flat_floor(tmp_path: Path):
    path = write(tmp_path, "flat", SHAPES["sphere"] + ' user="1000 1 1 1"', 0.5)
    with pytest.raises(ValueError, match='touches the height field .field.*ignore "terrain"'):
        load_model(path)


@pytest.mark.filterwarnings("ignore:.*light grid")
def test_the_doctor_finds_it_well(tmp_path: Path):
    path = write(tmp_path, "hills", SHAPES["box"], 0.4, place="0.21 0.17")
    found = {check.name: check for check in check_robot(path)}
    assert all(check.ok for check in found.values()), found
    assert "MuJoCo's at" in found["rest"].detail


def test_cameras_see_it(tmp_path: Path):
    """MuJoCo Warp's renderer draws it; the scene's own floor may be moved below."""
    view, scene = View((0, -3, 1.5), (0, 0, 0)), Scene(wall_y=None, floor_height=-1.0)
    pictures = []
    for ground in ("flat", "hills"):
        model = load_model(write(tmp_path, ground, SHAPES["sphere"], 0.6))
        camera = Camera(model, view, scene, 1, 32)
        assert camera.renderer == "mujoco"
        start = torch.tensor(model.initial_q, dtype=torch.float32)[None]
        pictures.append(camera.render(start)["rgb"].float())
    assert (pictures[0] - pictures[1]).abs().mean() > 3.0
