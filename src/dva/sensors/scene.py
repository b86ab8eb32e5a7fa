"""What surrounds a robot in a picture: floor, back wall, light, and where the camera stands."""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from dva.sim.mjcf.compiling import compile_spec, mujoco_warnings, read_spec

CAMERA = "dva_camera"
FLOOR = "dva_floor"
WALL = "dva_wall"

Vec3 = tuple[float, float, float]

TEXTURE_PIXELS = 64
"""Side of the floor texture. Coarse on purpose: linear filtering then softens the edges of the
checks."""


@dataclass(frozen=True)
class View:
    """Where a camera stands and looks, in world axes.

    `eye` and `target` are points [m]; along the axes named in `follow` they are relative to the
    position of the body `mount`, along the others they are world coordinates. The camera translates
    with its mount and never rotates.

    Raises:
        ValueError: a vector that has not three finite numbers, `eye` equal to `target`, `fovy`
            outside (0, 180), or `follow` with anything but x, y, z.
    """

    eye: Vec3
    """Position of the camera [m]."""
    target: Vec3
    """Point in the middle of the picture [m]."""
    fovy: float = 45.0
    """Full vertical field of view [degrees]."""
    mount: str | None = None
    """Body that the camera follows; None: the camera is fixed in the world."""
    follow: str = "xyz"
    """World axes of the mount's position that the camera follows, such as "x" or "xyz"."""

    def __post_init__(self) -> None:
        for name in ("eye", "target"):
            _check_vector(f"View.{name}", getattr(self, name))
        if np.allclose(self.eye, self.target):
            raise ValueError(f"View.eye and View.target are both {self.eye}: move one of them.")
        if not 0.0 < self.fovy < 180.0:
            raise ValueError(
                f"View.fovy is {self.fovy}; give a full angle in degrees, 0 < fovy < 180."
            )
        if len(set(self.follow)) != len(self.follow) or not set(self.follow) <= set("xyz"):
            raise ValueError(
                f'View.follow is {self.follow!r}; use each of "x", "y", "z" at most once.'
            )

    @property
    def follow_mask(self) -> Vec3:
        """Is 1 along the world axes that the camera follows and 0 along the others."""
        followed = self.follow if self.mount is not None else ""
        return (float("x" in followed), float("y" in followed), float("z" in followed))

    @property
    def rotation(self) -> np.ndarray:
        """Is the camera's rotation (3, 3): columns are its right, up and backward axes in the world
        frame."""
        backward = np.subtract(self.eye, self.target, dtype=float)
        backward /= np.linalg.norm(backward)
        up = np.array([0.0, 0.0, 1.0])
        if abs(backward[2]) > 1.0 - 1e-6:  # looking straight down or up: "up" in the picture is y
            up = np.array([0.0, 1.0, 0.0])
        right = np.cross(up, backward)
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(backward, right), backward], axis=1)


@dataclass(frozen=True)
class Scene:
    """What surrounds the robot. Colours are RGB in [0, 1]; the same scene is used by all
    environments.

    Floor and wall are infinite and the checks are fixed in the world, so that motion is seen
    however far a robot goes.

    Raises:
        ValueError: a vector that has not three finite numbers, a colour outside [0, 1], a light
            from below, or a length that is not positive.
    """

    floor_height: float = 0.0
    """Height z of the floor [m]."""
    wall_y: float | None = 2.0
    """Distance y of the wall parallel to the x axis [m], seen from smaller y; None: no wall, only
    sky."""
    checker_size: float = 0.5
    """Side of one check of the floor [m]."""
    floor_color: Vec3 = (0.80, 0.82, 0.85)
    """Light checks."""
    floor_color2: Vec3 = (0.50, 0.54, 0.60)
    """Dark checks."""
    wall_color: Vec3 = (0.72, 0.75, 0.79)
    """The wall."""
    sky_color: Vec3 = (0.70, 0.80, 0.92)
    """Where a ray meets nothing within `far`."""
    light_direction: Vec3 = (0.35, 0.85, -1.0)
    """Direction in which the light travels; any length."""
    light: float = 0.75
    """Strength of the directional light on a surface that faces it."""
    ambient: float = 0.40
    """Strength of the light that comes from everywhere."""
    shadow: float = 0.75
    """Share of the directional light that a shadow takes away; 0 turns shadows off and saves their
    rays."""
    far: float = 100.0
    """Length of view along the optical axis [m]; also the depth of a pixel that meets nothing."""

    def __post_init__(self) -> None:
        for name in ("floor_color", "floor_color2", "wall_color", "sky_color", "light_direction"):
            _check_vector(f"Scene.{name}", getattr(self, name))
        for name in ("floor_color", "floor_color2", "wall_color", "sky_color"):
            if not all(0.0 <= channel <= 1.0 for channel in getattr(self, name)):
                raise ValueError(f"Scene.{name} is {getattr(self, name)}; channels lie in [0, 1].")
        if self.light_direction[2] >= 0.0:
            raise ValueError(
                f"Scene.light_direction is {self.light_direction}; its z must be below 0."
            )
        for name in ("checker_size", "far"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"Scene.{name} is {getattr(self, name)}; give a length above 0 m.")
        for name in ("light", "ambient", "shadow"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"Scene.{name} is {getattr(self, name)}; it lies in [0, 1].")


