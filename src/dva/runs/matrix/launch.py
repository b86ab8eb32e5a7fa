"""Becomes `dva` on cores of its own, and ends when the process that asked for it does.

A script, not a module: `python launch.py PARENT CORES ARGUMENTS` with the parent's process id and
the numbers of the cores, joined by commas. What it sets here the program that it turns into keeps.
It imports nothing that takes time.
"""

import ctypes
import os
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1
"""Of prctl, in linux/prctl.h."""


def main() -> None:
    """Prepares this process, and replaces its program."""
    parent, cores, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    if sys.platform == "linux":
        # A killed benchmark can stop nothing: the system stops what it has begun, at a checkpoint.
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)
    # -P: files of the folder one works in must not pass for libraries, or for dva itself.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "dva", *arguments])


if __name__ == "__main__":
    main()
