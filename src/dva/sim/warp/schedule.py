"""The order in which a control step launches its kernels, forward and backward."""

from collections.abc import Collection, Iterator
from types import SimpleNamespace
from typing import Any

import warp as wp

from dva.compute.launches import LaunchSequence
from dva.sim.warp.workspace import StepSize

__all__ = ["backward_program", "forward_program", "pose_program"]


class _Binder:
    """Turns a kernel's name into a launch, finding its arguments by their names."""

    def __init__(
        self,
        kernels: SimpleNamespace,
        sizes: dict[str, int],
        arguments: dict[str, Any],
        adjoints: dict[str, Any],
    ):
        self._kernels, self._sizes = kernels, sizes
        self._arguments, self._adjoints = arguments, adjoints

    def __call__(
        self, name: str, per: str | None, adjoint: bool = False, **scalars: Any
    ) -> dict[str, Any]:
        kernel = getattr(self._kernels, name)
        n = self._sizes["envs"]
        launch: dict[str, Any] = {
            "kernel": kernel,
            "dim": n if per is None else (n, self._sizes[per]),
            "inputs": [self._value(arg.label, scalars) for arg in kernel.adj.args],
        }
        if adjoint:
            launch["adjoint"] = True
            launch["adj_inputs"] = [
                self._adjoints.get(arg.label) if isinstance(arg.type, wp.array) else arg.type(0)
                for arg in kernel.adj.args
            ]
        return launch

    def _value(self, label: str, scalars: dict[str, Any]) -> Any:
        if label in scalars:
            return scalars[label]
        if label.startswith("adj_"):
            return self._adjoints[label.removeprefix("adj_")]
        return self._arguments[label]


def _substep(
    k: int, step: StepSize, h: Any, features: Collection[str]
) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Lists the launches of substep k: kernel, its axis beside the environments, scalars."""
    further = (
        ("compensate", "links"), ("immerse", "links"), ("brake", "links"), ("touch", "links"),
        ("tread_terrain", "links"), ("collide", "contacts"), ("transmit", None),
        ("resist", "dofs"), ("confine", None), ("couple", None),
    )  # fmt: skip
    more = {name: [(name, per, {"k": k})] if name in features else [] for name, per in further}
    g = k // step.mass_matrix_interval
    mass_matrix = [
        ("composite", None, {"k": k, "g": g}),
        ("momentum", "dofs", {"k": k, "g": g}),
        ("mass_entry", "pairs", {"k": k, "g": g}),
        ("invert", None, {"g": g}),
    ]
    return [
        ("pose", None, {"k": k}),
        ("motion", None, {"k": k}),
        *(mass_matrix if k % step.mass_matrix_interval == 0 else []),
        ("wrench", "links", {"k": k}),
        *more["compensate"],
        *more["immerse"],
        *more["brake"],
        *more["touch"],
        *more["tread_terrain"],
        *more["collide"],
        ("sum_wrench", None, {"k": k}),
        ("generalized_force", "dofs", {"k": k}),
        *more["transmit"],
        *more["resist"],
        *more["confine"],
        *more["couple"],
        ("accelerate", "dofs", {"k": k, "g": g}),
        ("integrate", "links", {"k": k, "h": h}),
    ]


def forward_program(
    device: Any,
    kernels: SimpleNamespace,
    sizes: dict[str, int],
    arguments: dict[str, Any],
    step: StepSize,
    h: Any,
    features: Collection[str],
    capture: bool = True,
) -> LaunchSequence:
    """Records one control step.

    Args:
        device: Warp device.
        kernels: of `build_kernels`.
        sizes: number of "envs", "links", "dofs", "pairs" and "contacts" (of bodies).
        arguments: the kernels' arguments by name (model and workspace).
        step: division of the control step.
        h: seconds of a substep, as the kernels' floating point type.
        features: names of the kernels that only some robots need and this one does.
        capture: replay as a graph rather than launch by launch.
    """
    bind = _Binder(kernels, sizes, arguments, {})

    def launches() -> Iterator[dict[str, Any]]:
        yield bind("enter", "links")
        for k in range(step.substeps):
            for name, per, scalars in _substep(k, step, h, features):
                yield bind(name, per, **scalars)
        yield bind("leave", "links", k=step.substeps)

    return LaunchSequence(device, launches(), capture)


def backward_program(
    device: Any,
    kernels: SimpleNamespace,
    sizes: dict[str, int],
    arguments: dict[str, Any],
    adjoints: dict[str, Any],
    step: StepSize,
    h: Any,
    features: Collection[str],
    capture: bool = True,
) -> LaunchSequence:
    """Records the adjoint of `forward_program`; `adjoints` holds the gradient arrays by name."""
    bind = _Binder(kernels, sizes, arguments, adjoints)

    def launches() -> Iterator[dict[str, Any]]:
        yield bind("leave", "links", adjoint=True, k=step.substeps)
        for k in reversed(range(step.substeps)):
            for name, per, scalars in reversed(_substep(k, step, h, features)):
                if name == "invert":
                    end = min(k + step.mass_matrix_interval, step.substeps)
                    yield bind("adjoint_invert", "pairs", k=k, end=end, **scalars)
                else:
                    yield bind(name, per, adjoint=True, **scalars)
        yield bind("enter", "links", adjoint=True)

    return LaunchSequence(device, launches(), capture)


def pose_program(
    device: Any,
    kernels: SimpleNamespace,
    sizes: dict[str, int],
    arguments: dict[str, Any],
    capture: bool = True,
) -> LaunchSequence:
    """Records the computation of the link poses of a state, as those of substep 0."""
    bind = _Binder(kernels, sizes, arguments, {})
    return LaunchSequence(device, iter([bind("enter", "links"), bind("pose", None, k=0)]), capture)
