"""Pictures of the robots for people, of any size, apart from what the robots perceive."""

from collections.abc import Sequence

import torch

from dva.compute import arguments
from dva.sensors import Camera, Scene, View, check_mount
from dva.sim import Skeleton, State

__all__ = ["Spectator"]


class Spectator:
    """Renders states from a view; builds one camera for each size and number of robots.

    Args:
        model: the robot.
        view: where the camera stands.
        scene: what surrounds the robot.
        device: device of the states.
        threads: CPU threads; None: as many as torch has.
        capture: replay the camera's launches as one graph.

    Raises:
        ValueError: the robot has no body named `view.mount`.
    """

    def __init__(
        self,
        model: Skeleton,
        view: View,
        scene: Scene,
        device: torch.device,
        threads: int | None = None,
        capture: bool = True,
    ) -> None:
        check_mount(view, model.body_names, model.path)
        self._model, self._view, self._scene, self._device = model, view, scene, device
        self._threads, self._capture = threads, capture
        self._cameras: dict[tuple[int, tuple[int, int]], Camera] = {}

    def render(self, state: State, image_size: int | Sequence[int] = 256) -> torch.Tensor:
        """Renders n states: uint8 (n, 3, H, W).

        Args:
            state: of n robots.
            image_size: (height, width), or one number for a square [pixels].

        Raises:
            ValueError: the image size is not allowed.
        """
        size = arguments.image_size(image_size)
        key = (state.num_envs, size)
        if key not in self._cameras:
            self._cameras[key] = Camera(
                self._model,
                self._view,
                self._scene,
                state.num_envs,
                image_size=size,
                device=self._device,
                threads=self._threads,
                capture=self._capture,
            )
        return self._cameras[key].render(state.joint_q.detach())["rgb"].clone()
