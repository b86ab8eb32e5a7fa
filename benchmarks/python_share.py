"""Measures which share of an iteration on one CPU thread Python takes.

    pip install py-spy
    python benchmarks/python_share.py cartpole hopper

A sampling profiler looks 200 times a second at what runs: the interpreter, torch's Python bindings,
or compiled code called from there. One row per task: shares of all samples within training
iterations, and the interpreter's and the bindings' share of each block. The profiler needs the
right to trace a process (on Linux, root or ptrace_scope 0).
"""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from _results import add_output_flags, report

BLOCKS = {
    "rollout": ".rollout (",
    "action_gradient": "._finite_action_gradient (",
    "regression": "._improve_actor (",
    "critic": ".fit_critic (",
}
"""How the functions of the blocks begin in a stack."""


def measure(task: str, iterations: int) -> dict[str, Any]:
    """Profiles a training and gives one row of the table."""
    folder = Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
        stacks = Path(scratch) / "stacks.txt"
        profiler = ["record", "--native", "--rate", "200", "--format", "raw", "--output"]
        training = ["iteration.py", task, "--preset", "cpu", "--device", "cpu", "--threads", "1"]
        subprocess.run(
            [
                str(Path(sysconfig.get_path("scripts")) / "py-spy"), *profiler, str(stacks), "--",
                sys.executable, str(folder / training[0]), *training[1:],
                "--iterations", str(iterations),
            ],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return {"task": task, **_shares(stacks.read_text().splitlines())}


def _shares(lines: list[str]) -> dict[str, Any]:
    """Counts samples by what ran and in which block."""
    ran: Counter[str] = Counter()
    blocks: Counter[str] = Counter()
    python: Counter[str] = Counter()
    for line in lines:
        stack, count = line.rsplit(" ", 1)
        if ".train_once (" not in stack:
            continue
        kind = _kind(stack.rsplit(";", 1)[-1])
        ran[kind] += int(count)
        block = next((name for name, text in BLOCKS.items() if text in stack), "rest")
        blocks[block] += int(count)
        python[block] += int(count) * (kind != "compiled")
    total = sum(ran.values())
    return {
        "samples": total,
        "interpreter": round(ran["interpreter"] / total, 3),
        "bindings": round(ran["bindings"] / total, 3),
        **{f"{name}_of_all": round(blocks[name] / total, 3) for name in BLOCKS},
        **{f"python_of_{name}": round(python[name] / blocks[name], 3) for name in BLOCKS},
    }


def _kind(frame: str) -> str:
    """Says what the innermost frame of a stack belongs to."""
    if ".py:" in frame or "libpython" in frame or "(python" in frame:
        return "interpreter"
    return "bindings" if "libtorch_python" in frame else "compiled"


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--iterations", type=int, default=60)
    add_output_flags(parser)
    args = parser.parse_args()
    report([measure(task, args.iterations) for task in args.tasks], args.json, args.save)


if __name__ == "__main__":
    main()
