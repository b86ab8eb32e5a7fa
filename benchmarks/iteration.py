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
import dataclasses
import statistics
import time
from typing import Any

from dva.runs.threads import lanes

from _results import add_output_flags, phase_medians, report, synchronize
from dva import tasks
from dva.learning import ALGORITHMS
from dva.runs import default_config
from dva.runs.evaluation import make_env
from dva.runs.metrics import peak_memory_mb

WARM_UP = 5
"""Iterations that are not counted; on CUDA the fourth records graphs."""


def measure(args: argparse.Namespace, task: str, num_envs: int | None) -> dict[str, Any]:
    """Trains for some iterations and gives one row of the table."""
    asked = {"horizon": args.horizon, "image_size": args.image_size}
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
    learner_config = config.learner
    if num_envs is not None:
        learner_config = dataclasses.replace(learner_config, num_envs=num_envs)
    config = dataclasses.replace(config, learner=learner_config)
    with lanes(config) as threads:
        env = make_env(config, learner_config.num_envs, threads=threads)
        learner = ALGORITHMS[args.algo].learner_class(
            env, learner_config, threads=threads, cuda_graphs=config.cuda_graphs
        )
        rows, seconds = [], []
        for i in range(WARM_UP + args.iterations):
            synchronize(learner.device)
            began = time.perf_counter()
            metrics = learner.iterate()
            synchronize(learner.device)
            if i >= WARM_UP:
                seconds.append(time.perf_counter() - began)
                rows.append(metrics)
        env.close()
    steps = learner_config.num_envs * learner_config.horizon
    return {
        "task": task,
        "algo": args.algo,
        "preset": config.preset,
        "num_envs": learner_config.num_envs,
        "horizon": learner_config.horizon,
        "image_size": learner_config.image_size,
        "device": str(learner.device),
        "threads": threads,
        "seconds": round(statistics.median(seconds), 4),
        **phase_medians(rows),
        "steps_per_s": round(steps / statistics.median(seconds)),
        "peak_memory_mb": round(peak_memory_mb(learner.device)),
    }


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("tasks", nargs="+", help=f"out of {', '.join(tasks.names())}")
    parser.add_argument("--algo", default="dva", help=f"one of {', '.join(ALGORITHMS)}")
    parser.add_argument("--preset", help="default: the device's")
    parser.add_argument("--num-envs", type=int, nargs="+", help="default: the preset's")
    parser.add_argument("--horizon", type=int, help="default: the preset's")
    parser.add_argument("--image-size", type=int, help="default: the preset's")
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
