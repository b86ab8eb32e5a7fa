"""The processes of one run: each has its share of the environments on its own device.

What processes compute of their shares is put together here. The convention is that of means: each
process computes the loss of its own environments, as if there were no others, and the mean of the
gradients over processes is the gradient of all. A `Group` of one process does nothing at all, and
is what everything has that is not told otherwise.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed

from dva.compute.errors import UsageError, one_line

__all__ = ["ALONE", "Group", "ProcessLost", "Processes", "join"]

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others. One that ends is noticed at once; this is for one that
hangs, and must be longer than making a video, for which the others wait."""


class ProcessLost(RuntimeError):
    """Another process of the run has ended, or does not answer."""


class Group:
    """One process alone: everything is as it is.

    Attributes:
        rank: number of this process, from 0. Process 0 leads: it alone writes and prints.
        size: number of processes K.
    """

    rank = 0
    size = 1

    def share(self, name: str, count: int) -> int:
        """Returns how many of `count` things each process has.

        Raises:
            ValueError: they cannot be divided equally.
        """
        each, left = divmod(count, self.size)
        if left:
            below, above = each * self.size, (each + 1) * self.size
            better = f"{below} or {above}" if below else str(above)
            raise ValueError(
                f"{name} is {count}; {self.size} processes share them equally. Give {better}, or "
                "start another number of processes."
            )
        return each

    @property
    def rows(self) -> slice:
        """Which of all rows are this process's: every K-th. So the first rows of all are the first
        rows of each, and rows (h, N) may be taken before or after they are flattened."""
        return slice(self.rank, None, self.size)

    def device(self, name: str) -> str:
        """Returns the name of the device of this process, where `name` is what a run asks for."""
        return name

    def threads(self, threads: int | None) -> int | None:
        """Returns the CPU threads of this process, where a run asks for `threads` in each."""
        return threads

    # ------------------------------------------------------------------ tensors, without graph
    # On the device, in the order of calls: a recorded block holds them if the backend is NCCL.

    def sum(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over processes."""
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """Averages a tensor over processes."""
        return tensor

    def means(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Averages tensors of one dtype over processes, together."""
        return list(tensors)

    def norm(self, norm: Tensor) -> Tensor:
        """Returns the norm of a vector whose parts lie in the processes, given that of the part."""
        return norm

    def gather(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Joins the `rows` of all processes, as many in each, along a dimension."""
        return tensor

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites tensors of one dtype by those of process 0."""

    # ------------------------------------------------------------------ numbers, on the host

    def any(self, flag: bool) -> bool:
        """Tells whether the flag is set in any process."""
        return flag

    def max(self, number: int) -> int:
        """Returns the largest of the processes' numbers."""
        return number

    def numbers_of_first(self, *numbers: int) -> tuple[int, ...]:
        """Returns the numbers of process 0; the others give as many."""
        return numbers

    @contextmanager
    def first(self) -> Iterator[None]:
        """Lets process 0 do what is inside before the others do it."""
        yield

    def leave(self) -> None:
        """Ends the group; every process does so at the same point."""


ALONE = Group()
"""The group of a process that has no others."""


class Processes(Group):
    """Several processes, joined by torch.distributed.

    Args:
        rank, size: as for `Group`.
        local_rank: number of this process among those of this machine.
        local_size: number of processes of this machine.

    Raises:
        ProcessLost: in every method that exchanges something, if another process is gone.
    """

    def __init__(self, rank: int, size: int, local_rank: int, local_size: int) -> None:
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = local_rank, local_size

    def device(self, name: str) -> str:
        """Gives each process of a machine a GPU of its own.

        Raises:
            ValueError: `name` is that of one GPU.
        """
        if name not in ("auto", "cpu", "cuda"):
            raise ValueError(
                f"device is {name!r}; each of several processes has a device of its own. Give "
                "'auto', 'cpu' or 'cuda', which gives process i of a machine its GPU i."
            )
        on_gpu = name == "cuda" or name == "auto" and torch.cuda.is_available()
        return f"cuda:{self.local_rank}" if on_gpu else name

    def threads(self, threads: int | None) -> int | None:
        """Shares the cores of this machine, unless a number is given.

        torchrun sets torch's own number to 1, which says nothing of the machine.
        """
        known = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
        return threads or max(1, cores // self.local_size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over processes."""
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        with _exchange():
            distributed.all_reduce(total)
        return total

    def mean(self, tensor: Tensor) -> Tensor:
        """Averages a tensor over processes."""
        return self.sum(tensor) / self.size

    def means(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Averages tensors of one dtype over processes, in one exchange."""
        return _split(self.mean(_join(tensors)), tensors)

    def norm(self, norm: Tensor) -> Tensor:
        """Returns the norm of the whole vector."""
        return self.sum(norm.square()).sqrt()

    def gather(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Joins the `rows` of all processes along a dimension."""
        own = tensor.detach().contiguous()
        own = own.view(torch.uint8) if own.dtype == torch.bool else own  # which Gloo cannot send
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with _exchange():
            distributed.all_gather(parts, own)
        return torch.stack(parts, dim + 1).flatten(dim, dim + 1).view(tensor.dtype)

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites tensors of one dtype by those of process 0, in one exchange."""
        joined = _join(tensors)
        with _exchange():
            distributed.broadcast(joined, 0)
        for tensor, value in zip(tensors, _split(joined, tensors), strict=True):
            tensor.detach().copy_(value)

    def any(self, flag: bool) -> bool:
        """Tells whether the flag is set in any process."""
        return self.max(int(flag)) > 0

    def max(self, number: int) -> int:
        """Returns the largest of the processes' numbers."""
        largest = torch.tensor(number)
        with _exchange():
            distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return int(largest)

    def numbers_of_first(self, *numbers: int) -> tuple[int, ...]:
        """Returns the numbers of process 0."""
        sent = torch.tensor(numbers)
        with _exchange():
            distributed.broadcast(sent, 0)
        return tuple(int(number) for number in sent)

    @contextmanager
    def first(self) -> Iterator[None]:
        """Lets process 0 do what is inside before the others do it."""
        if self.rank > 0:
            self.max(0)
        yield
        if self.rank == 0:
            self.max(0)

    def leave(self) -> None:
        """Ends the group."""
        distributed.destroy_process_group()


def join() -> Group:
    """Joins the processes that torchrun started with this one; there may be none.

    Raises:
        UsageError: the environment's variables are incomplete, or the others are not found.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return ALONE
    try:
        rank, size, local_rank, local_size = (
            int(os.environ[name])
            for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        )
        backend = "gloo"
        if torch.cuda.is_available() and distributed.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(local_rank % torch.cuda.device_count())
        distributed.init_process_group(backend, timeout=TIMEOUT, rank=rank, world_size=size)
    except (KeyError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"This process is one of several (WORLD_SIZE is {os.environ['WORLD_SIZE']!r}) and "
            f"could not join the others: {type(error).__name__}: {one_line(error)}. Start them "
            "with torchrun --nproc-per-node K -m dva train ..., or unset WORLD_SIZE."
        ) from error
    return Processes(rank, size, local_rank, local_size)


@contextmanager
def _exchange() -> Iterator[None]:
    """Says in one line what a failed exchange means."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ProcessLost(
            f"another process of this run has ended or does not answer ({one_line(error):.200})"
        ) from error


def _join(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _split(joined: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = joined.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
