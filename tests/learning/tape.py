"""Records torch's operations and the simulator's launches on a CPU, and does them again.

It stands in for CUDA graphs: what is replayed reads and writes the same memory, and no Python of
the recorded function runs again.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dva.compute.launches import LaunchSequence
from dva.learning.learner import Learner

_HOST = ("_local_scalar_dense", "nonzero", "equal")
"""Operations that would make the host wait for a device."""


class Tape:
    """Records a function; see `dva.compute.recording.Recorder`."""

    def record(self, function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        commands: list[Callable[[], None]] = []
        run = LaunchSequence.run

        def run_and_note(program: LaunchSequence, stream: Any = None) -> None:
            run(program, stream)
            commands.append(lambda: run(program, stream))

        LaunchSequence.run = run_and_note  # type: ignore[method-assign]
        try:
            with _Notes(commands):
                result = function()
        finally:
            LaunchSequence.run = run  # type: ignore[method-assign]

        def replay() -> None:
            with torch._C._AutoDispatchBelowAutograd():  # values only, as a CUDA graph
                for command in commands:
                    command()

        return result, replay


class _Notes(TorchDispatchMode):
    def __init__(self, commands: list[Callable[[], None]]) -> None:
        super().__init__()
        self.commands = commands

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in func.name() for name in _HOST):
            raise RuntimeError(f"{func.name()} reads the device")
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        # An empty tensor has no values yet, and others have those of the tensor that they alias.
        fresh = "empty" not in func.name()
        fresh &= not any(value.alias_info for value in func._schema.returns)

        def again() -> None:
            values = func(*args, **kwargs)
            if not fresh:
                return
            for old, new in zip(tree_leaves(out), tree_leaves(values), strict=True):
                if isinstance(old, Tensor):
                    old.copy_(new)

        self.commands.append(again)
        return out


class Broken(Tape):
    """Fails when it has recorded so many blocks, the last of them included."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.left = blocks

    def record(self, function: Any) -> Any:
        result = super().record(function)
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("out of luck") from ValueError("no room")
        return result


def record_with(algorithm: Learner, recorder: Any) -> None:
    """Makes an algorithm on a CPU record as it would on CUDA."""
    algorithm._cuda_graphs = True
    algorithm._new_recorder = lambda: recorder  # type: ignore[method-assign]
