from pathlib import Path
from typing import Any

import pytest
import torch

from dva import robots
from dva.sensors import OUTPUTS, Camera, RendererName, Scene, View
from dva.sim import Model, load_model

CARTPOLE_VIEW = View(eye=(0.0, -2.8, 2.5), target=(0.0, 0.0, 2.5), fovy=90.0)
CARTPOLE_SCENE = Scene(floor_height=1.3, wall_y=10.0, checker_size=1.0)
HOPPER_VIEW = View(
    eye=(0.0, -2.8, 1.9), target=(0.0, 0.0, 1.1), fovy=45.0, mount="torso", follow="x"
)
HOPPER_SCENE = Scene(wall_y=2.0)
POSES = torch.tensor([[0.0, 0.4], [0.8, 0.7], [-1.5, 0.0], [0.0, 3.1], [0.0, 0.4]])
"""Cart position [m] and pole angle [rad] of five environments, the first and the last alike."""


@pytest.fixture(params=["caster", "mujoco"])
def renderer(request: pytest.FixtureRequest) -> RendererName:
    return request.param


@pytest.fixture(scope="module")
def cartpole() -> Model:
    return load_model(robots.mjcf_path("cartpole"))


@pytest.fixture(scope="module")
def hopper() -> Model:
    return load_model(robots.mjcf_path("hopper"))


def render(
    model: Model,
    view: View,
    scene: Scene,
    joint_q: torch.Tensor,
    size: int | tuple[int, int] = 48,
    renderer: RendererName = "auto",
) -> dict[str, torch.Tensor]:
    camera = Camera(
        model, view, scene, len(joint_q), size, outputs=OUTPUTS, threads=1, renderer=renderer
    )
    return camera.render(joint_q)


def hopper_at(*xs: float) -> torch.Tensor:
    joint_q = torch.zeros(len(xs), 6)
    joint_q[:, 0] = torch.tensor(xs)
    return joint_q


def changed(first: torch.Tensor, second: torch.Tensor, levels: int = 30) -> int:
    """Counts pixels of which a channel differs by more than `levels` of 255."""
    difference = (first.int() - second.int()).abs().amax(dim=-3)
    return int((difference > levels).sum())


def test_outputs_have_shape_and_type(cartpole: Model, renderer: RendererName) -> None:
    images = render(
        cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, POSES, size=(40, 60), renderer=renderer
    )
    assert images["rgb"].shape == (5, 3, 40, 60) and images["rgb"].dtype == torch.uint8
    assert images["depth"].shape == (5, 40, 60) and images["depth"].dtype == torch.float32
    assert images["segmentation"].shape == (5, 40, 60)
    assert images["segmentation"].dtype == torch.int32
    assert images["rgb"].is_contiguous() and not images["depth"].requires_grad


def test_only_what_is_asked_for_is_rendered(cartpole: Model, renderer: RendererName) -> None:
    everything = render(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, POSES, renderer=renderer)
    for name in OUTPUTS:
        camera = Camera(
            cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, 5, 48, outputs=(name,), renderer=renderer
        )
        images = camera.render(POSES)
        assert list(images) == [name]
        assert torch.equal(images[name], everything[name])


