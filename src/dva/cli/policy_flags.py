"""Flags of the commands that take the policy of a run: eval, transfer, export."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

__all__ = ["EvaluationFlags", "PolicyFlags"]


@dataclasses.dataclass
class PolicyFlags:
    """Names a policy."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    checkpoint: Literal["latest", "best"] = "latest"
    """Which checkpoint: the last one, or the one with the best return in training."""
    trust_code: bool = False
    """Import code of the run's own that its configuration names as MODULE:NAME."""


@dataclasses.dataclass
class EvaluationFlags(PolicyFlags):
    """Says how a policy is evaluated."""

    episodes: int = 64
    """Number of episodes, one per environment."""
    video: Path | None = None
    """MP4 file for a film of the first four episodes, in real time."""
    json: bool = False
    """Print one JSON object with the return of every episode instead of text."""
    threads: int | None = None
    """CPU threads; None: as many as the run was given."""
