"""dva trains robots to act from pixels through parallel differentiable simulation."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dva.tasks import make

__all__ = ["make"]
__version__ = "0.1.0"

if "OMP_WAIT_POLICY" not in os.environ:
    # After each operation torch's threads wait for the next by spinning, for a millisecond by
    # default. That takes the cores from the threads that simulate and render. The runtime reads
    # this when torch is loaded, so it helps where dva is imported first.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    # Loading torch, warp and mujoco takes seconds, which `import dva` alone does not need.
    if name == "make":
        from dva.tasks import make

        return make
    raise AttributeError(f"module 'dva' has no attribute {name!r}")
