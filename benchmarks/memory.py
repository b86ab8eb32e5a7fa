"""Measures whether memory or open files grow: over making and closing, and over a long training.

    python benchmarks/memory.py --minutes 40 --save benchmarks/results/memory-cpu.json

Three rows, of a tiny Cartpole (4 environments, 32 x 32 pixels): environments made and closed,
whole runs of two iterations (environment, algorithm, files) made and dropped, both in this process,
and one training in a process of its own. Each says the resident memory in MiB and the open files
after the first cycle, or the first minutes, and at the end; of training also the slope over its
second half, by least squares, in MiB an hour. Linux only: it reads /proc.
"""

import argparse
import contextlib
import gc
import io
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dva
from _results import add_output_flags, report
from dva.cli import main as run_command

TINY = (
    "train cartpole --preset cpu --device cpu --num-envs 4 --horizon 4 --image-size 32 "
    "--evaluation-episodes 0"
)
PERIOD = 10.0
"""Seconds between samples of a training."""


def sample(process: int | str = "self") -> tuple[float, int]:
    """Returns a process' resident memory in MiB and its number of open files."""
    folder = Path("/proc") / str(process)
    pages = int((folder / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list((folder / "fd").iterdir()))


def cycle(what: str, act: Callable[[int], object], cycles: int) -> dict[str, Any]:
    """Does something again and again, and compares after the first time and after the last."""
    samples = []
    for number in range(cycles):
        act(number)
        gc.collect()
        samples.append(sample())
    (first, first_files), (last, last_files) = samples[0], samples[-1]
    return {
        "what": what,
        "cycles": cycles,
        "first_mb": round(first, 1),
        "last_mb": round(last, 1),
        "first_files": first_files,
        "last_files": last_files,
    }


def make_and_close(number: int) -> None:
    """Makes environments, steps them once, and closes them."""
    env = dva.make("cartpole", num_envs=4, image_size=32, device="cpu", threads=1)
    env.reset(seed=number)
    env.step(torch.zeros(4, 1))
    env.close()


def train_briefly(number: int) -> None:
    """Trains a run of two iterations, and drops it."""
    with tempfile.TemporaryDirectory() as folder:
        flags = f"{TINY} --threads 1 --video-interval 0 --env-steps 32 --run-dir {folder}/run"
        with contextlib.redirect_stdout(io.StringIO()):
            status = run_command(shlex.split(flags))
    assert status == 0


def train_long(minutes: float, flags: str) -> dict[str, Any]:
    """Trains in a process of its own and watches it."""
    samples: list[tuple[float, float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        given = f"{TINY} --env-steps 1600000000 --minutes {minutes} --run-dir {folder}/run {flags}"
        process = subprocess.Popen(
            [sys.executable, "-m", "dva", *shlex.split(given)], stdout=subprocess.DEVNULL
        )
        began = time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PERIOD)
            if process.returncode is not None:
                break
            samples.append((time.monotonic() - began, *sample(process.pid)))
        rows = (Path(folder) / "run" / "metrics.jsonl").read_text().count("\n")
    assert process.returncode == 0
    return {"what": f"training {flags}".strip(), "iterations": rows, **summarize(samples)}


def summarize(samples: list[tuple[float, float, int]]) -> dict[str, Any]:
    """Makes a row of samples (seconds, MiB, open files)."""
    seconds, memory, files = (np.array(column) for column in zip(*samples, strict=True))
    half = len(samples) // 2
    slope = np.polyfit(seconds[half:] / 3600, memory[half:], 1)[0] if half > 1 else float("nan")
    at = {f"mb_at_{m}_min": memory[np.argmax(seconds >= 60 * m)] for m in (1, 2, 5, 10, 20, 40)
          if seconds[-1] >= 60 * m}  # fmt: skip
    return {
        "minutes": round(seconds[-1] / 60, 1),
        **{name: round(float(value), 1) for name, value in at.items()},
        "last_mb": round(float(memory[-1]), 1),
        "largest_mb": round(float(memory.max()), 1),
        "slope_mb_per_hour": round(float(slope), 2),
        "first_files": int(files[0]),
        "last_files": int(files[-1]),
    }


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the long training")
    parser.add_argument(
        "--flags", default="--threads 1 --video-interval 0", help="of the long training"
    )
    add_output_flags(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        cycle("environments made and closed", make_and_close, args.cycles),
        cycle("runs made and dropped", train_briefly, args.cycles),
        train_long(args.minutes, args.flags),
    ]
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
