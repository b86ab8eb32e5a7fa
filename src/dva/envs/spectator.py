"""Pictures of the robots for people, in any size, apart from what the robots perceive."""

from collections.abc import Sequence

import torch

from dva.compute import arguments
from dva.sensors import Camera, Scene, View
from dva.sim import Skeleton, State

__all__ = ["Spectator"]


class Spectator:
    """Pictures states from a view; builds a camera for each size and number of robots once.

    Args:
        model: the robot.
        view: where the camera stands.
        scene: what surrounds the robot.
        device: where the states are.
        threads: CPU threads; None: as many as torch has.
        capture: replay the camera's launches as one graph.
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
        self._model, self._view, self._scene, self._device = model, view, scene, device
        self._threads, self._capture = threads, capture
        self._cameras: dict[tuple[int, tuple[int, int]], Camera] = {}

    def render(self, state: State, image_size: int | Sequence[int] = 256) -> torch.Tensor:
        """Pictures n states: uint8 (n, 3, H, W).

        Args:
            state: of n robots.
            image_size: height and width in pixels, one number for a square.

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
