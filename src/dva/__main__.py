"""Lets `python -m dva` stand for the command `dva`."""

import os
import sys

# Python puts the folder one works in first, where any file may pass for a library's.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from dva.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