def test_depth_is_metres_along_the_optical_axis(cartpole: Model, renderer: RendererName) -> None:
    size = 85
    depth = render(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, POSES[:1], size, renderer=renderer)[
        "depth"
    ][0]
    torch.testing.assert_close(depth[0], torch.full((size,), 12.8), rtol=0, atol=1e-3)  # the wall
    # in the middle stands the end of the pole's axle, 0.24 m in front of the rail
    assert depth[size // 2, size // 2].item() == pytest.approx(2.8 - 0.24, abs=1e-4)
    # floor 1.2 m under the axis, seen along a ray that falls by tan(45 deg) (1 - 1 / size) per
    # metre
    assert depth[-1, 0].item() == pytest.approx(1.2 / (1.0 - 1.0 / size), rel=1e-4)


def test_segmentation_is_the_body(cartpole: Model, renderer: RendererName) -> None:
    size = 84
    names = cartpole.body_names
    images = render(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, POSES, size, renderer=renderer)
    # of the picture, in the pole's plane [m]: tan(45 deg) times its distance
    half_width = 2.8 - 0.16
    for (x, angle), segmentation in zip(POSES, images["segmentation"], strict=True):
        column = int(size / 2 * (1.0 + (x + 0.6 * torch.sin(angle)) / half_width))
        row = int(size / 2 * (1.0 - 0.6 * torch.cos(angle) / half_width))
        assert segmentation[row, column] == names.index("pole")
        pole_area = (segmentation == names.index("pole")).sum() * (2 * half_width / size) ** 2
        assert 0.08 < pole_area < 0.2  # capsule 1 m x 0.12 m with round ends, and the axle: 0.14 m2
        assert segmentation[0, 0] == 0 and segmentation[-1, -1] == 0  # wall and floor: the world
    assert set(images["segmentation"].unique().tolist()) <= set(range(len(names)))


def test_what_is_beyond_everything_is_sky(cartpole: Model, renderer: RendererName) -> None:
    scene = Scene(floor_height=1.3, wall_y=None, sky_color=(1.0, 0.0, 0.0), far=60.0)
    images = render(cartpole, CARTPOLE_VIEW, scene, POSES[:1], renderer=renderer)
    assert images["segmentation"][0, 0, 0] == -1
    assert images["depth"][0, 0, 0] == 60.0
    assert images["rgb"][0, :, 0, 0].tolist() == [255, 0, 0]
    assert images["depth"].max() == 60.0


def test_state_alone_decides_the_picture(cartpole: Model, renderer: RendererName) -> None:
    once = render(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, POSES, renderer=renderer)
    for name in OUTPUTS:
        assert torch.equal(once[name][0], once[name][4])
        for other in (1, 2, 3):
            assert not torch.equal(once[name][0], once[name][other])
    camera = Camera(
        cartpole,
        CARTPOLE_VIEW,
        CARTPOLE_SCENE,
        2,
        48,
        outputs=OUTPUTS,
        threads=1,
        renderer=renderer,
    )
    camera.render(POSES[3:])
    again = camera.render(POSES[1:3])  # as second call, in other environments
    for name in OUTPUTS:
        assert torch.equal(once[name][1:3], again[name])


@pytest.mark.parametrize("threads", [2, 3, 9])
def test_threads_do_not_change_the_picture(
    cartpole: Model, threads: int, renderer: RendererName
) -> None:
    once = render(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, POSES, renderer=renderer)
    camera = Camera(
        cartpole,
        CARTPOLE_VIEW,
        CARTPOLE_SCENE,
        5,
        48,
        outputs=OUTPUTS,
        threads=threads,
        renderer=renderer,
    )
    assert camera.threads == min(threads, 5)
    for _ in range(3):  # the first call is not threaded
        images = camera.render(POSES)
        for name in OUTPUTS:
            assert torch.equal(once[name], images[name])


def test_launching_one_by_one_gives_the_same_picture(
    cartpole: Model, renderer: RendererName
) -> None:
    arguments: dict[str, Any] = {"outputs": OUTPUTS, "renderer": renderer}
    images = [
        Camera(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, 5, 48, capture=capture, **arguments).render(
            POSES
        )
        for capture in (True, False)
    ]
    for name in OUTPUTS:
        assert torch.equal(images[0][name], images[1][name])


def test_pictures_are_not_overwritten_by_the_next(cartpole: Model, renderer: RendererName) -> None:
    camera = Camera(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, 1, 48, renderer=renderer)
    first = camera.render(POSES[:1])["rgb"]
    copy = first.clone()
    camera.render(POSES[1:2])
    assert torch.equal(first, copy)


def test_camera_follows_the_robot_however_far(hopper: Model, renderer: RendererName) -> None:
    images = render(
        hopper,
        HOPPER_VIEW,
        HOPPER_SCENE,
        hopper_at(0.0, 1000.0, -20000.0, 1000.5),
        renderer=renderer,
    )
    robot = images["segmentation"] > 0
    columns = robot.any(dim=1).float()
    middle = (columns * torch.arange(48)).sum(1) / columns.sum(1)
    # the foot reaches 0.06 m further ahead than behind; a pixel is 0.05 m
    assert ((middle - 23.5).abs() < 2.5).all()
    assert (images["segmentation"] >= 0).all()  # floor and wall go on
    # joint positions are float32: their steps are 6e-5 m at 1 km and 2e-3 m at 20 km
    assert changed(images["rgb"][0], images["rgb"][1]) <= 2
    assert changed(images["rgb"][0], images["rgb"][2]) <= 40


def test_checks_stay_fixed_in_the_world(hopper: Model, renderer: RendererName) -> None:
    side = HOPPER_SCENE.checker_size
    rgb = render(
        hopper,
        HOPPER_VIEW,
        HOPPER_SCENE,
        hopper_at(1000.0, 1000.0 + side, 1000.0 + 2 * side, 1000.1),
        renderer=renderer,
    )["rgb"]
    floor = rgb[:, :, 40:]
    assert changed(floor[0], floor[1]) > 0.5 * floor[0, 0].numel()  # light checks became dark
    assert changed(floor[0], floor[2]) <= 2
    assert changed(floor[0], floor[3]) > 0.05 * floor[0, 0].numel()


def test_camera_does_not_turn_with_its_mount(hopper: Model, renderer: RendererName) -> None:
    joint_q = hopper_at(0.0, 0.0)
    joint_q[1, 2] = 1.2  # pitch
    joint_q[1, 1] = 0.3  # height, which "x" does not follow
    depth = render(hopper, HOPPER_VIEW, HOPPER_SCENE, joint_q, renderer=renderer)["depth"]
    assert torch.equal(depth[0, 0], depth[1, 0])  # the wall
    torch.testing.assert_close(depth[0, -1], depth[1, -1])  # the floor


def test_following_height_keeps_the_robot_and_moves_the_floor(
    hopper: Model, renderer: RendererName
) -> None:
    view = View(eye=(0.0, -2.8, 0.0), target=(0.0, 0.0, 0.0), mount="torso", follow="xz")
    joint_q = hopper_at(0.0, 0.0)
    joint_q[1, 1] = 0.5
    images = render(hopper, view, HOPPER_SCENE, joint_q, renderer=renderer)
    torso = images["segmentation"] == hopper.body_names.index("torso")
    assert torch.equal(torso[0], torso[1])
    assert not torch.equal(images["depth"][0], images["depth"][1])


def test_physics_geoms_are_hidden_and_cast_no_shadow(
    cartpole: Model, tmp_path: Path, renderer: RendererName
) -> None:
    text = cartpole.path.read_text()
    assert 'size="0.025 0.025 0.5"' in text
    path = tmp_path / "cartpole.xml"
    path.write_text(text.replace('size="0.025 0.025 0.5"', 'size="1 1 0.5"'))
    seen = render(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, POSES, renderer=renderer)
    images = render(load_model(path), CARTPOLE_VIEW, CARTPOLE_SCENE, POSES, renderer=renderer)
    for name in OUTPUTS:
        assert torch.equal(images[name], seen[name])


def test_light_casts_a_shadow(hopper: Model, renderer: RendererName) -> None:
    plain_scene = Scene(wall_y=2.0, shadow=0.0)
    shadowed = render(hopper, HOPPER_VIEW, HOPPER_SCENE, hopper_at(0.0), size=84, renderer=renderer)
    plain = render(hopper, HOPPER_VIEW, plain_scene, hopper_at(0.0), size=84, renderer=renderer)
    assert torch.equal(shadowed["depth"], plain["depth"])
    on_floor = shadowed["segmentation"][0] == 0
    darker = plain["rgb"].int() - shadowed["rgb"].int()
    assert (darker >= 0).all()
    # the head's shadow lies 1.4 m behind and right of the foot, in the picture 20 pixels away, and
    # the robot is 2 to 3 pixels wide
    count = ((darker[0] > 30).all(dim=0) & on_floor).sum()
    assert 20 < count < 80, count


def test_motion_of_the_pole_is_seen_at_48_pixels(cartpole: Model, renderer: RendererName) -> None:
    # A pixel is 0.11 m wide in the pole's plane, the pole 0.12 m. The renderer has no noise, so
    # every changed pixel is signal; 30 of 255 levels is what a weak 8-bit sensor would still show.
    # Half a pole width at the tip (0.06 rad, one control step at 3.6 rad/s) changes every second
    # pixel along both edges of the pole's outer half (4.5 pixels long), at least 4 of them; a swing
    # by 0.3 rad (tip: 2.7 pixels) most of the pole's 9 pixels, on its old and its new place.
    angles = torch.linspace(-3.0, 3.0, 13)
    for swing, pixels in ((0.06, 4), (0.3, 12)):
        before = torch.stack([torch.zeros(13), angles], dim=1)
        after = torch.stack([torch.zeros(13), angles + swing], dim=1)
        rgb = render(
            cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, torch.cat([before, after]), renderer=renderer
        )["rgb"]
        counts = [changed(rgb[i], rgb[13 + i]) for i in range(13)]
        assert min(counts) >= pixels, counts
    # mean over all pixels: 12 of 2304 at 30 levels or more in one of three channels give 0.05;
    # the pole's contrast is higher
    assert (rgb[:13].int() - rgb[13:].int()).abs().float().mean(dim=(1, 2, 3)).min() > 0.1


def test_broken_state_stays_in_its_environment(cartpole: Model, renderer: RendererName) -> None:
    camera = Camera(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, 5, 48, threads=2, renderer=renderer)
    expected = camera.render(POSES)["rgb"]
    broken = POSES.clone()
    broken[1] = float("nan")
    broken[2] = 1e30
    images = camera.render(broken)["rgb"]
    assert torch.equal(images[[0, 3, 4]], expected[[0, 3, 4]])
    assert torch.equal(camera.render(POSES)["rgb"], expected)


def test_more_samples_smooth_the_edges(cartpole: Model, renderer: RendererName) -> None:
    coarse = Camera(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, 5, 48, renderer=renderer).render(
        POSES
    )["rgb"]
    camera = Camera(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, 5, 48, samples=2, renderer=renderer)
    smooth = camera.render(POSES)["rgb"]
    assert (coarse.float().mean() - smooth.float().mean()).abs() < 2.0
    assert smooth.unique().numel() > coarse.unique().numel()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"image_size": 0}, "image_size is 0"),
        ({"image_size": (84,)}, r"image_size is \(84,\)"),
        ({"image_size": (84, 8.5)}, "image_size is"),
        ({"outputs": ("rgb", "normals")}, "normals.*rgb, depth, segmentation"),
        ({"outputs": ()}, "at least one"),
        ({"threads": 0}, "threads is 0"),
        ({"outputs": ("depth",), "samples": 2}, "samples is 2"),
        (
            {"view": View((0.0, -1.0, 0.0), (0.0, 0.0, 0.0), mount="nose")},
            "'nose'.*rail, cart, pole",
        ),
    ],
)
def test_wrong_arguments_are_named(
    cartpole: Model, arguments: dict[str, Any], message: str
) -> None:
    good: dict[str, Any] = {"view": CARTPOLE_VIEW, "scene": CARTPOLE_SCENE, "num_envs": 2}
    with pytest.raises(ValueError, match=message):
        Camera(cartpole, **(good | arguments))


def test_wrong_joint_positions_are_named(cartpole: Model) -> None:
    camera = Camera(cartpole, CARTPOLE_VIEW, CARTPOLE_SCENE, 2, 8)
    with pytest.raises(ValueError, match=r"\(5, 2\).*\(2, 2\).*num_envs"):
        camera.render(POSES)
