"""Lets `python -m dva` stand for the command `dva`."""

import sys

from dva.cli import main

if __name__ == "__main__":
    sys.exit(main())
