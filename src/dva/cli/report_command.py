"""`dva report`: writes runs as one HTML page."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from dva.cli.flags import parse
from dva.compute.errors import UsageError
from dva.viewer.report import VIDEOS, write_report

__all__ = ["run"]


@dataclasses.dataclass
class ReportFlags:
    """Write runs as one HTML page that needs no network.

    Curves over time and steps, phases, gradient norms, visual feedback, evaluations, videos,
    settings, and the commands and versions that made them. Runs alike but for their seeds share a
    band.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")] = ()
    """Folders of runs or benchmarks, or folders that hold runs."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("report.html")
    """HTML file to write; one that is there is replaced."""
    videos: int = VIDEOS
    """Videos of each run that are taken along, evenly spread over its training; 0: none."""
    trust_code: bool = False
    """Import code of the runs' own that their configurations name as MODULE:NAME."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(ReportFlags, arguments, "report")
    if not flags.runs:
        raise UsageError("Give the folders of runs or of a benchmark: dva report RUN...")
    notes = write_report(flags.runs, flags.output, flags.videos, flags.trust_code)
    for note in notes:
        print(note)
    size = flags.output.stat().st_size / 2**20
    print(f"report   {flags.output} ({size:.1f} MB)")
    return 0
