"""`dva pretrained`: the trained policies that come with the package."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from dva import runs
from dva.cli.flags import parse

__all__ = ["run"]


@dataclasses.dataclass
class PretrainedFlags:
    """List the trained policies of the package, or unpack one as a run folder.

    The folder is for every command that takes a run. Training cannot go on from it.
    """

    task: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TASK")] = None
    """Task whose policy to unpack; without it the policies are listed."""
    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="FOLDER")] = None
    """Where to unpack it; by default runs/TASK-pretrained."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(PretrainedFlags, arguments, "pretrained")
    if flags.task is None:
        for name in runs.pretrained_names():
            trained = runs.pretrained_about(name)["trained"]
            found = trained["return"]
            print(f"{name}: returns {found['mean']:,.0f} ± {found['std']:,.0f}")
            print(f"  {trained['command']}  ({trained['device']}, {trained['date']})")
        return 0
    folder = flags.folder or Path("runs") / f"{flags.task}-pretrained"
    runs.unpack_pretrained(flags.task, folder)
    print(f"run      {folder}")
    print(f"next     dva eval {folder} --video {flags.task}.mp4")
    return 0
