"""Returns and lengths of the last finished episodes."""

from collections import deque

import torch
from torch import Tensor

from dva.compute.distributed import ALONE, Group

__all__ = ["EpisodeHistory"]


class EpisodeHistory:
    """Keeps return and length of the last finished episodes.

    Args:
        size: number of episodes to keep.
        group: the processes whose episodes count; all of them keep all.
    """

    def __init__(self, size: int = 64, group: Group = ALONE) -> None:
        self._size, self._group = size, group
        self._episodes: deque[tuple[float, float]] = deque(maxlen=size)

    def add(self, done: Tensor, returns: Tensor, lengths: Tensor) -> None:
        """Adds the episodes that finished in a rollout, in the order of time and environments.

        Args:
            done: bool (h, N).
            returns: (h, N), undiscounted return of the episode so far.
            lengths: (h, N), steps of the episode so far.
        """
        # One transfer instead of three.
        rows = torch.stack([done.double(), returns.double(), lengths.double()])
        rows = self._group.gather(rows, 2).cpu()
        finished = rows[0] > 0
        self._episodes.extend(
            zip(rows[1][finished].tolist(), rows[2][finished].tolist(), strict=True)
        )

    def mean(self) -> tuple[float | None, float | None]:
        """Averages return and length; both are None until an episode has finished."""
        if not self._episodes:
            return None, None
        count = len(self._episodes)
        returns, lengths = zip(*self._episodes, strict=True)
        return sum(returns) / count, sum(lengths) / count

    def state(self) -> Tensor:
        """Returns the episodes as float64 (size + 1, 2): their number in the first row, then return
        and length of each, then zeros."""
        state = torch.zeros(self._size + 1, 2, dtype=torch.float64)
        state[0, 0] = len(self._episodes)
        if self._episodes:
            state[1 : len(self._episodes) + 1] = torch.tensor(
                list(self._episodes), dtype=torch.float64
            )
        return state

    def load_state(self, state: Tensor) -> None:
        """Restores what `state` returned."""
        count = int(state[0, 0])
        self._episodes.clear()
        self._episodes.extend((row[0], row[1]) for row in state[1 : count + 1].tolist())
