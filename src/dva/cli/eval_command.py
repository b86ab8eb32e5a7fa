"""`dva eval`: evaluates the policy of a run."""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro

from dva import runs
from dva.cli.flags import parse
from dva.cli.policy_flags import EvaluationFlags

__all__ = ["run"]


@dataclasses.dataclass
class EvalFlags(EvaluationFlags):
    """Evaluate the deterministic policy of a run.

    Runs exactly the number of episodes given, one per environment, in new environments whose
    starts come from a fixed seed.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run; with --pretrained a task."""
    pretrained: bool = False
    """Evaluate the trained policy of a task that comes with the package (`dva pretrained`)."""
    device: str = "auto"
    """auto, cpu or cuda."""


@contextmanager
def _opened(flags: EvalFlags) -> Iterator[runs.Run]:
    """Opens the run, or unpacks a trained policy for as long as it is needed."""
    if not flags.pretrained:
        yield runs.Run.open(flags.run, flags.trust_code)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield runs.unpack_pretrained(str(flags.run), folder)


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(EvalFlags, arguments, "eval")
    with _opened(flags) as found_run:
        if not flags.json:
            print(f"Evaluating {flags.episodes} episodes", file=sys.stderr)
        found = runs.evaluate_run(
            found_run,
            flags.episodes,
            flags.checkpoint,
            flags.device,
            flags.video,
            flags.threads,
        )
    if flags.json:
        video = str(flags.video) if flags.video else None
        print(json.dumps({"run": str(flags.run), "video": video, **found.to_dict()}))
        return 0
    print(f"mean return         {found.mean:.2f}")
    print(f"standard deviation  {found.std:.2f}")
    print(f"episode length      {found.episode_length:.1f} steps")
    print(f"episodes            {found.episodes}")
    if flags.video:
        print(f"video               {flags.video}")
    return 0
