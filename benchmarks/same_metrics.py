"""Compares the untimed metrics of two sets of runs, bit for bit, row by row.

    python benchmarks/same_metrics.py runs/before/hopper-dva runs/after/hopper-dva

Runs may be of different versions: every metric that both have is compared, except times and memory.
The exit status is 1 where anything differs. A change of structure must leave all of them the same.
"""

import argparse
import sys
from pathlib import Path

from dva.runs.metrics import is_timing, read_metrics


def first_difference(before: Path, after: Path) -> str | None:
    """Describes where two runs first differ; None if they do not."""
    ours, theirs = (read_metrics(path / "metrics.jsonl") for path in (before, after))
    if len(ours) != len(theirs):
        return f"{len(ours)} and {len(theirs)} rows"
    for one, other in zip(ours, theirs, strict=True):
        for name in one.keys() & other.keys():
            if not is_timing(name) and one[name] != other[name]:
                return f"iteration {one['iteration']}: {name} is {one[name]} and {other[name]}"
    return None


def main() -> int:
    """Parses the command line and compares; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("before", type=Path, help="folder of a run, or of runs")
    parser.add_argument("after", type=Path, help="the same with the other version")
    args = parser.parse_args()
    names = sorted(path.parent.name for path in args.before.glob("*/metrics.jsonl")) or ["."]
    status = 0
    for name in names:
        difference = first_difference(args.before / name, args.after / name)
        print(f"{name}: {difference or 'the same'}")
        status |= difference is not None
    return status


if __name__ == "__main__":
    sys.exit(main())
