"""Starts Warp without its greeting, and lets one thread at a time generate code."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import warp as wp

__all__ = ["COMPILING", "start_warp"]

COMPILING = threading.RLock()
"""To be held while Warp builds kernels, loads modules or captures a graph: none of it is made for
several threads at a time."""
# A fork waits until nothing is being compiled: the child would wait for a thread that it lacks.
os.register_at_fork(
    before=COMPILING.acquire,
    after_in_parent=COMPILING.release,
    after_in_child=COMPILING.release,
)


def start_warp() -> None:
    """Initialises Warp without its greeting and, on a machine without a GPU, without its complaint.

    Warnings and errors remain, and so does a log level that the caller has chosen.
    """
    with COMPILING:
        if wp.config.log_level == wp.LOG_INFO:
            wp.config.log_level = wp.LOG_WARNING
        if torch.cuda.is_available():
            wp.init()
        else:
            with _without_native_messages():
                wp.init()


@contextmanager
def _without_native_messages() -> Iterator[None]:
    """Silences what compiled code writes to standard error, out of reach of Python's logging."""
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
