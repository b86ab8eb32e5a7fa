"""dva trains robots to act from pixels through parallel differentiable simulation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dva.envs import make

__all__ = ["make"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loading torch, warp and mujoco takes seconds, which `import dva` alone does not need.
    if name == "make":
        from dva.envs import make

        return make
    raise AttributeError(f"module 'dva' has no attribute {name!r}")
