"""Starts commands in two processes that train together, without torchrun."""

import os
import socket
import sys
from multiprocessing import get_context
from pathlib import Path

from dva.cli import main


class Launched:
    """One of the processes; what it prints goes into files.

    Imports take longer than what tests do: one process has made them, and forks the others.
    """

    def __init__(self, arguments: list[str], variables: dict[str, str], folder: Path) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["dva.cli.train_command"])
        name = variables["RANK"]
        self._out, self._err = folder / f"out-{name}", folder / f"err-{name}"
        paths = (self._out, self._err)
        self.process = context.Process(target=_run, args=(arguments, variables, paths))
        self.process.start()

    def wait(self) -> tuple[int | None, str, str]:
        """Waits for its end; returns exit status, output and errors."""
        self.process.join(200)
        return self.process.exitcode, self._out.read_text(), self._err.read_text()


def start_two(folder: Path, *arguments: str) -> list[Launched]:
    """Starts `dva` with these arguments; output goes into a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir()
    shared = {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    return [
        Launched([*arguments], {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, folder)
        for rank in range(2)
    ]


def _run(arguments: list[str], variables: dict[str, str], paths: tuple[Path, Path]) -> None:
    os.environ.update(variables)
    for path, descriptor in zip(paths, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.exit(main(arguments))
