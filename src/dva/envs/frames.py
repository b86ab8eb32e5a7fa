"""Images of a rollout, each kept once."""

import torch
from torch import Tensor

__all__ = ["FrameBuffer"]


class FrameBuffer:
    """Keeps a rollout's frames once, as uint8, and assembles observations from them by index.

    Slot k - 1 + t holds the frame of step t; the k - 1 slots before hold the older frames of the
    first observation. After a reset the missing older frames are the episode's first frame.

    Args:
        pixels: uint8 (N, 3 k, H, W), the first observation, oldest frame first.
        frame_stack: k.
        horizon: h, the number of steps that follow.

    Raises:
        ValueError: the channels are not three for each stacked frame.
    """

    def __init__(self, pixels: Tensor, frame_stack: int, horizon: int) -> None:
        num_envs, channels, height, width = pixels.shape
        if channels != 3 * frame_stack:
            raise ValueError(
                f"Pixels have {channels} channels; with frame_stack {frame_stack} they must have "
                f"{3 * frame_stack}."
            )
        self.num_envs = num_envs
        self.frame_stack = frame_stack
        slots = horizon + frame_stack
        self.frames = torch.empty(
            (slots, num_envs, 3, height, width), dtype=torch.uint8, device=pixels.device
        )
        stacked = pixels.reshape(num_envs, frame_stack, 3, height, width)
        self.frames[:frame_stack] = stacked.transpose(0, 1)
        # Row of `frames`, flattened over (slot, environment), of every frame of every observation,
        # and of the episode's first frame.
        rows = torch.arange(slots * num_envs, device=pixels.device).view(slots, num_envs)
        self._rows = rows
        self._index = torch.empty(
            (horizon + 1, num_envs, frame_stack), dtype=torch.int64, device=pixels.device
        )
        self._first_row = rows[0]
        self._write_index(0)

    def append(self, step: int, frame: Tensor, new_episode: Tensor) -> None:
        """Adds the frame that observation `step` ends with.

        Args:
            step: 1..h, in order.
            frame: uint8 (N, 3, H, W).
            new_episode: bool (N,), where this frame is the first of an episode.
        """
        slot = self.frame_stack - 1 + step
        self.frames[slot] = frame
        self._first_row = torch.where(new_episode, self._rows[slot], self._first_row)
        self._write_index(step)

    def observations(self, start: int, stop: int) -> Tensor:
        """Assembles the observations of samples start..stop, uint8 (B, 3 k, H, W).

        Sample i is environment i % N at step i // N.
        """
        index = self._index.view(-1, self.frame_stack)[start:stop].reshape(-1)
        frames = self.frames.flatten(0, 1).index_select(0, index)
        return frames.view(-1, 3 * self.frame_stack, *frames.shape[-2:])

    def observation(self, step: int) -> Tensor:
        """Assembles the observations of one step, uint8 (N, 3 k, H, W)."""
        return self.observations(step * self.num_envs, (step + 1) * self.num_envs)

    def _write_index(self, step: int) -> None:
        rows = self._rows[step : step + self.frame_stack].T
        torch.maximum(rows, self._first_row[:, None], out=self._index[step])
