"""The order in which a control step launches its kernels, forward and backward."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
import warp as wp

from dva.sim.workspace import StepSize

__all__ = ["Program", "backward_program", "forward_program", "pose_program"]

_BLOCK = 32
"""Threads of a CUDA block, unless a launch says otherwise. Few: most launches have a thread for
each environment, or some, and a block runs on one multiprocessor."""
_CAPTURING = threading.Lock()
"""On a CPU, Warp captures one graph at a time in a process."""


class Program:
    """A sequence of launches, recorded once and replayed as a whole.

    Launches are captured into a graph (on CUDA a CUDA graph), so that replaying costs one call.
    While torch records a graph of its own, which cannot hold another, they go to it one by one.
    """

    def __init__(self, device: Any, launches: Iterator[dict[str, Any]], capture: bool = True):
        self._device = device
        self._graph: Any = None
        self._commands: list[Any] = []
        defaults = {"device": device, "block_dim": _BLOCK}
        self._launches = [defaults | launch for launch in launches]
        for module, block in {(x["kernel"].module, x["block_dim"]) for x in self._launches}:
            module.load(device, 1 if device.is_cpu else block)
        if capture:
            # torch's default stream cannot be captured: a stream of its own is used on CUDA
            stream = wp.Stream(device) if device.is_cuda else None
            with (
                _CAPTURING,
                wp.ScopedCapture(device=device, stream=stream, force_module_load=False) as scope,
            ):
                self._launch(stream)
            self._graph = scope.graph
        else:
            self._commands = [wp.launch(**launch, record_cmd=True) for launch in self._launches]
        if not device.is_cuda:
            self._launches.clear()

    def run(self, stream: Any = None) -> None:
        """Replays the launches, on a CUDA stream where one is given."""
        if self._graph is None:
            for command in self._commands:
                command.launch(stream) if stream else command.launch()
        elif self._device.is_cuda and torch.cuda.is_current_stream_capturing():
            self._launch(stream)
        else:
            wp.capture_launch(self._graph, stream=stream)

    def _launch(self, stream: Any) -> None:
        for launch in self._launches:
            wp.launch(**launch, stream=stream)


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


def _substep(k: int, step: StepSize, h: Any) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Lists the launches of substep k: kernel, its axis beside the environments, scalars."""
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
        ("sum_wrench", None, {"k": k}),
        ("generalized_force", "dofs", {"k": k}),
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
    capture: bool = True,
) -> Program:
    """Records one control step.

    Args:
        device: Warp device.
        kernels: of `build_kernels`.
        sizes: number of "envs", "links", "dofs" and "pairs".
        arguments: the kernels' arguments by name (model and workspace).
        step: division of the control step.
        h: seconds of a substep, as the kernels' floating point type.
        capture: replay as a graph rather than launch by launch.
    """
    bind = _Binder(kernels, sizes, arguments, {})

    def launches() -> Iterator[dict[str, Any]]:
        yield bind("enter", "links")
        for k in range(step.substeps):
            for name, per, scalars in _substep(k, step, h):
                yield bind(name, per, **scalars)
        yield bind("leave", "links", k=step.substeps)

    return Program(device, launches(), capture)


def backward_program(
    device: Any,
    kernels: SimpleNamespace,
    sizes: dict[str, int],
    arguments: dict[str, Any],
    adjoints: dict[str, Any],
    step: StepSize,
    h: Any,
    capture: bool = True,
) -> Program:
    """Records the adjoint of `forward_program`; `adjoints` holds the gradient arrays by name."""
    bind = _Binder(kernels, sizes, arguments, adjoints)

    def launches() -> Iterator[dict[str, Any]]:
        yield bind("leave", "links", adjoint=True, k=step.substeps)
        for k in reversed(range(step.substeps)):
            for name, per, scalars in reversed(_substep(k, step, h)):
                if name == "invert":
                    end = min(k + step.mass_matrix_interval, step.substeps)
                    yield bind("adjoint_invert", "pairs", k=k, end=end, **scalars)
                else:
                    yield bind(name, per, adjoint=True, **scalars)
        yield bind("enter", "links", adjoint=True)

    return Program(device, launches(), capture)


def pose_program(
    device: Any,
    kernels: SimpleNamespace,
    sizes: dict[str, int],
    arguments: dict[str, Any],
    capture: bool = True,
) -> Program:
    """Records the computation of the link poses of a state, as those of substep 0."""
    bind = _Binder(kernels, sizes, arguments, {})
    return Program(device, iter([bind("enter", "links"), bind("pose", None, k=0)]), capture)
