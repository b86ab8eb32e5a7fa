"""Times whole training iterations, phase by phase.

    python benchmarks/iteration.py hopper --num-envs 16 64
    python benchmarks/iteration.py hopper --preset paper --device cuda --num-envs 64 256 1024 4096
    python benchmarks/iteration.py hopper ant humanoid --preset fast --device cuda
    python benchmarks/iteration.py hopper --num-envs 1 --image-size 16

One row per task and number of environments: medians over the iterations of the seconds of an
iteration and of its phases, environment steps per second, and the memory at its peak. On a CPU the
work is shared as in `dva train`; on CUDA the iterations are recorded as graphs, with rendering and
simulation inside the rollout, unless --no-cuda-graphs is given. One environment with the smallest
images shows what an iteration costs that does not depend on the work: Python, and torch's and
Warp's cost per operation.
"""

import argparse
import statistics
import time
from typing import Any

from _results import add_output_flags, phase_medians, report, synchronize
from dva import learning, tasks
from dva.runs import build, default_config
from dva.runs.metrics import peak_memory_mb

WARM_UP = 5
"""Iterations that are not counted; on CUDA the fourth records graphs."""


def measure(args: argparse.Namespace, task: str, num_envs: int | None) -> dict[str, Any]:
    """Trains for some iterations and gives one row of the table."""
    asked = {
        "num_envs": num_envs, "horizon": args.horizon, "image_size": args.image_size,
        "precision": args.precision,
    }  # fmt: skip
    changes = {name: value for name, value in asked.items() if value is not None}
    config = default_config(
        task,
        args.algo,
        args.preset,
        device=args.device,
        threads=args.threads,
        cuda_graphs=args.cuda_graphs,
        **changes,
    )
    rows, seconds = [], []
    with build(config) as built:
        device = built.env.device
        for i in range(WARM_UP + args.iterations):
            before = built.algorithm.env_steps
            synchronize(device)
            began = time.perf_counter()
            metrics = built.algorithm.iterate()
            synchronize(device)
            if i >= WARM_UP:
                seconds.append(time.perf_counter() - began)
                rows.append(metrics)
        steps = built.algorithm.env_steps - before
    return {
        "task": task,
        "algo": args.algo,
        "preset": config.preset,
        "num_envs": config.env.num_envs,
        "horizon": getattr(config.algorithm, "horizon", None),
        "image_size": config.env.image_size,
        "precision": getattr(config.algorithm, "precision", None),
        "cuda_graphs": args.cuda_graphs,
        "device": str(device),
        "threads": built.threads,
        "seconds": round(statistics.median(seconds), 4),
        **phase_medians(rows),
        "steps_per_s": round(steps / statistics.median(seconds)),
        "peak_memory_mb": round(peak_memory_mb(device)),
    }


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("tasks", nargs="+", help=f"out of {', '.join(tasks.names())}")
    parser.add_argument("--algo", default="dva", help=f"one of {', '.join(learning.names())}")
    parser.add_argument("--preset", help="default: the device's")
    parser.add_argument("--num-envs", type=int, nargs="+", help="default: the preset's")
    parser.add_argument("--horizon", type=int, help="default: the preset's")
    parser.add_argument("--image-size", type=int, help="default: the preset's")
    parser.add_argument("--precision", help="arithmetic of the encoder; default: auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads; default: one for each core")
    parser.add_argument("--cuda-graphs", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--iterations", type=int, default=20)
    add_output_flags(parser)
    args = parser.parse_args()
    rows = [measure(args, task, n) for task in args.tasks for n in args.num_envs or [None]]
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
