"""Sequences of Warp launches that are captured once and replayed as a whole."""

from collections.abc import Iterator
from typing import Any

import torch
import warp as wp

from dva.compute.warp_runtime import COMPILING

__all__ = ["LaunchSequence"]

_BLOCK = 32
"""Threads of a CUDA block, unless a launch says otherwise. Small, because most launches have one
thread or a few per environment, and a block runs on one multiprocessor."""


class LaunchSequence:
    """Captures a sequence of launches once and replays it as a whole.

    The launches form one graph (a CUDA graph on CUDA), so that a replay costs one call. While torch
    is recording a graph of its own, which cannot hold another, they join it one by one.
    """

    def __init__(self, device: Any, launches: Iterator[dict[str, Any]], capture: bool = True):
        self._device = device
        self._graph: Any = None
        self._commands: list[Any] = []
        defaults = {"device": device, "block_dim": _BLOCK}
        self._launches = [defaults | launch for launch in launches]
        with COMPILING:
            self._prepare(device, capture)
        if not device.is_cuda:
            self._launches.clear()

    def _prepare(self, device: Any, capture: bool) -> None:
        """Compiles the kernels, and captures the launches."""
        for module, block in {(x["kernel"].module, x["block_dim"]) for x in self._launches}:
            module.load(device, 1 if device.is_cpu else block)
        if capture:
            # torch's default stream cannot be captured; on CUDA the capture has its own stream.
            stream = wp.Stream(device) if device.is_cuda else None
            with wp.ScopedCapture(device=device, stream=stream, force_module_load=False) as scope:
                self._launch(stream)
            self._graph = scope.graph
        else:
            self._commands = [wp.launch(**launch, record_cmd=True) for launch in self._launches]

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
