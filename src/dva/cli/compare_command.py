"""`dva compare`: draws runs of any algorithms against each other."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from dva.cli.flags import parse
from dva.compute.errors import UsageError
from dva.runs.run import CONFIG
from dva.studies.comparison import compare
from dva.studies.comparison_report import save_comparison, table
from dva.studies.report import free_path

__all__ = ["run"]


@dataclasses.dataclass
class CompareFlags:
    """Draw runs against each other: return over wall time and environment steps, and phases.

    Writes returns and phases as PNG, SVG and CSV, and table.csv and runs.csv with the numbers.
    Runs of one algorithm and task are seeds of each other, and are averaged where there are three
    or more.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")] = ()
    """Folders of runs or benchmarks, or folders that hold runs."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")] = None
    """Folder of figures and numbers; None: comparison in the folder of a benchmark, or
    studies/comparison. Nothing is overwritten: later folders get a number."""
    thresholds: tuple[float, ...] = ()
    """Returns for which the table has the time until training reached them."""
    trust_code: bool = False
    """Import code of the runs' own that their configurations name as MODULE:NAME."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(CompareFlags, arguments, "compare")
    if not flags.runs:
        raise UsageError("Give the folders of runs or of a benchmark: dva compare RUN...")
    comparison = compare(flags.runs, flags.thresholds, flags.trust_code)
    place, *others = flags.runs
    if others or (place / CONFIG).is_file():  # a run's own folder is its own
        place = Path("studies")
    folder = free_path(flags.output or place / "comparison")
    save_comparison(comparison, folder)
    print("\n".join(table(comparison)))
    if comparison.notes:
        print()
    for note in comparison.notes:
        print(note)
    print(f"\nfigures  {folder / 'returns.png'}\n         {folder / 'phases.png'}")
    print(f"numbers  {folder / 'table.csv'}")
    return 0
