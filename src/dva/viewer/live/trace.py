"""What the robots got and did in the last steps, for plots."""

from collections import deque

import numpy as np
import torch

__all__ = ["Trace"]

LENGTH = 300
"""Steps that are kept; 60 make one second in the tasks of the package."""


class Trace:
    """Keeps rewards and actions of the last steps of N robots.

    Args:
        control_dt: seconds of a step.
        length: steps that are kept.
    """

    def __init__(self, control_dt: float, length: int = LENGTH) -> None:
        self._control_dt = control_dt
        self._rows: deque[tuple[float, np.ndarray, np.ndarray]] = deque(maxlen=length)
        self.steps = 0
        """Steps so far, those included that are no longer kept."""

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, reward: torch.Tensor, action: torch.Tensor) -> None:
        """Takes the rewards (N,) and actions (N, A) of a step."""
        self.steps += 1
        time = self.steps * self._control_dt
        self._rows.append((time, reward.detach().cpu().numpy(), action.detach().cpu().numpy()))

    def clear(self) -> None:
        """Forgets all steps; time begins anew."""
        self._rows.clear()
        self.steps = 0

    def times(self) -> np.ndarray:
        """Returns when the kept steps ended, (T,) [s]."""
        return np.array([time for time, _, _ in self._rows], float)

    def rewards(self, robot: int) -> np.ndarray:
        """Returns the rewards (T,) of one robot."""
        return np.array([reward[robot] for _, reward, _ in self._rows], float)

    def actions(self, robot: int) -> np.ndarray:
        """Returns the actions (A, T) of one robot."""
        return np.array([action[robot] for _, _, action in self._rows], float).T
