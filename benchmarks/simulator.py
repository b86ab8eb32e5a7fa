"""Times the simulator: one training horizon forward and backward, without cameras or networks.

    python benchmarks/simulator.py hopper
    python benchmarks/simulator.py cartpole humanoid --threads 2 --sweep --json

One row per number of environments: task, num_envs, horizon, threads, device, the median seconds of
the forward and of the backward pass over the horizon, their smallest values, environment steps a
second of both together, and the peak memory that the measurement added.
"""

import argparse
import gc
import statistics
import time
from pathlib import Path

import torch

from _results import add_output_flags, report, synchronize
from dva import tasks
from dva.sim import State, WarpSimulator, load_model
from dva.tasks import Task

SWEEP = (16, 64, 256, 1024)
_STATUS = Path("/proc/self/status")


def measure(task_name: str, args: argparse.Namespace, num_envs: int) -> dict[str, object]:
    """Measures one number of environments."""
    task = tasks.get(task_name)
    device = torch.device(args.device)
    before = _reset_peak_memory(device)
    sim = WarpSimulator(
        load_model(task.mjcf, inertia=task.inertia),
        num_envs,
        device=device,
        control_dt=task.control_dt,
        substeps=task.substeps,
        mass_matrix_interval=task.mass_matrix_interval,
        state_storage=args.state_storage,
        threads=args.threads,
    )
    generator = torch.Generator(device).manual_seed(0)
    start = sim.new_state(*task.start(num_envs, generator, device))
    size = (args.horizon, num_envs, sim.model.num_actions)
    forward, backward = [], []
    for repeat in range(args.repeats + 1):
        actions = (2 * torch.rand(size, generator=generator, device=device) - 1).requires_grad_()
        times = _horizon(sim, task, start, actions)
        if repeat:  # the first one records the launches
            forward.append(times[0])
            backward.append(times[1])
    total = statistics.median(forward) + statistics.median(backward)
    return {
        "task": task_name,
        "num_envs": num_envs,
        "horizon": args.horizon,
        "device": args.device,
        "threads": sim.threads,
        "state_storage": args.state_storage,
        "forward_s": round(statistics.median(forward), 5),
        "backward_s": round(statistics.median(backward), 5),
        "forward_min_s": round(min(forward), 5),
        "backward_min_s": round(min(backward), 5),
        "env_steps_per_s": round(num_envs * args.horizon / total),
        "peak_memory_mb": None if before is None else round(_peak_memory(device) - before, 1),
    }


def _horizon(
    sim: WarpSimulator, task: Task, state: State, actions: torch.Tensor
) -> tuple[float, float]:
    """Gives the seconds of a forward and of a backward pass of the summed reward."""
    synchronize(sim.device)
    began = time.perf_counter()
    total = torch.zeros((), device=sim.device)
    for action in actions:
        state = sim.step(state, action)
        total = total + task.reward(state.joint_q, state.joint_qd, action).sum()
    synchronize(sim.device)
    middle = time.perf_counter()
    total.backward()
    synchronize(sim.device)
    return middle - began, time.perf_counter() - middle


def _reset_peak_memory(device: torch.device) -> float | None:
    """Starts measuring peak memory, in MB; returns what is in use already, None where unknown."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    if not _STATUS.exists():
        return None
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark of this process
    return _status_mb("VmRSS")


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return _status_mb("VmHWM")


def _status_mb(key: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("task", nargs="+", help=f"of {', '.join(tasks.names())}")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=32)
    parser.add_argument("--sweep", action="store_true", help=f"num_envs over {SWEEP}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--state-storage", choices=("full", "recompute"), default="full")
    parser.add_argument("--repeats", type=int, default=10)
    add_output_flags(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sizes = SWEEP if args.sweep else (args.num_envs,)
    rows = [measure(name, args, num_envs) for name in args.task for num_envs in sizes]
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
