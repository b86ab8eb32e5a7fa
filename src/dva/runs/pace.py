"""Planning by a run's own pace: the environment steps that fit into a limit of minutes."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PacedPlan", "Planner", "plan_at"]

SLOW_START = 5
"""Iterations that are left out at first: they compile kernels and record graphs."""
ITERATIONS = 20
"""Iterations before the first plan, those of the slow start included."""
EARLIEST, LATEST = 0.05, 0.5
"""Shares of the time: before the first the pace says little of the whole; at the second the plan is
set even after fewer iterations."""
MARGIN = 0.05
"""Share of the time left for checkpoints and videos, which the pace leaves out, and for changes of
the pace. Learning rates must not be cut off before their end."""
CORRECTIONS = tuple(tenths / 10 for tenths in range(2, 10))
"""Shares of the time at which a plan is compared with what was done since the one before."""
SMALLEST = 0.02
"""Share of a plan that a correction must change; less is left as it is."""


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


def plan_at(plans: Sequence[PacedPlan], env_steps: int) -> int:
    """Returns the environment steps that were planned when so many were finished.

    Args:
        plans: one or more, in order.
        env_steps: finished environment steps.
    """
    found = plans[0].before
    for plan in plans:
        if env_steps >= plan.since:
            found = plan.env_steps
    return found


class Planner:
    """Measures the iterations of one session, plans, and corrects the plan.

    Args:
        seconds: how long the session may take, set-up included.
        most: environment steps that are planned at most.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._planned = most
        self._measured: list[tuple[int, float]] = []
        """Environment steps and seconds of the iterations since the latest plan."""
        self._since: float | None = None
        """Seconds of the session at the latest plan; None before the first."""
        self._corrections = list(CORRECTIONS)

    def measure(self, steps: int, seconds: float) -> None:
        """Takes the environment steps and the seconds of one iteration."""
        self._measured.append((steps, seconds))

    def plan(self, done: int, elapsed: float) -> int | None:
        """Returns the environment steps to plan from now on, or None where nothing changes.

        Args:
            done: finished environment steps.
            elapsed: seconds of the session so far.
        """
        share = elapsed / self._seconds
        if share >= 1 or not self._due(share):
            return None
        if self._since is None:
            kept = self._measured[min(SLOW_START, len(self._measured) // 2) :]
            seconds = sum(taken for _, taken in kept)
        else:  # all that took time counts, checkpoints and videos too
            kept, seconds = self._measured, elapsed - self._since
        steps = sum(taken for taken, _ in kept)
        left = (1 - MARGIN) * (self._seconds - elapsed)
        # Whole iterations: the last one would otherwise go on beyond the plan, and the limit.
        iterations = max(1, int(left * len(kept) / seconds))
        planned = min(done + iterations * steps // len(kept), self._most)
        first, self._since, self._measured = self._since is None, elapsed, []
        while self._corrections and self._corrections[0] <= share:
            del self._corrections[0]
        least = 0.0 if first else SMALLEST * self._planned
        if abs(planned - self._planned) <= least:
            return None
        self._planned = planned
        return planned

    def _due(self, share: float) -> bool:
        """Tells whether it is time for the first plan, or for a correction."""
        count = len(self._measured)
        if self._since is not None:
            return count > 0 and bool(self._corrections) and share >= self._corrections[0]
        return (count >= ITERATIONS and share >= EARLIEST) or (count >= 2 and share >= LATEST)
