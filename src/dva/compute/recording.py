"""The blocks of an iteration as CUDA graphs: one launch per block instead of one per operation.

A recorded block reads and writes the memory that it used when it was recorded. So parameters,
moments, statistics and random generators change in place, learning rates are tensors, and what one
iteration hands to the next lies in a `FixedState`.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["Blocks", "CudaRecorder", "FixedState", "Recordable", "Recorder"]

Result = TypeVar("Result")


class Recorder(Protocol):
    """Records what a function does on a device."""

    def record(self, function: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Runs the function once, and records it.

        Returns:
            Its result, and a function that runs it again and writes new values into the result's
            tensors.
        """
        ...


class CudaRecorder:
    """Records CUDA graphs that share a memory pool; replay them in the order of recording.

    Args:
        device: where the functions run.
        generators: random generators that they draw from, beside the device's default.
    """

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator]) -> None:
        self._device, self._generators = device, generators
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def record(self, function: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Records a CUDA graph and launches it once; see `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        # autograd's own thread may allocate memory meanwhile.
        with (
            _undisturbed(self._device),
            torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ),
        ):
            result = function()
        graph.replay()
        return result, graph.replay


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Stops garbage collection, which may touch the device, and restores torch's stream, which a
    recording that fails leaves changed."""
    stream = torch.cuda.current_stream(device)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        torch.cuda.set_stream(stream)
        if collecting:
            gc.enable()


class Blocks:
    """Runs the blocks of an iteration by name; with a recorder, replays them.

    Args:
        recorder: records each block when it first runs; None: blocks run without recording.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = recorder
        self._recorded: dict[str, tuple[Any, Callable[[], None]]] = {}

    def __call__(self, name: str, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs or replays a block.

        Args:
            name: name of the block.
            function: what the block does; its course must not depend on the values of tensors.
            arguments: arguments of the function; a recorded block reuses those of its first run,
                which are the results of earlier blocks.
        """
        if self._recorder is None:
            return function(*arguments)
        if name in self._recorded:
            result, replay = self._recorded[name]
            replay()
            return result
        self._recorded[name] = self._recorder.record(partial(function, *arguments))
        return self._recorded[name][0]


class Recordable(Protocol):
    """Can be recorded: its steps change nothing but tensors, which it gives and takes."""

    @property
    def generator(self) -> torch.Generator:
        """The only source of its randomness."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors of its state themselves, by name."""
        ...

    def put_tensors(self, tensors: dict[str, Tensor], /) -> None:
        """Continues from such tensors, without copying them."""
        ...


class FixedState:
    """Keeps a state in fixed memory between iterations, where recorded blocks find it.

    Args:
        owner: has the state; it must be recordable.
    """

    def __init__(self, owner: Recordable) -> None:
        self._owner = owner
        self._generator = owner.generator
        self._memory = _clones(owner.tensors())
        owner.put_tensors(self._memory)  # lets go of the last rollout's graph

    @property
    def left(self) -> bool:
        """Whether the owner's state is elsewhere, because the owner has been reset or loaded."""
        present = self._owner.tensors()
        here = all(present[name] is memory for name, memory in self._memory.items())
        return not here or self._owner.generator is not self._generator

    def leave(self) -> None:
        """Gives the owner a copy to continue from: autograd may still need the state that a rollout
        began with when the memory is written again."""
        self._owner.put_tensors(_clones(self._memory))

    def keep(self) -> None:
        """Writes the owner's state into the memory, and lets the owner continue from there."""
        for name, value in self._owner.tensors().items():
            self._memory[name].copy_(value.detach())
        self._owner.put_tensors(self._memory)


def _clones(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in tensors.items()}
