"""What may change when a run continues, and what must stay as it was."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dva.compute.errors import UsageError
from dva.runs.config import TrainConfig, config_to_dict

__all__ = ["continued_config", "require_continuable"]

LIMITS = ("minutes", "stop_at")
"""Fields that belong to one session of a run, not to the run."""
FILES = ("checkpoint_interval", "video_interval")
"""Fields that say when files are written. Training does not depend on them; which checkpoint is the
best of those saved may."""


def continued_config(stored: TrainConfig) -> TrainConfig:
    """Returns a run's configuration for its next session: the last one's limits do not carry on."""
    run = dataclasses.replace(stored.run, **dict.fromkeys(LIMITS))
    return dataclasses.replace(stored, run=run)


def require_continuable(stored: TrainConfig, given: TrainConfig) -> None:
    """Makes sure that a run can continue with a configuration.

    Args:
        stored: the run's own configuration.
        given: the same, but for `minutes`, `stop_at`, the intervals between checkpoints and
            videos, and the planned `env_steps`.

    Raises:
        UsageError: another value differs; a run with one configuration in its folder and metrics
            of two would mislead.
    """
    before, after = config_to_dict(stored), config_to_dict(given)
    parts = ("env", "algorithm", "run")
    _require_same(before, after, parts)
    for part in parts:
        allowed = (*LIMITS, *FILES, "env_steps") if part == "run" else ()
        _require_same(before[part], after[part], allowed)


def _require_same(
    before: Mapping[str, Any], after: Mapping[str, Any], allowed: Sequence[str]
) -> None:
    for name in before:
        if name not in allowed and before[name] != after.get(name):
            raise UsageError(
                f"The run was started with {name} = {before[name]!r}; it cannot continue with "
                f"{after.get(name)!r}. Only --env-steps, --minutes, --stop-at, "
                "--checkpoint-interval and --video-interval may change. Leave the flag out, or "
                "start a new run without --resume."
            )
