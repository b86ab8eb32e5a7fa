"""Shares of the kernels in a control step, forward and backward: what bounds the simulator.

    python benchmarks/kernels.py hopper humanoid --save FILE.json

Launches every kernel of a control step one by one on one thread and adds up the fastest time of
each launch by kernel, the few microseconds that a launch costs in Python included. One row per task
and direction.
"""

import argparse
import time
from collections import defaultdict
from typing import Any

import torch

from _results import add_output_flags, report
from dva import tasks
from dva.sim import WarpSimulator, load_model


def measure(task_name: str, num_envs: int, repeats: int) -> list[dict[str, Any]]:
    """Measures one task on the CPU."""
    task = tasks.get(task_name)
    model = load_model(task.mjcf, inertia=task.inertia)
    sim = WarpSimulator(model, num_envs, substeps=task.substeps, threads=1, capture=False)
    device = torch.device("cpu")
    joint_q, joint_qd = task.start(num_envs, torch.Generator().manual_seed(0), device)
    action = torch.zeros(num_envs, model.num_actions)
    shard = sim._shards[0]
    programs = shard.lease().programs
    shard.forward((joint_q, joint_qd, action, sim.origins(joint_q)), programs)
    rows = []
    for direction in ("forward", "backward"):
        commands = getattr(programs, direction)._commands
        fastest = [float("inf")] * len(commands)
        for _ in range(repeats):
            for index, command in enumerate(commands):
                began = time.perf_counter()
                command.launch()
                fastest[index] = min(fastest[index], time.perf_counter() - began)
        seconds: defaultdict[str, float] = defaultdict(float)
        for command, spent in zip(commands, fastest, strict=True):
            seconds[command.kernel.func.__name__] += spent
        total = sum(seconds.values())
        shares = sorted(seconds.items(), key=lambda item: -item[1])
        rows.append(
            {
                "task": task_name,
                "num_envs": num_envs,
                "direction": direction,
                "launches": len(commands),
                "control_step_ms": round(1e3 * total, 2),
                "shares": {name: round(s / total, 3) for name, s in shares},
            }
        )
    return rows


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("task", nargs="+", help=f"of {', '.join(tasks.names())}")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=20)
    add_output_flags(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in args.task for row in measure(name, args.num_envs, args.repeats)]
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
