"""Trained policies that come with the package: small files, unpacked into run folders.

A file is one policy in safetensors. Its large matrices are int8 with a scale for each row; the rest
is float16 where that can hold it. What it was trained with, and what it returns, are JSON in the
file's metadata.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from dva.compute.errors import UsageError
from dva.learning.state import add_prefix
from dva.runs.checkpoint import load_checkpoint, save_checkpoint
from dva.runs.config import default_config
from dva.runs.fields import to_plain
from dva.runs.policy import POLICY, load_policy
from dva.runs.run import Run

__all__ = ["pack_policy", "pretrained_about", "pretrained_names", "unpack_pretrained"]

FORMAT = 1
_KEY = "dva"
_SCALE = ".scale"
"""End of the name of a matrix's scales."""
_LARGE = 1_000_000
"""Entries from which on a matrix is stored in int8."""


def pretrained_names() -> list[str]:
    """Returns the tasks that have a trained policy in the package."""
    found = (file.name for file in _folder().iterdir())
    return sorted(name.removesuffix(".safetensors") for name in found if "." in name)


def pretrained_about(task: str) -> dict[str, Any]:
    """Returns what is known of a task's trained policy: how it was trained, what it returns.

    Raises:
        UsageError: the package has none.
    """
    with _opened(task) as file:
        return _about(file)


def unpack_pretrained(task: str, folder: str | Path) -> Run:
    """Writes a run folder with the package's trained policy of a task.

    It can be evaluated, shown and exported as any other; training cannot go on from it, since
    nothing but the policy is in it.

    Args:
        task: name of the task.
        folder: new or empty.

    Raises:
        UsageError: the package has none, or the folder is not free.
    """
    tensors, about = _read(task)
    config = default_config(task, about["algo"], about["preset"], **about["env"])
    config.run.run_dir = Path(folder)
    run = Run.create(config)
    save_checkpoint(
        run.checkpoints,
        add_prefix(POLICY, tensors),
        {
            "iteration": about["iteration"], "env_steps": about["env_steps"],
            "task": task, "algo": about["algo"], POLICY: about["policy"],
        },
        ("latest", "best"),
    )  # fmt: skip
    return run


def pack_policy(run: Run, path: Path, trained: dict[str, Any]) -> None:
    """Writes the newest policy of a run as such a file.

    Args:
        run: of a task of this package.
        path: the file.
        trained: what a reader should know: "command", "commit", "device", "date", "return".
    """
    info = load_checkpoint(run.checkpoints).info
    policy = load_policy(run, device="cpu")
    packed: dict[str, Tensor] = {}
    for name, value in policy.state_dict().items():
        if value.dim() == 2 and value.numel() >= _LARGE:
            scale = value.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
            packed[name] = (value / scale).round().to(torch.int8)
            packed[name + _SCALE] = scale
        else:
            half = value.half() if value.is_floating_point() else value
            packed[name] = half if half.isfinite().all() else value  # float16 ends at 65,504
    env = to_plain(run.config.env)
    about = {
        "format": FORMAT, "algo": run.config.algo, "preset": run.config.preset,
        "env": {name: env[name] for name in ("image_size", "frame_stack", "observe")},
        "iteration": info["iteration"], "env_steps": info["env_steps"],
        POLICY: policy.description(), "trained": trained,
    }  # fmt: skip
    save_file({n: x.contiguous() for n, x in packed.items()}, path, {_KEY: json.dumps(about)})


def _folder() -> Traversable:
    return files("dva") / "pretrained"


@contextmanager
def _opened(task: str) -> Iterator[Any]:
    """Opens a task's file; its tensors are read when they are asked for."""
    names = pretrained_names()
    if task not in names:
        raise UsageError(
            f"There is no trained policy of {task!r} in the package. There are those of "
            f"{', '.join(names)}; train your own: dva train {task}."
        )
    with (
        as_file(_folder() / f"{task}.safetensors") as path,
        safetensors.safe_open(path, "pt") as file,
    ):
        yield file


def _about(file: Any) -> dict[str, Any]:
    return json.loads(file.metadata()[_KEY])


def _read(task: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a packed policy: float32 tensors by name, and what is known of it."""
    with _opened(task) as file:
        about = _about(file)
        packed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    scales = {n.removesuffix(_SCALE): packed.pop(n) for n in list(packed) if n.endswith(_SCALE)}
    tensors = {
        name: value.float() * scales.get(name, 1.0) if value.dtype != torch.int64 else value
        for name, value in packed.items()
    }
    return tensors, about
