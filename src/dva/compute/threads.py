"""Runs jobs side by side on the threads of a CPU."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache

import torch

__all__ = ["run_side_by_side", "split_environments", "use_threads"]


def split_environments(num_envs: int, parts: int) -> list[slice]:
    """Divides environments into contiguous parts of nearly equal size, none of them empty."""
    parts = min(parts, num_envs)
    bounds = [num_envs * i // parts for i in range(parts + 1)]
    return [slice(start, stop) for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]


def run_side_by_side(jobs: Sequence[Callable[[], None]]) -> None:
    """Runs jobs at the same time: the first on the caller's thread, the others on a pool's.

    A Warp launch on a CPU uses one core and lets other Python threads run meanwhile. Every thread
    takes over the caller's autograd mode (gradients on or off) and its number of threads inside an
    operation, on which the last digits of a convolution's gradient depend. Where jobs fail, the
    first one's error is raised once all have ended: they write into memory that they share with
    later calls.
    """
    grad, inside = torch.is_grad_enabled(), torch.get_num_threads()
    pending = [_pool().submit(_run, job, grad, inside) for job in jobs[1:]]
    try:
        jobs[0]()
    finally:
        wait(pending)
    for future in pending:
        future.result()


def _run(job: Callable[[], None], grad: bool, inside: int) -> None:
    # Each thread has its own mode and its own number, taken from torch's when it first needs one.
    if torch.get_num_threads() != inside:
        torch.set_num_threads(inside)
    with torch.set_grad_enabled(grad):
        job()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="dva")


# A forked process has its parent's pool, but not its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


@contextmanager
def use_threads(
    device: torch.device, threads: int | None = None, inside_operations: bool = False
) -> Iterator[int | None]:
    """Turns off parallelism inside torch's operations, and restores it at the end.

    Instead, simulator, sensors and algorithm split their environments among threads. These wait for
    one another a few times per step, whereas torch's threads wait twice in every operation; small
    operations, such as the critic's, then stay on one core.

    On a GPU, cuDNN tries out which of its convolutions is fastest for each batch size: there are
    few sizes, and each occurs thousands of times.

    Args:
        device: where the work runs.
        threads: CPU threads; None: as many as torch would use.
        inside_operations: leave the threads to torch's operations, for an algorithm that
            differentiates through images in one graph.

    Yields:
        The number of threads; None on a GPU.
    """
    if device.type != "cpu":
        tried = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            yield None
        finally:
            torch.backends.cudnn.benchmark = tried
        return
    before = torch.get_num_threads()
    threads = threads or before
    torch.set_num_threads(threads if inside_operations else 1)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)
