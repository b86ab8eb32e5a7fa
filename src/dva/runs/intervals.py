"""When a run saves checkpoints and makes videos."""

import time

__all__ = ["CHECKPOINT_SECONDS", "FIRST_VIDEO_SECONDS", "CheckpointClock", "VideoClock", "crossed"]

CHECKPOINT_SECONDS = 60.0
"""Between checkpoints, unless an interval is given: their cost does not depend on how long an
iteration takes."""
FIRST_VIDEO_SECONDS = 60.0
"""Wall time before the first video; the next ones come after twice, four times, ... as long."""


def crossed(interval: int, before: int, after: int) -> bool:
    """Tells whether a multiple of `interval` lies in (before, after]."""
    return after // interval > before // interval


class CheckpointClock:
    """Says when a checkpoint is due: once a minute, or every so many environment steps."""

    def __init__(self, interval: int | None) -> None:
        self._interval = interval
        self._last = time.perf_counter()

    def due(self, before: int, after: int) -> bool:
        """Tells whether one is due after an iteration from `before` to `after` steps."""
        if self._interval is None:
            return time.perf_counter() - self._last >= CHECKPOINT_SECONDS
        return crossed(self._interval, before, after)

    def restart(self) -> None:
        """Counts the minute from now."""
        self._last = time.perf_counter()


class VideoClock:
    """Says when a video is due: after 1, 2, 4, 8, ... minutes, or every so many steps; 0: never."""

    def __init__(self, interval: int | None) -> None:
        self._interval = interval
        self._next = FIRST_VIDEO_SECONDS

    def due(self, before: int, after: int, wall_time: float) -> bool:
        """Tells whether one is due after an iteration from `before` to `after` steps, `wall_time`
        seconds into the run."""
        if self._interval is None:
            return wall_time >= self._next
        return self._interval > 0 and crossed(self._interval, before, after)

    def plan(self, wall_time: float) -> None:
        """Plans the next one after `wall_time` seconds."""
        while self._next <= wall_time:
            self._next *= 2
