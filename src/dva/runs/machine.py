"""What a run was made with: versions, device, commit, command line."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from dva import __version__

__all__ = ["describe_device", "describe_machine", "git_commit", "versions"]

PACKAGES = (
    "torch",
    "warp-lang",
    "mujoco",
    "mujoco-warp",
    "numpy",
    "gymnasium",
    "safetensors",
    "imageio-ffmpeg",
)


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "dva": __version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe_device(device: torch.device | str) -> str:
    """Names a device as a person would: the GPU's model, or the CPU's with its number of cores."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count()} cores"


def git_commit() -> str | None:
    """Returns the commit of the source, "-dirty" added if changed; None outside of git."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
        )
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", __file__],
            cwd=folder,
            capture_output=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # An installed copy may lie inside an unrelated repository (.venv in a checkout).
    if found.returncode != 0 or tracked.returncode != 0:
        return None
    return found.stdout.strip()


def describe_machine(device: torch.device | str) -> dict[str, Any]:
    """Returns what `config.yaml` keeps of a training session besides its configuration."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": git_commit(),
        "device": str(device),
        "device_name": describe_device(device),
        "platform": platform.platform(),
        "versions": versions(),
    }
