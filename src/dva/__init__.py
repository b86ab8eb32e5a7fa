"""dva trains robots to act from pixels through parallel differentiable simulation."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dva import (
        envs,
        learning,
        policies,
        robots,
        runs,
        sensors,
        sim,
        spec,
        studies,
        tasks,
        viewer,
    )
    from dva.envs import make

_ROOMS = (
    "envs", "learning", "policies", "robots", "runs", "sensors", "sim", "spec", "studies", "tasks",
    "viewer",
)  # fmt: skip
__all__ = [
    "envs", "learning", "make", "policies", "robots", "runs", "sensors", "sim", "spec", "studies",
    "tasks", "viewer",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loading torch, warp and mujoco takes seconds, which `import dva` alone does not need.
    if name == "make":
        return importlib.import_module("dva.envs").make
    if name in _ROOMS:
        return importlib.import_module(f"dva.{name}")
    raise AttributeError(f"module 'dva' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "make", *_ROOMS]
