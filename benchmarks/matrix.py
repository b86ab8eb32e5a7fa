"""Keeps the table of a benchmark, and the numbers behind it, with their provenance.

    dva benchmark --tasks cartpole --seeds 3 --minutes 10 --jobs 2 --output runs/cartpole
    python benchmarks/matrix.py runs/cartpole --thresholds 1000 1500 --save FILE.json

Prints what `dva compare` prints. FILE.json has a row for each algorithm on each task, with the
seconds of its phases per million steps, and one for each run, with its commits and its curve.
--figures PREFIX also draws PREFIX-returns.png and PREFIX-phases.png.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from _results import provenance
from dva.runs.fields import to_plain
from dva.runs.matrix.plan import read_matrix
from dva.studies.comparison import Comparison, Member, compare
from dva.studies.comparison_report import (
    draw_phases,
    draw_returns,
    number_rows,
    phase_rows,
    table,
)

CURVE_POINTS = 40


def rows_of(comparison: Comparison) -> dict[str, Any]:
    """Returns the rows of both tables."""
    groups, runs = number_rows(comparison)
    members = [member for group in comparison.groups for member in group.members]
    return {
        "groups": [
            _rounded({**row, "seconds_per_million_steps": _rounded(phases, 1)})
            for row, phases in zip(groups, map(_bare, phase_rows(comparison)), strict=True)
        ],
        "runs": [
            _rounded({**row, "run": member.run.name, **_about(member)})
            for row, member in zip(runs, members, strict=True)
        ],
        "notes": [note for note in comparison.notes if not note.startswith("Shortened")],
    }


def _about(member: Member) -> dict[str, Any]:
    """Returns what a run was made with, its evaluation, and its curve over time."""
    evaluation = member.run.evaluation() or {}
    minutes, returns = member.line("minutes", CURVE_POINTS)
    return {
        "commits": sorted({str(session.get("commit")) for session in member.run.sessions}),
        "sessions": len(member.run.sessions),
        "evaluation_std": evaluation.get("std"),
        "curve": {
            "minutes": [round(x, 2) for x in minutes],
            "return": [round(x, 1) for x in returns],
        },
    }


def _bare(row: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in row.items() if name not in ("task", "algorithm") and x}


def _rounded(row: dict[str, Any], digits: int = 2) -> dict[str, Any]:
    return {name: round(x, digits) if isinstance(x, float) else x for name, x in row.items()}


def main() -> None:
    """Parses the command line, collects, prints and draws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="folder of a benchmark")
    parser.add_argument("--thresholds", nargs="*", type=float, default=[], help="returns")
    parser.add_argument("--save", type=Path, help="keep the numbers in this file")
    parser.add_argument("--figures", help="where to draw; PREFIX of the names")
    args = parser.parse_args()
    comparison = compare([args.folder], args.thresholds)
    print("\n".join([*table(comparison), *comparison.notes]))
    if args.save is not None:
        matrix = to_plain(read_matrix(args.folder))
        kept = {**provenance("cpu"), "matrix": matrix, **rows_of(comparison)}
        args.save.write_text(json.dumps(kept, indent=1) + "\n")
    if args.figures is not None:
        for name, draw in (("returns", draw_returns), ("phases", draw_phases)):
            draw(comparison).savefig(f"{args.figures}-{name}.png", dpi=110)


if __name__ == "__main__":
    main()
