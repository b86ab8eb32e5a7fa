"""The robots in 3-D: meshes that follow their bodies, on a floor without end."""

from collections.abc import Callable
from typing import Any

import numpy as np
import viser

from dva.sensors import Scene, View
from dva.viewer.live.geometry import Geometry, Part
from dva.viewer.live.session import Session

__all__ = ["LANE", "Stage"]

LANE = 2.0
"""Metres from robot to robot, at least; they stand side by side along y."""
_FLOOR_CHECKS = 60
"""Checks of the floor along each side; it follows the camera's robot, and ends in haze."""
_STAND_BACK = 1.7
"""How much farther away a camera stands on an upright screen."""
Push = Callable[[np.ndarray, str, int], None]
"""Takes a direction (3,), the name of a body and the number of a robot."""


class Stage:
    """Draws the robots of a session.

    The floor has the task's colours and checks, but there is no wall, which would stand between
    robots. All robots start at the same place of their own world: that they stand apart here is
    for the eye alone.

    Args:
        server: what browsers connect to.
        session: whose robots are drawn.
        push: is called when somebody clicks on a robot, with the direction of the look.

    Attributes:
        follows: whether the picture moves with the shown robot.
    """

    def __init__(self, server: viser.ViserServer, session: Session, push: Push) -> None:
        self._server, self._session, self._push = server, session, push
        env = session.env
        self._geometry = Geometry(env.task.mjcf, env.simulator.model)
        self._view: View = env.task.view
        self.follows = self._view.mount is not None
        self._positions, self._quaternions = self._poses()
        extent = float(np.ptp(self._positions[0], axis=0).max())
        count = env.num_envs
        self._lanes = np.zeros((count, 3))
        self._lanes[:, 1] = np.arange(count) * max(
            LANE, 2.0 * extent, self._geometry.ground_width()
        )
        names = env.simulator.model.body_names
        mount = self._view.mount or next(iter(session.bodies), names[-1])
        self._mount = names.index(mount) if mount in names else len(names) - 1
        with server.atomic():
            self._light(env.task.scene)
            self._floor = server.scene.add_frame("/floor", show_axes=False)
            self._add_floor(env.task.scene)
            self._handles = [
                self._add_part(number, part) for number, part in enumerate(self._geometry.parts)
            ]
        self._aim()
        self.show()

    def show(self) -> None:
        """Moves everything to where it is now."""
        self._positions, self._quaternions = self._poses()
        shift = self._shift()
        # Every second check is alike, so the floor may stay under the camera.
        period = 2.0 * self._session.env.task.scene.checker_size
        height = self._session.env.task.scene.floor_height
        self._floor.position = (shift[0] % period, shift[1] % period, shift[2] + height)
        for part, handle in zip(self._geometry.parts, self._handles, strict=True):
            place = self._positions[:, part.body] + self._lanes + shift
            handle.batched_positions = place.astype("f4")
            handle.batched_wxyzs = self._quaternions[:, part.body].astype("f4")

    def joint_ranges(self) -> dict[int, tuple[float, float]]:
        """Returns the limits of joints by their coordinate; see `Geometry`."""
        return self._geometry.joint_ranges()

    def _poses(self) -> tuple[np.ndarray, np.ndarray]:
        return self._geometry.poses(self._session.env.state.joint_q)

    def _shift(self) -> np.ndarray:
        """Where the world's origin is drawn: moved against the robot that the camera follows."""
        if not self.follows:
            return np.zeros(3)
        mask = self._view.follow_mask if self._view.mount is not None else (1.0, 1.0, 0.0)
        return -self._positions[self._session.robot, self._mount] * mask

    def _aim(self) -> None:
        """Lets cameras begin where the task's camera is."""
        camera = self._server.initial_camera
        camera.position, camera.look_at = self._view.eye, self._view.target
        camera.up, camera.fov = (0.0, 0.0, 1.0), float(np.radians(self._view.fovy))
        self._server.on_client_connect(self._aim_upright)

    def _aim_upright(self, client: viser.ClientHandle) -> None:
        """Lets the camera of an upright screen stand back, since that shows little to the sides,
        and look lower, since controls cover its lower half."""
        camera = client.camera
        if camera.image_height <= camera.image_width:
            return
        eye, target = np.array(self._view.eye), np.array(self._view.target)
        distance = _STAND_BACK * float(np.linalg.norm(eye - target))
        lower = distance * np.tan(np.radians(self._view.fovy) / 4.0)
        with client.atomic():
            camera.position = target + _STAND_BACK * (eye - target)
            camera.look_at = target - (0.0, 0.0, lower)

    def _light(self, scene: Scene) -> None:
        api = self._server.scene
        api.configure_environment_map(None)  # the pictures of surroundings would be downloaded
        api.configure_default_lights(False)
        direction = np.asarray(scene.light_direction) / np.linalg.norm(scene.light_direction)
        api.add_light_directional(
            "/light", color=(255, 255, 255), intensity=2.4, position=tuple(-8.0 * direction),
            cast_shadow=True,
        )  # fmt: skip
        api.add_light_ambient("/ambient", color=(255, 255, 255), intensity=0.8)
        sky = np.full((1, 1, 3), scene.sky_color) * 255.0
        api.set_background_image(sky.astype(np.uint8), format="png")
        far = 0.5 * _FLOOR_CHECKS * scene.checker_size
        api.configure_fog(0.4 * far, 0.95 * far, color=scene.sky_color)

    def _add_floor(self, scene: Scene) -> None:
        for name, color, odd in (
            ("light", scene.floor_color, 0), ("dark", scene.floor_color2, 1),
        ):  # fmt: skip
            vertices, faces = _checks(scene.checker_size, odd)
            self._server.scene.add_mesh_simple(
                f"/floor/{name}", vertices, faces, color=color, cast_shadow=False,
                receive_shadow=0.35,
            )  # fmt: skip

    def _add_part(self, number: int, part: Part) -> Any:
        handle = self._server.scene.add_batched_meshes_simple(
            f"/robots/part{number}",
            part.vertices,
            part.faces,
            self._quaternions[:, part.body],
            self._positions[:, part.body] + self._lanes + self._shift(),
            batched_colors=part.color,
            opacity=part.opacity if part.opacity < 1.0 else None,
            lod="off",
        )
        name = next((n for n, body in self._session.bodies.items() if body == part.body), None)
        if name is not None:
            handle.on_click(lambda event: self._clicked(event, part, name))
        return handle

    def _clicked(self, event: Any, part: Part, name: str) -> None:
        """Finds out which of the robots was clicked: the one that the ray passes nearest."""
        origin, direction = np.asarray(event.ray_origin), np.asarray(event.ray_direction)
        direction = direction / np.linalg.norm(direction)
        centre = part.vertices.mean(0)
        places = [
            _turn(quaternion, centre) + position
            for position, quaternion in zip(
                self._positions[:, part.body], self._quaternions[:, part.body], strict=True
            )
        ]
        offsets = np.array(places) + self._lanes + self._shift() - origin
        away = offsets - (offsets @ direction)[:, None] * direction
        self._push(direction, name, int(np.linalg.norm(away, axis=1).argmin()))


def _turn(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotates a vector (3,) by a unit quaternion (w, x, y, z)."""
    w, axis = quaternion[0], quaternion[1:]
    twice = 2.0 * np.cross(axis, vector)
    return vector + w * twice + np.cross(axis, twice)


def _checks(side: float, odd: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes every second check of a floor around the origin; `odd` picks which."""
    half = _FLOOR_CHECKS // 2
    cells = [(i, j) for i in range(-half, half) for j in range(-half, half) if (i + j) % 2 == odd]
    corners = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float)
    lower = np.array([(i, j, 0) for i, j in cells], float)
    vertices = ((lower[:, None] + corners) * side).reshape(-1, 3)
    first = 4 * np.arange(len(cells))[:, None, None]
    faces = (first + np.array([(0, 1, 2), (0, 2, 3)])).reshape(-1, 3)
    return vertices, faces
