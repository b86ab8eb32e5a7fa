"""`dva demo`: trains Cartpole from pixels on the CPU, and films what was learned."""

import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dva.cli import eval_command, train_command
from dva.cli.flags import find_value, require_values
from dva.compute.errors import UsageError

__all__ = ["run"]

HELP = """usage: dva demo [flags of `dva train cartpole`]

Train a cart to swing up a pole from camera images alone, on the CPU in under 10 minutes, and film
the policy. Ctrl-C stops it and says how to go on.

flags, such as:
  --minutes M     stop after M minutes
  --seed S        another seed
  --run-dir DIR   where to write (default: runs/demo-DATE-TIME)

All flags: dva train cartpole --help"""

DEFAULTS = ("--preset", "cpu", "--device", "cpu", "--evaluation-episodes", "0")
"""The evaluation that films the policy is the only one."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status.

    Raises:
        UsageError: a flag is wrong, or continues another run.
        SystemExit: help was asked for.
    """
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        raise SystemExit(0)
    require_values(arguments, "demo")
    if find_value(arguments, "--resume") is not None:
        raise UsageError("--resume continues a run; the demo is a new one. Use: dva train --resume")
    chosen = find_value(arguments, "--run-dir") or find_value(arguments, "--run_dir")
    folder = Path(chosen or f"runs/demo-{time.strftime('%Y%m%d-%H%M%S')}")
    place = () if chosen else ("--run-dir", str(folder))
    status = train_command.run(["cartpole", *DEFAULTS, *place, *arguments])
    if status != 0:
        return status
    video = folder / "videos" / "evaluation.mp4"
    device = find_value(arguments, "--device") or "cpu"
    eval_command.run([str(folder), "--device", device, "--video", str(video)])
    print(f"\nThe policy's video:  {video}\nIts learning curve:  {folder / 'curve.png'}\nThen try:")
    for program, words, text in (
        ("dva", "list", "other tasks"),
        ("dva", "train cartpole --seed 1", "another seed"),
        ("tensorboard", f"--logdir {shlex.quote(str(folder.parent))}", "all metrics"),
        ("dva", "train cartpole --help", "every hyperparameter"),
    ):
        print(f"  {f'{_call(program)} {words}':<44}  {text}")
    return 0


def _call(program: str) -> str:
    """Returns how to call a program of this environment, which may not be the shell's."""
    if shutil.which(program):
        return program
    return shlex.quote(str(Path(sys.executable).parent / program))
