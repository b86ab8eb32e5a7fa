"""Stacked readings: the one place that knows how the newest k readings make an observation.

The rule: an observation joins the newest k readings along the first axis, oldest first; where an
episode is younger than k readings, its first reading stands in for the missing ones.
"""

import torch
from torch import Tensor

from dva.spec import Entry

__all__ = ["FrameBuffer", "first_stack", "newest", "push", "restart"]


def first_stack(reading: Tensor, frame_stack: int) -> Tensor:
    """Stacks the first reading of an episode (N, C, ...) to (N, k C, ...)."""
    return reading.repeat(1, frame_stack, *[1] * (reading.dim() - 2))


def push(stack: Tensor, reading: Tensor) -> Tensor:
    """Adds a reading (N, C, ...) to stacks (N, k C, ...), and drops the oldest."""
    width = reading.shape[1]
    # Two copies into new memory take a third of the time of torch.cat on slices.
    pushed = torch.empty_like(stack)
    pushed[:, :-width], pushed[:, -width:] = stack[:, width:], reading
    return pushed


def restart(stack: Tensor, reading: Tensor, mask: Tensor) -> Tensor:
    """Refills the stacks with a reading where `mask`, bool (N,), is True."""
    rows = mask.view(-1, *[1] * (stack.dim() - 1))
    return torch.where(rows, first_stack(reading, stack.shape[1] // reading.shape[1]), stack)


def newest(stack: Tensor, entry: Entry) -> Tensor:
    """Returns a view of the newest reading (N, C, ...) in stacks (N, k C, ...)."""
    return stack[:, -entry.channels :]


class FrameBuffer:
    """Keeps each reading of a rollout once, and assembles observations from them by index.

    Slot k - 1 + t holds the reading of step t; the k - 1 slots before hold the older readings of
    the first observation.

    Args:
        entry: describes the readings.
        stack: (N, k C, ...), the first observation.
        horizon: number h of steps that follow.

    Raises:
        ValueError: the stack does not fit the entry.
    """

    def __init__(self, entry: Entry, stack: Tensor, horizon: int) -> None:
        if tuple(stack.shape[1:]) != entry.stacked_shape:
            raise ValueError(
                f"{entry.name!r} is {tuple(stack.shape[1:])}, but its entry says "
                f"{entry.stacked_shape}."
            )
        num_envs, k = stack.shape[0], entry.frame_stack
        self.num_envs = num_envs
        self.entry = entry
        slots = horizon + k
        self.frames = torch.empty(
            (slots, num_envs, *entry.shape), dtype=stack.dtype, device=stack.device
        )
        self.frames[:k] = stack.detach().reshape(num_envs, k, *entry.shape).transpose(0, 1)
        # Row of `frames`, flattened over (slot, environment), of every reading of every
        # observation, and of the episode's first reading.
        rows = torch.arange(slots * num_envs, device=stack.device).view(slots, num_envs)
        self._rows = rows
        self._index = torch.empty(
            (horizon + 1, num_envs, k), dtype=torch.int64, device=stack.device
        )
        self._first_row = rows[0]
        self._write_index(0)

    def append(self, step: int, reading: Tensor, new_episode: Tensor) -> None:
        """Adds the reading that observation `step` ends with.

        Args:
            step: 1..h, in order.
            reading: (N, C, ...); its graph is not kept.
            new_episode: bool (N,), where this reading is the first of an episode.
        """
        slot = self.entry.frame_stack - 1 + step
        self.frames[slot] = reading.detach()
        self._first_row = torch.where(new_episode, self._rows[slot], self._first_row)
        self._write_index(step)

    def observations(self, start: int, stop: int) -> Tensor:
        """Assembles the observations of samples start..stop, (B, k C, ...).

        Sample i is environment i % N at step i // N.
        """
        return self._assemble(self.rows[start:stop])

    def gather(self, samples: Tensor) -> Tensor:
        """Assembles the observations of samples (B,) in any order, (B, k C, ...)."""
        return self._assemble(self.rows[samples])

    @property
    def rows(self) -> Tensor:
        """(samples, k), which of `frames`, flattened over (slot, environment), a sample stacks."""
        return self._index.view(-1, self.entry.frame_stack)

    def observation(self, step: int) -> Tensor:
        """Assembles the observations of one step, (N, k C, ...)."""
        return self.observations(step * self.num_envs, (step + 1) * self.num_envs)

    def _assemble(self, rows: Tensor) -> Tensor:
        frames = self.frames.flatten(0, 1).index_select(0, rows.reshape(-1))
        return frames.view(-1, *self.entry.stacked_shape)

    def _write_index(self, step: int) -> None:
        rows = self._rows[step : step + self.entry.frame_stack].T
        torch.maximum(rows, self._first_row[:, None], out=self._index[step])
