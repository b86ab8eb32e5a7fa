"""Starts Warp quietly, names its devices, and runs jobs side by side on a CPU."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import torch
import warp as wp

__all__ = ["indexed_device", "run_side_by_side", "split_environments", "start_warp"]


def start_warp() -> None:
    """Initializes Warp without its greeting and, without a GPU, its complaint about that.

    Warnings and errors stay; a log level that the caller has chosen stays too.
    """
    if wp.config.log_level == wp.LOG_INFO:
        wp.config.log_level = wp.LOG_WARNING
    if torch.cuda.is_available():
        wp.init()
    else:
        with _without_native_messages():
            wp.init()


def indexed_device(device: str | torch.device) -> torch.device:
    """Returns the device with its index: Warp knows no "cuda" without a number."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def split_environments(num_envs: int, parts: int) -> list[slice]:
    """Divides environments into contiguous parts of nearly equal size, at most as many as there are
    environments."""
    parts = min(parts, num_envs)
    bounds = [num_envs * i // parts for i in range(parts + 1)]
    return [slice(start, stop) for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]


def run_side_by_side(jobs: Sequence[Callable[[], None]]) -> None:
    """Runs jobs on the threads that the process keeps for this, the first on the caller's.

    A Warp launch on a CPU uses one core and lets other Python threads run meanwhile. Gradients are
    recorded in all threads or in none, as in the caller's.
    """
    grad = torch.is_grad_enabled()
    pending = [_pool().submit(_run, job, grad) for job in jobs[1:]]
    jobs[0]()
    for future in pending:
        future.result()


def _run(job: Callable[[], None], grad: bool) -> None:
    with torch.set_grad_enabled(grad):  # each thread has its own mode
        job()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="dva")


@contextmanager
def _without_native_messages() -> Iterator[None]:
    """Silences what compiled code writes to standard error, which Python's logging cannot."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
