"""Benchmarks that are started in the folder of a test, and looked at from outside."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dva.cli import main

RUN = Path("out/cartpole-slow-s0")
"""The first run of a benchmark of the fixture."""


def wait_for(what: Callable[[], Any], process: subprocess.Popen | None = None) -> None:
    """Waits until something is true, or a process ends that should bring it about."""
    deadline = time.monotonic() + 250
    while not what():
        assert time.monotonic() < deadline, "it does not come"
        assert process is None or process.poll() is None, "it has ended"
        time.sleep(0.02)


def rows(run: Path = RUN) -> int:
    """Counts the iterations of a run."""
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def timeless(numbers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table without what depends on the machine's speed and memory."""
    speeds = ("minutes", "second", "memory", "run")
    return [{k: v for k, v in row.items() if not any(s in k for s in speeds)} for row in numbers]


def interrupted(arguments: list[str], when: Callable[[], Any]) -> int:
    """Runs a command in this process with a Ctrl-C at a moment of its own; returns its status."""

    def interrupt() -> None:
        wait_for(when)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    status = main(arguments)
    thread.join()
    return status