def compose_scene(mjcf_path: str | Path, view: View, scene: Scene) -> mujoco.MjSpec:
    """Puts floor, wall, light and camera around a robot's MJCF.

    What is added touches nothing (no contact, no mass) and adds no body, so bodies, joints and
    coordinates keep their numbers. Lights of the file are removed: the scene's is the only one. The
    camera stands where it is when the robot is in the file's reference pose; `Camera` moves it.

    Raises:
        ValueError: MuJoCo cannot read the file, or it has no body named `view.mount`.
    """
    spec = read_spec(mjcf_path)
    bodies = [body.name for body in spec.bodies if body.name != "world"]
    if view.mount is not None and view.mount not in bodies:
        raise ValueError(
            f"View.mount is {view.mount!r}, which {Path(mjcf_path).name} has no body for. "
            f"Bodies: {', '.join(bodies)}; or None for a camera fixed in the world."
        )
    for light in list(spec.lights):
        spec.delete(light)
    _add_surfaces(spec, scene)
    _add_light(spec, scene)
    mount_position = np.zeros(3)
    if view.mount is not None:
        mj_model = compile_spec(spec, mjcf_path)
        mj_data = mujoco.MjData(mj_model)
        with mujoco_warnings(mjcf_path):
            mujoco.mj_kinematics(mj_model, mj_data)
        mount_position = mj_data.body(view.mount).xpos
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, view.rotation.flatten())
    spec.worldbody.add_camera(
        name=CAMERA,
        pos=np.add(view.eye, np.multiply(view.follow_mask, mount_position)),
        quat=quaternion,
        fovy=view.fovy,
    )
    return spec


def compile_scene(mjcf_path: str | Path, view: View, scene: Scene) -> mujoco.MjModel:
    """Compiles what `compose_scene` puts together; errors as of that."""
    return compile_spec(compose_scene(mjcf_path, view, scene), mjcf_path)


def _add_surfaces(spec: mujoco.MjSpec, scene: Scene) -> None:
    spec.add_texture(
        name=FLOOR,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=scene.floor_color,
        rgb2=scene.floor_color2,
        width=TEXTURE_PIXELS,
        height=TEXTURE_PIXELS,
    )
    # one repetition of the texture is two checks; an infinite plane repeats it every 2 / texrepeat
    # metres
    repeat = 1.0 / scene.checker_size
    floor = spec.add_material(name=FLOOR, texrepeat=[repeat, repeat], specular=0.0, shininess=0.0)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = FLOOR
    spec.add_material(name=WALL, rgba=(*scene.wall_color, 1.0), specular=0.0, shininess=0.0)
    _add_plane(spec, FLOOR, (0.0, 0.0, scene.floor_height), (1.0, 0.0, 0.0, 0.0))
    if scene.wall_y is not None:
        # a quarter turn about x points the plane's normal along -y, towards the camera
        quarter = float(np.sqrt(0.5))
        _add_plane(
            spec, WALL, (0.0, scene.wall_y, scene.floor_height), (quarter, quarter, 0.0, 0.0)
        )


def _add_plane(spec: mujoco.MjSpec, name: str, position: Vec3, quaternion: Sequence[float]) -> None:
    # every attribute that a default class of the robot's file may have changed is given here
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=(0.0, 0.0, 1.0),
        pos=position,
        quat=quaternion,
        material=name,
        rgba=(0.5, 0.5, 0.5, 1.0),
        group=0,
        contype=0,
        conaffinity=0,
    )


def _add_light(spec: mujoco.MjSpec, scene: Scene) -> None:
    direction = np.asarray(scene.light_direction) / np.linalg.norm(scene.light_direction)
    spec.worldbody.add_light(
        name="dva_light",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=-10.0 * direction,
        dir=direction,
        castshadow=scene.shadow > 0.0,
        diffuse=[scene.light] * 3,
        ambient=[scene.ambient] * 3,
        specular=[0.0] * 3,
    )
    spec.visual.headlight.active = 0
    # view distances are multiples of the model's extent: fix it, so that they do not depend on the
    # robot's size
    spec.stat.extent = 1.0
    spec.visual.map.znear = 0.01
    spec.visual.map.zfar = scene.far


def _check_vector(name: str, value: Sequence[float]) -> None:
    if len(value) != 3 or not all(np.isfinite(value)):
        raise ValueError(f"{name} is {value!r}; give three finite numbers (x, y, z).")
