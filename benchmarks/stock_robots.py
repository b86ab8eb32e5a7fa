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

from dva.sim import Model, load_model, stable_substeps
from dva.sim.mjcf.agreement import acceleration_error, compile_counterpart
from dva.sim.mjcf.unsimulated import UNSIMULATED

_IGNORED = "not simulated, as asked: "


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
    actuators: str = ""
    """How many motors and how many servos; what acts along several joints is one."""


def count_actuators(model: Model) -> str:
    """Counts actuators that push as told, and those that follow a position or a velocity."""
    m = compile_counterpart(model)
    servos = int((m.actuator_biasprm[:, 1:3] != 0.0).any(axis=1).sum())
    counts = {"motors": m.nu - servos, "servos": servos}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def try_file(path: Path) -> Row | str:
    """Loads a file without what may be ignored, and compares it; or says why it does not count."""
    text = path.read_bytes()
    if b"<mujoco" not in text or b"<mujocoinclude" in text[:2000]:
        return "no whole model"
    name = "/".join(path.parts[-3:])
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = load_model(path, ignore=tuple(UNSIMULATED))
        needed, error = stable_substeps(model, 1 / 60), acceleration_error(model)
    except ValueError as refusal:
        if "MuJoCo cannot compile" in str(refusal):
            return "MuJoCo cannot read it"
        if "has no joint" in str(refusal):
            return "no joint"
        return Row(name, "refused", str(refusal).replace(f"{path}: ", "").replace(f"{path} ", ""))
    reasons = [str(warning.message).partition(_IGNORED) for warning in caught]
    reason = next((after for _, mark, after in reasons if mark), "")
    names = [ignored for ignored in UNSIMULATED if f"{ignored}: " in reason]
    outcome = f"ignoring {', '.join(names)}" if names else "loads"
    return Row(name, outcome, reason, needed, error, count_actuators(model))


def main() -> int:
    """Parses the command line, tries the files and writes the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, help="JSON file for the rows")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, left_out = [], Counter()
    for path in sorted(path for folder in args.folders for path in folder.rglob("*.xml")):
        row = try_file(path)
        if isinstance(row, str):
            left_out[row] += 1
            continue
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
