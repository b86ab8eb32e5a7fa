"""Counts what one training iteration must do, and what that costs at this machine's own rates.

    python benchmarks/floors.py cartpole hopper --preset cpu

One row per task: arithmetic of encoder and trunk (multiply-adds count as two operations) in the
rollout and in the regression (forward, and backward at twice that), bytes that the physics writes
for its adjoint, rays, and the dependent kernel launches of the physics. Floors in seconds follow
from rates measured in the same run, with all threads: the best of a bfloat16 or float32 matrix
product for arithmetic, of a copy for memory. The physics' floor counts each of its arrays as moved
three times: written, read by the adjoint, and the adjoint's own; a ray's is 10 ns on a core.
"""

import argparse
import time
from typing import Any

import torch

from _results import add_output_flags, report, synchronize
from dva import tasks
from dva.compute.precision import resolve_precision
from dva.compute.warp_runtime import start_warp
from dva.policies import Encoder
from dva.runs import default_config
from dva.sim import load_model
from dva.sim.warp.workspace import StepSize, Workspace
from dva.spec import Entry

RAY_SECONDS = 1e-8
LAUNCHES_PER_SUBSTEP = 7
LAUNCHES_PER_MASS_MATRIX = 4


def rates(device: torch.device) -> dict[str, float]:
    """Measures operations and bytes per second."""
    dtype = resolve_precision("auto", device)
    size = 8192 if device.type == "cuda" else 2048
    a = torch.randn(size, size, device=device, dtype=dtype)
    seconds = min(_timed(lambda: a @ a, device) for _ in range(5))
    block = torch.empty(2**28 if device.type == "cuda" else 2**26, device=device)
    other = torch.empty_like(block)
    copy = min(_timed(lambda: other.copy_(block), device) for _ in range(5))
    return {"operations": 2 * size**3 / seconds, "bytes": 2 * 4 * block.numel() / copy}


def _timed(run: Any, device: torch.device) -> float:
    began = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - began


def count(task_name: str, preset_name: str, device: torch.device) -> dict[str, Any]:
    """Counts one iteration of D.Va from pixels."""
    config = default_config(task_name, "dva", preset_name)
    env, horizon, size = config.env, config.algorithm.horizon, config.env.image_size
    task = tasks.get(task_name)
    model = load_model(task.mjcf, inertia=task.inertia)
    images = env.num_envs * horizon
    pixels = Entry("pixels", "image", (3, size, size), "uint8", env.frame_stack, "", 0.0, 255.0)
    encoder = Encoder(pixels)
    layers = zip(encoder.convolutions, encoder.pixel_counts, strict=True)
    per_image = sum(
        2 * sum(p.numel() for p in layer.parameters()) * pixels for layer, pixels in layers
    )
    per_image += 2 * encoder.output_size * config.algorithm.trunk_size
    step = StepSize(task.control_dt, task.substeps, task.mass_matrix_interval)
    workspace = Workspace(model, step, 1, torch.float32, torch.device("cpu"))
    launches = LAUNCHES_PER_SUBSTEP * step.substeps
    launches += LAUNCHES_PER_MASS_MATRIX * step.mass_matrices + 2
    return {
        "task": task_name,
        "preset": preset_name,
        "num_envs": env.num_envs,
        "horizon": horizon,
        "image_size": size,
        "rollout_operations": per_image * images,
        "regression_operations": 3 * per_image * images,
        "physics_bytes": workspace.block.numel() * 4 * images,
        "rays": images * size * size,
        "serial_launches": 2 * launches * horizon,
    }


def main() -> None:
    """Parses the command line, counts, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("tasks", nargs="+", help=f"out of {', '.join(tasks.names())}")
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--device", default="cpu")
    add_output_flags(parser)
    args = parser.parse_args()
    start_warp()
    device = torch.device(args.device)
    measured = rates(device)
    threads = torch.get_num_threads()
    rows = []
    for name in args.tasks:
        row = count(name, args.preset, device)
        floors = {
            "rollout": row["rollout_operations"] / measured["operations"],
            "regression": row["regression_operations"] / measured["operations"],
            "physics": 3 * row["physics_bytes"] / measured["bytes"],
        }
        if device.type == "cpu":
            floors["rendering"] = row["rays"] * RAY_SECONDS / threads
        row |= {f"floor_{key}_s": round(value, 5) for key, value in floors.items()}
        row |= {
            "operations_per_s": round(measured["operations"] / 1e9, 1) * 1e9,
            "bytes_per_s": round(measured["bytes"] / 1e9, 1) * 1e9,
        }
        rows.append(row)
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
