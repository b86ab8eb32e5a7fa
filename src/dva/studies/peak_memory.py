"""Figure 10: peak memory of one iteration, by several routes, and how it grows.

It grows with the horizon, the size of the images and the number of geoms, which are spheres added
to the robot that touch and weigh nothing.

Each case runs in a process of its own, in which a tiny iteration has loaded the code. On a CPU the
figure is the growth of the process from there to the peak of two iterations (Linux only); on CUDA
it is the peak that torch allocated beyond that point.

Source: D.Va, Figure 10.
"""

import dataclasses
import gc
import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import torch

from dva import tasks
from dva.compute.device import resolve_device
from dva.compute.errors import UsageError, usage_errors
from dva.runs import default_config
from dva.studies.report import Report, StudyConfig, add_row, new_figure, silent
from dva.studies.routes import LABELS, ROUTES, Route, draw_bars, open_route
from dva.tasks import Task

__all__ = ["Config", "draw", "measure", "measure_case", "summary"]


Sweep = Literal["horizon", "image-size", "geoms"]
SWEEPS = {"horizon": "horizon", "image size": "image_size", "geoms": "added_geoms"}
"""What grows, and its field in a row."""


@dataclasses.dataclass
class Config(StudyConfig):
    """Measure peak memory by several routes, over image size, horizon and geoms (Figure 10)."""

    tasks: tuple[str, ...] = ("cartpole", "hopper", "ant", "humanoid")
    """Tasks to measure."""
    sweep_task: str = "cartpole"
    """Task on which horizon, image size and the number of geoms grow."""
    sweeps: tuple[Sweep, ...] = ("horizon", "image-size", "geoms")
    """What grows, one after the other."""
    state_storage: Literal["full", "recompute"] = "recompute"
    """How all routes keep the physics for its gradient: of little, the images' part shows."""
    num_envs: int | None = None
    """Environments; None: 8, with --full 32."""
    horizon: int | None = None
    """Steps of a rollout; None: 16, with --full 32."""
    image_size: int | None = None
    """Side of the images; None: 48, with --full 84."""


