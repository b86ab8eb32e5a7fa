"""Compares the simulator's speed in two checkouts, measured in turn on the same machine.

    git worktree add ../before COMMIT
    python benchmarks/versions.py ../before ant humanoid --save benchmarks/results/versions.json

In every round each checkout's own `benchmarks/simulator.py` times all tasks, first one and then the
other; the order changes from round to round. The fastest repeat counts, since whatever else the
machine does only adds. One row per task: both times of a horizon, forward and backward, as medians
over the rounds, and the ratio this / other of each round, its median, least and largest. Both
checkouts import the packages of this interpreter.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from _results import add_output_flags, report

HERE = Path(__file__).resolve().parents[1]


def measure(checkout: Path, tasks: list[str], num_envs: int, repeats: int) -> dict[str, float]:
    """Returns the seconds of a horizon, forward and backward, by task, in a process of its own.

    Raises:
        subprocess.CalledProcessError: its script failed; it has said why.
    """
    folders = (checkout / "src", checkout / "benchmarks")
    found = subprocess.run(
        [
            sys.executable, str(checkout / "benchmarks" / "simulator.py"), *tasks, "--json",
            "--threads", "1", "--num-envs", str(num_envs), "--repeats", str(repeats),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    rows = json.loads(found.stdout)
    return {row["task"]: row["forward_min_s"] + row["backward_min_s"] for row in rows}


def commit_of(checkout: Path) -> str:
    """Returns the commit of a checkout, "-dirty" added if changed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()


def compare(
    other: Path, tasks: list[str], num_envs: int, repeats: int, rounds: int
) -> list[dict[str, object]]:
    """Measures both in turn; returns a row per task."""
    seconds: dict[Path, list[dict[str, float]]] = {HERE: [], other: []}
    for turn in range(rounds):
        for checkout in (HERE, other) if turn % 2 == 0 else (other, HERE):
            seconds[checkout].append(measure(checkout, tasks, num_envs, repeats))
            print(f"round {turn + 1} of {rounds}: {checkout}", file=sys.stderr)
    rows: list[dict[str, object]] = []
    for task in tasks:
        ours, theirs = ([found[task] for found in seconds[x]] for x in (HERE, other))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        rows.append(
            {
                "task": task,
                "num_envs": num_envs,
                "this_s": round(statistics.median(ours), 5),
                "other_s": round(statistics.median(theirs), 5),
                "other_commit": commit_of(other),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_least": round(min(ratios), 3),
                "ratio_largest": round(max(ratios), 3),
                "rounds": rounds,
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="a checkout of another version")
    parser.add_argument("task", nargs="+", help="as for simulator.py")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10, help="of each task in a round")
    parser.add_argument("--rounds", type=int, default=4)
    add_output_flags(parser)
    flags = parser.parse_args(arguments)
    other = flags.other.resolve()
    if not (other / "benchmarks" / "simulator.py").is_file():
        print(f"error: {other} is no checkout: it has no benchmarks/simulator.py", file=sys.stderr)
        return 2
    try:
        rows = compare(other, flags.task, flags.num_envs, flags.repeats, flags.rounds)
    except subprocess.CalledProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report(rows, flags.json, flags.save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
