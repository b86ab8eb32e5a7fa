"""Tries every robot file of some folders and writes a table: does it load, and is it MuJoCo's?

    python benchmarks/stock_robots.py FOLDER... --output table.json

A file "loads" as it is, loads when what is not simulated is ignored by name, or is refused. Of
those that load, accelerations without contacts, limits and dry friction are compared with MuJoCo's
in random states, relative to the largest. Files that are no whole model, parts to be included,
files without joints and files that MuJoCo itself cannot read are counted and left out.
"""

import argparse
import json
import sys
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from dva.sim import load_model, stable_substeps
from dva.sim.mjcf.agreement import acceleration_error
from dva.sim.mjcf.compiling import compile_mjcf
from dva.sim.mjcf.unsimulated import IGNORABLE


@dataclass(frozen=True)
class Row:
    """What became of one file."""

    file: str
    outcome: str
    """"loads", "ignoring NAMES" or "refused"."""
    reason: str = ""
    """Why it is refused, or what is ignored."""
    substeps: int | None = None
    """For a control step of 1/60 s."""
    acceleration_error: float | None = None


def whole_robots(folders: list[Path]) -> tuple[list[Path], Counter[str]]:
    """Finds the files that MuJoCo compiles to something with joints, and counts the others."""
    found, left_out = [], Counter()
    for path in sorted(path for folder in folders for path in folder.rglob("*.xml")):
        if b"<mujoco" not in path.read_bytes() or b"<mujocoinclude" in path.read_bytes()[:2000]:
            left_out["no whole model"] += 1
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compiled = compile_mjcf(path)
        except ValueError:
            left_out["MuJoCo cannot read it"] += 1
            continue
        if compiled.nv:
            found.append(path)
        else:
            left_out["no joint"] += 1
    return found, left_out


def try_file(path: Path) -> Row:
    """Loads one file, as it is or without what may be ignored, and compares it."""
    name = "/".join(path.parts[-3:])
    try:
        model, outcome, reason = load_model(path), "loads", ""
    except ValueError as error:
        reason = str(error)
        try:
            model = load_model(path, ignore=tuple(IGNORABLE))
        except ValueError as last:
            return Row(name, "refused", _without_path(str(last), path))
        names = [ignored for ignored in IGNORABLE if f"{ignored}: " in reason]
        outcome, reason = f"ignoring {', '.join(names)}", _without_path(reason, path)
    try:
        return Row(name, outcome, reason, stable_substeps(model, 1 / 60), acceleration_error(model))
    except ValueError as error:
        return Row(name, "refused", _without_path(str(error), path))


def _without_path(text: str, path: Path) -> str:
    return text.replace(f"{path}: ", "").replace(f"{path} ", "")


def main() -> int:
    """Parses the command line, tries the files and writes the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, help="JSON file for the rows")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    paths, left_out = whole_robots(args.folders)
    rows = []
    for path in paths:
        row = try_file(path)
        rows.append(row)
        error = "" if row.acceleration_error is None else f"{row.acceleration_error:.1e}"
        print(f"| {row.file} | {row.outcome} | {row.substeps or ''} | {error} | {row.reason} |",
              flush=True)  # fmt: skip
    counts = Counter(row.outcome.split()[0] for row in rows)
    print(f"{len(rows)} files: {dict(counts)}; left out: {dict(left_out)}")
    if args.output:
        document = {"left_out": dict(left_out), "rows": [asdict(row) for row in rows]}
        args.output.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