def measure(config: Config, report: Report = silent) -> dict[str, Any]:
    """Measures every case; returns one row each."""
    with usage_errors():
        device = resolve_device(config.device)
    if device.type == "cpu" and not Path("/proc/self/clear_refs").exists():
        raise UsageError("Peak memory on a CPU is measured on Linux only. Use --device cuda.")
    size = {
        "num_envs": config.num_envs or (32 if config.full else 8),
        "horizon": config.horizon or (32 if config.full else 16),
        "image_size": config.image_size or (84 if config.full else 48),
    }
    grown = {
        "horizon": [{"horizon": factor * size["horizon"] // 2} for factor in (1, 2, 4)],
        "image-size": [{"image_size": factor * size["image_size"] // 4} for factor in (3, 4, 6)],
        "geoms": [{"added_geoms": geoms} for geoms in (0, 16, 64)],
    }
    cases = [("task", {"task": task, **size}) for task in config.tasks]
    for sweep in config.sweeps:
        for change in grown[sweep]:
            case = {"task": config.sweep_task, **size, **change}
            cases.append((sweep.replace("-", " "), case))
    rows: list[dict[str, Any]] = []
    for sweep, case in cases:
        for route in ROUTES:
            arguments = {
                "route": route, "seed": config.seed, "device": config.device,
                "state_storage": config.state_storage, **case,
            }  # fmt: skip
            add_row(rows, {"sweep": sweep, **measure_apart(**arguments)}, report)
    return {"size": size, "rows": rows}


def measure_apart(**arguments: Any) -> dict[str, Any]:
    """Measures one case in a process of its own; arguments as for `measure_case`."""
    code = (
        "import json, sys; from dva.studies.peak_memory import measure_case; "
        "print(json.dumps(measure_case(**json.loads(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, json.dumps(arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_case(
    route: str,
    task: str,
    seed: int,
    device: str,
    state_storage: str,
    added_geoms: int = 0,
    **size: int,
) -> dict[str, Any]:
    """Measures one case in this process."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        name = _decorated(tasks.get(task), added_geoms, Path(folder)) if added_geoms else task
        # the decorated task's networks are those of the task
        networks = default_config(task, "dva", "paper").algorithm
        changes: dict[str, Any] = {
            "state_storage": state_storage,
            "trunk_size": networks.trunk_size,
            "actor_hidden": networks.actor_hidden,
            "critic_hidden": networks.critic_hidden,
            **size,
        }
        small = {**changes, "num_envs": 2, "horizon": 2}
        with open_route(route, name, seed, device, threads, **small) as warm_up:
            warm_up.run()
        del warm_up
        with open_route(route, name, seed, device, threads, **changes) as measured:
            peak = _peak_growth(measured)
    frames = (size["horizon"] + 3) * size["num_envs"] * 3 * size["image_size"] ** 2
    return {
        "route": route, "task": task, **size, "added_geoms": added_geoms,
        "peak_mb": peak / 2**20, "uint8_frames_mb": frames / 2**20,
    }  # fmt: skip


def _peak_growth(route: Route) -> int:
    """Returns the bytes by which two iterations raise the peak of the memory in use."""
    on_gpu = route.algorithm.device.type == "cuda"
    if on_gpu:
        route.run()  # cuDNN tries its convolutions on these sizes
    gc.collect()
    if on_gpu:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        route.run()
    return (torch.cuda.max_memory_allocated() if on_gpu else _resident("VmHWM")) - before


def _decorated(task: Task, count: int, folder: Path) -> str:
    """Registers the task with so many spheres on its robot's bodies, for the eye only; returns the
    new task's name."""
    tree = ElementTree.parse(task.mjcf)
    bodies = list(tree.iter("body"))
    for i in range(count):
        angle = 2.4 * i  # the spheres wind around the body's axis
        position = f"{0.1 * math.cos(angle):.3f} {0.1 * math.sin(angle):.3f} {0.3 * i / count:.3f}"
        ElementTree.SubElement(
            bodies[i % len(bodies)], "geom", type="sphere", size="0.03", pos=position,
            contype="0", conaffinity="0", mass="0", rgba="0.8 0.3 0.2 1",
        )  # fmt: skip
    path = folder / task.mjcf.name
    tree.write(path)
    inertia = task.mjcf.with_suffix(".inertia.json")
    if inertia.exists():
        shutil.copy(inertia, folder)
    name = f"{task.name}-decorated-{count}"
    tasks.register(dataclasses.replace(task, name=name, robot=str(path)))
    return name


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}.")


def draw(result: dict[str, Any]) -> Any:
    """Draws bars over tasks, and lines over horizon, image size and geoms."""
    figure, axes = new_figure(4)
    draw_bars(axes[0, 0], [row for row in result["rows"] if row["sweep"] == "task"], "peak_mb")
    for panel, (sweep, key) in enumerate(SWEEPS.items(), start=1):
        for route in ROUTES:
            points = [
                (row[key], row["peak_mb"])
                for row in result["rows"]
                if row["sweep"] == sweep and row["route"] == route
            ]
            x, y = zip(*points, strict=True) if points else ((), ())
            axes[0, panel].plot(x, y, "o-", label=LABELS[route])
        axes[0, panel].set_xlabel(key.replace("_", " "))
        axes[0, panel].legend(fontsize=7)
    for one in axes.flat:
        one.set_ylim(bottom=0.0)
        one.set_ylabel("peak memory of an iteration (MB)")
    return figure


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    lines = []
    seen: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in result["rows"]:
        size = [row[name] for name in ("num_envs", "horizon", "image_size", "added_geoms")]
        seen.setdefault((row["sweep"], row["task"], *size), {})[row["route"]] = row["peak_mb"]
    for (sweep, task, n, h, size, geoms), peaks in seen.items():
        ratio = peaks["visual-shac"] / peaks["dva"]
        text = ", ".join(f"{LABELS[route]} {peaks[route]:.0f} MB" for route in ROUTES)
        lines.append(
            f"{sweep:10} {task:9} N {n} h {h} {size} px +{geoms} geoms: {text} ({ratio:.1f} x)"
        )
    return lines
