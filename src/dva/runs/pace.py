"""Planning by a run's own pace: the environment steps that fit into a limit of minutes."""

from dataclasses import dataclass

__all__ = ["PacedPlan", "Planner"]

SLOW_START = 5
"""Iterations that are left out at first: they compile kernels and record graphs."""
ITERATIONS = 20
"""Iterations before the plan is set, those of the slow start included."""
EARLIEST, LATEST = 0.05, 0.5
"""Shares of the time: before the first the pace says little of the whole; at the second the plan is
set even after fewer iterations."""
MARGIN = 0.05
"""Share of the time left for checkpoints and videos, which the pace leaves out, and for changes of
the pace. Learning rates must not be cut off before their end."""


@dataclass(frozen=True)
class PacedPlan:
    """What a run planned by its pace. It is kept, so that a resumed run repeats it."""

    env_steps: int
    """Planned environment steps."""
    since: int
    """Finished environment steps from which on the plan counts."""
    before: int
    """Planned environment steps up to there."""
    minutes: float
    """The limit that the plan was to fit."""


class Planner:
    """Measures the iterations of one session, and plans once.

    Args:
        seconds: how long the session may take, set-up included.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._measured: list[tuple[int, float]] = []

    def measure(self, steps: int, seconds: float) -> None:
        """Takes the environment steps and the seconds of one iteration."""
        self._measured.append((steps, seconds))

    def plan(self, done: int, elapsed: float) -> int | None:
        """Returns the environment steps to plan, or None while it is too early, or too late.

        Args:
            done: finished environment steps.
            elapsed: seconds of the session so far.
        """
        count, share = len(self._measured), elapsed / self._seconds
        usual = count >= ITERATIONS and share >= EARLIEST
        slow = count >= 2 and share >= LATEST
        if share >= 1 or not (usual or slow):
            return None
        kept = self._measured[min(SLOW_START, count // 2) :]
        steps, seconds = (sum(values) for values in zip(*kept, strict=True))
        left = (1 - MARGIN) * (self._seconds - elapsed)
        # Whole iterations: the last one would otherwise go on beyond the plan, and the limit.
        iterations = max(1, int(left * len(kept) / seconds))
        return done + iterations * steps // len(kept)
