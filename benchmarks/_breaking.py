"""What trials that break runs do: processes that are watched, ended or given damaged files."""

import contextlib
import dataclasses
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Ended", "Process", "crash_at", "damage", "wait_for"]

HANGS = 600.0
"""Seconds after which a process counts as hanging."""
WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@dataclasses.dataclass
class Ended:
    """How a process ended."""

    status: int
    """Exit status; minus the signal that killed it."""
    errors: str
    """What it wrote to standard error."""
    seconds: float

    @property
    def fault(self) -> str | None:
        """What must not happen, whatever was done to the process."""
        if self.status == -signal.SIGALRM:
            return f"hung for {HANGS:g} s"
        if "Traceback" in self.errors or "Exception ignored" in self.errors:
            return f"traceback: {self.errors.strip().splitlines()[-1]:.200}"
        return None


class Process:
    """A fork that runs something, with its output in files.

    Args:
        folder: where those lie.
        run: what it does; returns the exit status.
        out: descriptor of its standard output; None: a file.
    """

    def __init__(self, folder: Path, run: Callable[[], int], out: int | None = None) -> None:
        self._errors, self._began = folder / "errors.txt", time.monotonic()
        printed = folder / "printed.txt"
        sys.stdout.flush()
        self.number = os.fork()
        if self.number:
            return
        status = 70
        try:
            signal.alarm(int(HANGS))
            os.setpgid(0, 0)
            os.dup2(os.open(self._errors, WRITE), 2)
            os.dup2(os.open(printed, WRITE) if out is None else out, 1)
            # Whatever the parent has put in their place writes elsewhere.
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            status = run()
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def kill(self, number: int, with_children: bool = False) -> None:
        """Sends a signal, unless the process has ended; to what it has started too, if wanted."""
        children = Path(f"/proc/{self.number}/task/{self.number}/children")
        found = children.read_text().split() if with_children else []
        for process in (self.number, *map(int, found)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def wait(self) -> Ended:
        """Waits for the end."""
        _, status = os.waitpid(self.number, 0)
        errors = self._errors.read_text(errors="replace") if self._errors.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), errors, time.monotonic() - self._began)


def wait_for(path: Path) -> None:
    """Waits until there is something in a file."""
    deadline = time.monotonic() + HANGS
    while time.monotonic() < deadline and not (path.is_file() and path.stat().st_size):
        time.sleep(0.02)


def crash_at(last: int) -> None:
    """Lets this process end, without tidying up, at a call to the system that writes files."""
    count = 0
    for owner, name in (
        (os, "fsync"), (os, "replace"), (os, "chmod"), (Path, "mkdir"), (Path, "touch"),
        (Path, "unlink"), (Path, "write_text"),
    ):  # fmt: skip
        call = getattr(owner, name)

        def counted(*arguments: Any, call: Any = call, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == last:
                if call.__name__ == "write_text":
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os._exit(9)
            return call(*arguments, **options)

        setattr(owner, name, counted)


def damage(file: Path, chance: random.Random) -> str:
    """Damages a file; says how."""
    content = bytearray(file.read_bytes())
    place = chance.randrange(max(1, len(content)))
    how = chance.choice(("flipped bit", "cut", "zeros", "empty", "blank line", "missing", "folder"))
    if how == "flipped bit" and content:
        content[place] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del content[place:]
    elif how == "zeros":
        content[place : place + 64] = bytes(64)
    elif how == "blank line":
        content[place:place] = b"\n\n"
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how != "missing":
        file.write_bytes(b"" if how == "empty" else bytes(content))
    return how
