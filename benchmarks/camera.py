"""Times the camera: pictures per second over the number of environments.

    python benchmarks/camera.py hopper --image-size 84 --num-envs 64
    python benchmarks/camera.py cartpole --image-size 48 --sweep --renderers caster mujoco

One row per number of environments and renderer: frames_per_s, and the quartiles of the repeats.
Poses are random around the start and the floor is moving, as in training.
"""

import argparse
import statistics
import time

import torch

from _results import add_output_flags, report, synchronize
from dva import robots, tasks
from dva.sensors import Camera
from dva.sensors.camera import RENDERERS, RendererName
from dva.sim import load_model

SWEEP = (16, 64, 256, 1024)


def measure(
    task_name: str,
    num_envs: int,
    image_size: int,
    device: str,
    threads: int | None,
    repeats: int,
    renderer: RendererName,
) -> dict[str, object]:
    """Renders `repeats` times after one warm-up that compiles, and gives one row of the table."""
    task = tasks.get(task_name)
    model = load_model(robots.mjcf_path(task.robot))
    camera = Camera(
        model, task.view, task.scene, num_envs, image_size, device=device, threads=threads,
        renderer=renderer,
    )  # fmt: skip
    generator = torch.Generator(device).manual_seed(0)
    joint_q, _ = task.start(num_envs, generator, torch.device(device))
    camera.render(joint_q)
    camera.render(joint_q)
    rates = []
    for _ in range(repeats):
        joint_q = joint_q + 0.02
        synchronize(device)
        began = time.perf_counter()
        camera.render(joint_q)
        synchronize(device)
        rates.append(num_envs / (time.perf_counter() - began))
    low, middle, high = statistics.quantiles(rates, n=4)
    return {
        "task": task_name,
        "num_envs": num_envs,
        "image_size": image_size,
        "renderer": camera.renderer,
        "device": device,
        "threads": camera.threads,
        "frames_per_s": round(middle, 1),
        "frames_per_s_quartiles": [round(low, 1), round(high, 1)],
    }


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("task", help=f"one of {', '.join(tasks.names())}")
    parser.add_argument("--image-size", type=int, default=84, help="side of a picture [pixels]")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--renderers", nargs="+", choices=RENDERERS, default=["auto"])
    parser.add_argument("--sweep", action="store_true", help=f"num_envs over {SWEEP}")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=None, help="default: torch's threads")
    parser.add_argument("--repeats", type=int, default=10)
    add_output_flags(parser)
    a = parser.parse_args()
    if a.repeats < 2:
        parser.error(f"--repeats is {a.repeats}; quartiles need at least 2.")
    sizes = SWEEP if a.sweep else (a.num_envs,)
    rows = [
        measure(a.task, n, a.image_size, a.device, a.threads, a.repeats, renderer)
        for renderer in a.renderers
        for n in sizes
    ]
    report(rows, a.json, a.save)


if __name__ == "__main__":
    main()
