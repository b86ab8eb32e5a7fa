"""The blocks of an iteration as CUDA graphs: launched once each, instead of operation by operation.

A recorded block reads and writes the memory that it met when it was recorded. So parameters,
moments, statistics and random generators are changed in place, learning rates are tensors, and what
one iteration hands to the next lies in fixed `Places`.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from dva.envs.environment import Environment, Observation

__all__ = ["Blocks", "CudaRecorder", "Places", "Recorder", "recordable"]

Result = TypeVar("Result")


class Recorder(Protocol):
    """Records what a function does on a device."""

    def record(self, function: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        """Runs the function once, and records it.

        Returns:
            Its result, and a function that does the same again and leaves new values in the
            result's tensors.
        """
        ...


class CudaRecorder:
    """Records CUDA graphs that share one memory pool: replay them in the order of recording.

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
        # autograd's own thread may allocate meanwhile
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
    """Keeps Python from collecting garbage, whose release may touch the device, and leaves torch on
    the stream where it was, which it forgets if recording fails."""
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
    """Runs the blocks of an iteration, each under a name; with a recorder, replays them.

    Args:
        recorder: records each block when it first runs; None runs them as they are.
    """

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = recorder
        self._recorded: dict[str, tuple[Any, Callable[[], None]]] = {}

    def __call__(self, name: str, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs or replays a block.

        Args:
            name: of the block.
            function: what it does; no value of a tensor may decide what happens in it.
            arguments: of the function; a recorded block takes those of its first run, which are
                the results of earlier blocks.
        """
        if self._recorder is None:
            return function(*arguments)
        if name in self._recorded:
            result, replay = self._recorded[name]
            replay()
            return result
        self._recorded[name] = self._recorder.record(partial(function, *arguments))
        return self._recorded[name][0]


class Places:
    """Fixed memory for the environments' state and the present observation between iterations.

    Args:
        env: an environment that `recordable` accepts.
        observation: the present one.
    """

    def __init__(self, env: Any, observation: Observation) -> None:
        self._env = env
        self._generator = env.generator
        self._state = _clones(env.tensors())
        self._observation = _clones(observation)
        env.put_tensors(self._state)  # lets go of the last rollout's graph

    @property
    def left(self) -> bool:
        """Whether somebody has reset or loaded the environment, which is then elsewhere."""
        present = self._env.tensors()
        here = all(present[name] is place for name, place in self._state.items())
        return not here or self._env.generator is not self._generator

    def leave(self) -> Observation:
        """Gives the environment a copy of its state to go on from, and one of the observation.

        Autograd may keep what a rollout began with, when the places are written again.
        """
        self._env.put_tensors(_clones(self._state))
        return _clones(self._observation)

    def keep(self, observation: Observation) -> Observation:
        """Writes the environment's state and the present observation into their places."""
        for name, value in self._env.tensors().items():
            self._state[name].copy_(value.detach())
        self._env.put_tensors(self._state)
        for name, value in observation.items():
            self._observation[name].copy_(value.detach())
        return self._observation


def recordable(env: Environment) -> bool:
    """Tells whether an environment's steps can be recorded.

    It says so by an attribute "recordable": a step is nothing but work on the device, which waits
    for nothing and keeps no count in Python. It then has `generator`, the only source of its
    randomness, and `tensors()` and `put_tensors(tensors)`, which give and take its state's tensors
    themselves, by name.
    """
    return bool(getattr(env, "recordable", False))


def _clones(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in tensors.items()}
