"""Says where the time of finished runs went, from their metrics: medians over iterations.

    python benchmarks/phases.py runs/before runs/after --save benchmarks/results/before-after.json

One row per run, made by any version: seconds of an iteration and of its phases, environment steps a
second, peak memory. The first iterations, slow for other reasons, are left out.
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from _results import add_output_flags, phase_medians, report
from dva.runs.metrics import read_metrics

SKIPPED = 10


def summarise(path: Path) -> dict[str, Any]:
    """Gives one row of the table."""
    stored = yaml.safe_load((path / "config.yaml").read_text())
    rows = read_metrics(path / "metrics.jsonl")[SKIPPED:]
    times = [row["wall_time"] for row in rows]
    seconds = statistics.median(b - a for a, b in zip(times, times[1:], strict=False))
    names = ("task", "num_envs", "horizon", "image_size")
    config = {name: _find(stored["config"], name) for name in names}
    return {
        "run": path.name,
        "commit": stored["sessions"][-1]["commit"],
        **config,
        "iterations": len(rows),
        "seconds": round(seconds, 4),
        **phase_medians(rows),
        "steps_per_s": round(config["num_envs"] * config["horizon"] / seconds),
        "peak_memory_mb": round(rows[-1]["peak_memory_mb"]),
    }


def _find(config: Mapping[str, Any], name: str) -> Any:
    """Finds a field in whichever part of a configuration a version keeps it; None: in none."""
    if name in config:
        return config[name]
    parts = [part for part in config.values() if isinstance(part, Mapping)]
    return next((x for x in (_find(part, name) for part in parts) if x is not None), None)


def main() -> None:
    """Parses the command line, summarises and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    add_output_flags(parser)
    args = parser.parse_args()
    report([summarise(path) for path in args.runs], args.json, args.save)


if __name__ == "__main__":
    main()
