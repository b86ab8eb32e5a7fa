"""Times the updates of algorithms that learn from a replay: gradient steps per second.

    python benchmarks/updates.py cartpole
    python benchmarks/updates.py humanoid --algo drqv2 curl --preset paper fast --device cuda
    python benchmarks/updates.py cartpole --algo drqv2 --set batch_size=512 precision=float32

One row per task, algorithm and preset: updates and transitions per second of the time that updates
take (`seconds_updates`), environment steps per second of whole iterations, and the memory at its
peak. Any algorithm can be named that counts its "updates" and has the phase "updates". What it
collects before the first update is shortened as far as it can be (`seed_steps`).
"""

import argparse
import statistics
import time
from typing import Any

from _results import add_output_flags, report, synchronize
from dva import learning, tasks
from dva.compute.errors import UsageError
from dva.runs import build, default_config
from dva.runs.metrics import peak_memory_mb

WARM_UP = 5
"""Iterations with updates that are not counted; on CUDA the fourth records graphs."""
MOST_COLLECTED = 10_000
"""Iterations without an update after which an algorithm is given up."""


def measure(args: argparse.Namespace, task: str, algo: str, preset: str | None) -> dict[str, Any]:
    """Trains for some iterations and gives one row of the table."""
    fields = learning.get(algo).config.__dataclass_fields__
    shortened = {"seed_steps": args.seed_steps} if "seed_steps" in fields else {}
    config = default_config(
        task,
        algo,
        preset,
        device=args.device,
        threads=args.threads,
        cuda_graphs=args.cuda_graphs,
        **{**shortened, **dict(args.set)},
    )
    rows, seconds = [], []
    with build(config) as built:
        device, algorithm = built.env.device, built.algorithm
        _collect(algorithm, algo)
        for i in range(WARM_UP + args.iterations):
            before = algorithm.env_steps
            synchronize(device)
            began = time.perf_counter()
            metrics = algorithm.iterate()
            synchronize(device)
            if i >= WARM_UP:
                seconds.append(time.perf_counter() - began)
                rows.append(metrics)
        steps = algorithm.env_steps - before
    in_updates = statistics.median(row["seconds_updates"] for row in rows)
    updates = rows[-1]["updates"]
    batch = getattr(config.algorithm, "batch_size", None)
    return {
        "task": task,
        "algo": algo,
        "preset": config.preset,
        "observe": "+".join(config.env.observe),
        "num_envs": config.env.num_envs,
        "image_size": config.env.image_size,
        "batch_size": batch,
        "updates": updates,
        "cuda_graphs": args.cuda_graphs,
        "device": str(device),
        "threads": built.threads,
        "seconds": round(statistics.median(seconds), 4),
        "seconds_updates": round(in_updates, 4),
        "updates_per_s": round(updates / in_updates, 2),
        "samples_per_s": None if batch is None else round(batch * updates / in_updates),
        "steps_per_s": round(steps / statistics.median(seconds)),
        "peak_memory_mb": round(peak_memory_mb(device)),
    }


def _collect(algorithm: Any, name: str) -> None:
    """Iterates until an iteration has updates."""
    for _ in range(MOST_COLLECTED):
        metrics = algorithm.iterate()
        if "seconds_updates" not in metrics:
            raise UsageError(f"{name} has no phase updates. Measure it with iteration.py.")
        if metrics["updates"]:
            return
    raise UsageError(f"{name} made no update in {MOST_COLLECTED:,} iterations.")


def _setting(text: str) -> tuple[str, Any]:
    """Reads NAME=VALUE; a VALUE that is no number is a text."""
    name, _, value = text.partition("=")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("tasks", nargs="+", help=f"out of {', '.join(tasks.names())}")
    parser.add_argument("--algo", nargs="+", default=["drqv2", "curl"])
    parser.add_argument("--preset", nargs="+", default=[None], help="default: the device's")
    parser.add_argument(
        "--set", type=_setting, nargs="+", default=[], metavar="NAME=VALUE",
        help="fields of the configuration, such as batch_size=512 or observe=state",
    )  # fmt: skip
    parser.add_argument("--seed-steps", type=int, default=2_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads; default: one for each core")
    parser.add_argument("--cuda-graphs", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--iterations", type=int, default=20)
    add_output_flags(parser)
    args = parser.parse_args()
    rows = [
        measure(args, task, algo, preset)
        for task in args.tasks
        for algo in args.algo
        for preset in args.preset
    ]
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
