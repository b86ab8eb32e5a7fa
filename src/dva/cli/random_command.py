"""`dva random`: films a random agent."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from dva.cli.flags import parse

__all__ = ["run"]


@dataclasses.dataclass
class RandomFlags:
    """Film an agent that acts at random, to see a task without training."""

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
    """Task; `dva list` shows all. MODULE:NAME for one of your own."""
    video: Path | None = None
    """MP4 file to write: four robots, one tile each, in real time. None: TASK-random.mp4, with
    --zero TASK-zero.mp4."""
    steps: int = 240
    """Number of control steps; 60 make one second."""
    zero: bool = False
    """Keep all actions at zero instead: the robot moves by gravity alone."""
    seed: int = 0
    """Seed of the starts and actions."""
    device: str = "auto"
    """auto, cpu or cuda."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(RandomFlags, arguments, "random")
    from dva.runs.evaluation import film_agent

    agent = "zero" if flags.zero else "random"
    video = flags.video or Path(f"{flags.task.rpartition(':')[2]}-{agent}.mp4")
    mean = film_agent(flags.task, video, flags.steps, flags.zero, flags.seed, flags.device)
    print(f"mean reward per step  {mean:.3f}")
    print(f"video                 {video}")
    return 0
