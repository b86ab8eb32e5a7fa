"""Says where the time of finished runs went, from their metrics: medians over iterations.

    python benchmarks/phases.py runs/before runs/after --save benchmarks/results/before-after.json

One row per run, made by any version: seconds of an iteration and of its phases, environment steps a
second, peak memory. The first iterations, slow for other reasons, are left out.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import yaml

from _results import add_output_flags, phase_medians, report
from dva.runs.metrics import read_metrics

SKIPPED = 10


def summarize(path: Path) -> dict[str, Any]:
    """Gives one row of the table."""
    config = yaml.safe_load((path / "config.yaml").read_text())
    rows = read_metrics(path / "metrics.jsonl")[SKIPPED:]
    times = [row["wall_time"] for row in rows]
    seconds = statistics.median(b - a for a, b in zip(times, times[1:], strict=False))
    run = config["config"]
    learner = run["learner"]
    return {
        "run": path.name,
        "commit": config["sessions"][-1]["commit"],
        "task": run["task"],
        "num_envs": learner["num_envs"],
        "horizon": learner["horizon"],
        "image_size": learner["image_size"],
        "iterations": len(rows),
        "seconds": round(seconds, 4),
        **phase_medians(rows),
        "steps_per_s": round(learner["num_envs"] * learner["horizon"] / seconds),
        "peak_memory_mb": round(rows[-1]["peak_memory_mb"]),
    }


def main() -> None:
    """Parses the command line, summarizes and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    add_output_flags(parser)
    args = parser.parse_args()
    report([summarize(path) for path in args.runs], args.json, args.save)


if __name__ == "__main__":
    main()
