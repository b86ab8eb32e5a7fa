"""Times iterations of one run in one and in several processes.

    python benchmarks/distributed.py cartpole ant --save benchmarks/results/distributed-cpu.json
    python benchmarks/distributed.py ant --processes 1 2 4 8 --device cuda --preset fast

One row per task and number of processes: median and least seconds of an iteration and medians of
its phases in process 0; CPU seconds of an iteration, of all processes together; and what process 0
exchanges in an iteration, with the seconds that it waits for it. The number of environments is the
same for any number of processes, and on a CPU so is the number of cores that they have together.
Each repetition runs every number of processes once, so that on a machine that others use too
neighbours in time can be compared: `times_first` is the median over repetitions of the least
seconds against those of the first number of processes.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from torch import distributed

from _results import add_output_flags, phase_medians, report, synchronize
from dva.compute.distributed import ALONE, Group, Processes
from dva.runs import TrainConfig, build, default_config

WARM_UP = 5
"""Iterations that are not counted; on CUDA the fourth records graphs."""


class Counted(Processes):
    """Counts exchanges, and the seconds that they take; those of recorded blocks only once."""

    count, seconds = 0, 0.0

    def sum(self, *arguments: Any) -> Any:
        return self._timed(super().sum, *arguments)

    def gather(self, *arguments: Any) -> Any:
        return self._timed(super().gather, *arguments)

    def copy_from_first(self, *arguments: Any) -> Any:
        return self._timed(super().copy_from_first, *arguments)

    def max(self, *arguments: Any) -> Any:
        return self._timed(super().max, *arguments)

    def _timed(self, exchange: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        result = exchange(*arguments)
        self.seconds += time.perf_counter() - began
        self.count += 1
        return result


def work(rank: int, size: int, config: TrainConfig, iterations: int, meeting: str, to: Connection):
    """Trains in one of the processes; sends the metrics of every iteration that counts."""
    group: Group = ALONE
    if size > 1:
        backend = "cpu:gloo,cuda:nccl" if config.run.device == "cuda" else "gloo"
        distributed.init_process_group(
            backend, init_method=f"file://{meeting}", rank=rank, world_size=size
        )
        group = Counted(rank, size, rank, size)
    rows = []
    with build(config, group) as built:
        for _ in range(WARM_UP + iterations):
            if isinstance(group, Counted):
                group.count, group.seconds = 0, 0.0
            began, busy = time.perf_counter(), time.process_time()
            metrics = built.algorithm.iterate()
            synchronize(built.env.device)
            metrics["seconds"] = time.perf_counter() - began
            metrics["cpu_seconds"] = time.process_time() - busy
            if isinstance(group, Counted):
                metrics["exchanges"], metrics["seconds_exchange"] = group.count, group.seconds
            rows.append(metrics)
    group.leave()
    to.send(rows[WARM_UP:])


def train(args: argparse.Namespace, task: str, size: int) -> list[dict[str, Any]]:
    """Trains for some iterations; returns the metrics of process 0, with all CPU seconds."""
    config = default_config(task, args.algo, args.preset, device=args.device)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(size)]
        processes = [
            context.Process(
                target=work, args=(rank, size, config, args.iterations, f"{folder}/meeting", to)
            )
            for rank, (_, to) in enumerate(pipes)
        ]
        for process in processes:
            process.start()
        found = [results.recv() for results, _ in pipes]
        for process in processes:
            process.join()
    for rows in zip(*found, strict=True):
        rows[0]["cpu_seconds"] = sum(row["cpu_seconds"] for row in rows)
    return found[0]


def measure(args: argparse.Namespace, task: str) -> list[dict[str, Any]]:
    """Gives one row for each number of processes."""
    rows: dict[int, list[dict[str, Any]]] = {size: [] for size in args.processes}
    least: dict[int, list[float]] = {size: [] for size in args.processes}
    for _ in range(args.pairs):
        for size in args.processes:
            found = train(args, task, size)
            rows[size] += found
            least[size].append(min(row["seconds"] for row in found))
    first = least[args.processes[0]]
    config = default_config(task, args.algo, args.preset, device=args.device)

    def middle(name: str, of: list[dict[str, Any]]) -> float:
        return round(statistics.median(row.get(name, 0) for row in of), 4)

    return [
        {
            "task": task,
            "algo": args.algo,
            "preset": config.preset,
            "processes": size,
            "num_envs": config.env.num_envs,
            "cores": os.cpu_count(),
            "iterations": len(found),
            "seconds": middle("seconds", found),
            "seconds_least": round(min(least[size]), 4),
            "times_first": round(
                statistics.median(a / b for a, b in zip(least[size], first, strict=True)), 3
            ),
            "cpu_seconds": middle("cpu_seconds", found),
            "exchanges": middle("exchanges", found),
            "seconds_exchange": middle("seconds_exchange", found),
            **phase_medians(found),
        }
        for size, found in rows.items()
    ]


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--algo", default="dva")
    parser.add_argument("--preset", help="default: the device's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pairs", type=int, default=3, help="repetitions")
    parser.add_argument("--iterations", type=int, default=20, help="in each repetition")
    add_output_flags(parser)
    args = parser.parse_args()
    report([row for task in args.tasks for row in measure(args, task)], args.json, args.save)


if __name__ == "__main__":
    main()
