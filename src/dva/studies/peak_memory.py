"""Figure 10: peak memory of one iteration, by three routes, and how it grows.

Each case runs in a process of its own. On a CPU the figure is the growth of the process from just
before its first rollout to the peak of two iterations (Linux only); on CUDA it is the peak that
torch allocated beyond that point.

Source: D.Va, Figure 10.
"""

import dataclasses
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import torch

from dva.runs.config import resolve_device
from dva.runs.errors import UsageError
from dva.studies.report import StudyConfig, new_figure
from dva.studies.routes import LABELS, ROUTES, new_route

__all__ = ["Config", "draw", "measure", "measure_case", "summary"]


@dataclasses.dataclass
class Config(StudyConfig):
    """Measure peak memory by three routes, over image size and horizon (Figure 10)."""

    tasks: tuple[str, ...] = ("cartpole", "hopper", "ant", "humanoid")
    """Tasks to measure."""
    sweep_task: str = "cartpole"
    """Task on which image size and horizon grow."""
    state_storage: Literal["full", "recompute"] = "recompute"
    """How all routes keep the physics for its gradient: of little, the images' part shows."""
    num_envs: int | None = None
    """Environments; none: 8, with --full 32."""
    horizon: int | None = None
    """Steps of a rollout; none: 16, with --full 32."""
    image_size: int | None = None
    """Side of the images; none: 48, with --full 84."""


def measure(config: Config) -> dict[str, Any]:
    """Measures every case; returns one row each."""
    if resolve_device(config.device) == "cpu" and not Path("/proc/self/clear_refs").exists():
        raise UsageError("Peak memory on a CPU is measured on Linux only. Use --device cuda.")
    size = {
        "num_envs": config.num_envs or (32 if config.full else 8),
        "horizon": config.horizon or (32 if config.full else 16),
        "image_size": config.image_size or (84 if config.full else 48),
    }
    cases = [("task", {"task": task, **size}) for task in config.tasks]
    for factor in (1, 2, 4):
        cases.append(
            (
                "horizon",
                {"task": config.sweep_task, **size, "horizon": factor * size["horizon"] // 2},
            )
        )
    for factor in (3, 4, 6):
        cases.append(
            (
                "image size",
                {"task": config.sweep_task, **size, "image_size": factor * size["image_size"] // 4},
            )
        )
    rows = []
    for sweep, case in cases:
        for route in ROUTES:
            arguments = {
                "route": route, "seed": config.seed, "device": config.device,
                "state_storage": config.state_storage, **case,
            }  # fmt: skip
            rows.append({"sweep": sweep, **measure_apart(**arguments)})
    return {"size": size, "rows": rows}


def measure_apart(**arguments: Any) -> dict[str, Any]:
    """Measures one case in a process of its own; arguments as for `measure_case`."""
    code = (
        "import json, sys; from dva.studies.peak_memory import measure_case; "
        "print(json.dumps(measure_case(**json.loads(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_case(
    route: str, task: str, seed: int, device: str, state_storage: str, **size: int
) -> dict[str, Any]:
    """Measures one case in this process."""
    run = new_route(route, task, seed, device, state_storage=state_storage, **size)
    gc.collect()
    on_gpu = resolve_device(device) != "cpu"
    if on_gpu:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        run()
    peak = torch.cuda.max_memory_allocated() if on_gpu else _resident("VmHWM")
    frames = (size["horizon"] + 3) * size["num_envs"] * 3 * size["image_size"] ** 2
    return {
        "route": route, "task": task, **size, "peak_mb": (peak - before) / 2**20,
        "uint8_frames_mb": frames / 2**20,
    }  # fmt: skip


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}.")


def draw(result: dict[str, Any]) -> Any:
    """Draws bars over tasks, and lines over horizon and image size."""
    figure, axes = new_figure(3)
    tasks = [row for row in result["rows"] if row["sweep"] == "task"]
    names = list(dict.fromkeys(row["task"] for row in tasks))
    for index, route in enumerate(ROUTES):
        heights = [row["peak_mb"] for row in tasks if row["route"] == route]
        places = [place + 0.27 * (index - 1) for place in range(len(names))]
        axes[0, 0].bar(places, heights, width=0.25, label=LABELS[route])
        for panel, sweep, key in ((1, "horizon", "horizon"), (2, "image size", "image_size")):
            points = [
                (row[key], row["peak_mb"])
                for row in result["rows"]
                if row["sweep"] == sweep and row["route"] == route
            ]
            axes[0, panel].loglog(*zip(*points, strict=True), "o-", label=LABELS[route])
            axes[0, panel].set_xlabel(sweep)
    axes[0, 0].set_xticks(range(len(names)), names)
    axes[0, 0].set_yscale("log")
    for one in axes.flat:
        one.set_ylabel("peak memory of an iteration (MB)")
        one.legend(fontsize=7)
    return figure


def summary(result: dict[str, Any]) -> list[str]:
    """Says in lines what was found."""
    lines = []
    seen: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in result["rows"]:
        key = (row["sweep"], row["task"], row["num_envs"], row["horizon"], row["image_size"])
        seen.setdefault(key, {})[row["route"]] = row["peak_mb"]
    for (sweep, task, n, h, size), peaks in seen.items():
        ratio = peaks["visual-shac"] / peaks["dva"]
        text = ", ".join(f"{LABELS[route]} {peaks[route]:.0f} MB" for route in ROUTES)
        lines.append(f"{sweep:10} {task:9} N {n} h {h} {size} px: {text} ({ratio:.1f} x)")
    return lines
