"""What the benchmark scripts share: printing rows, and keeping them with their provenance."""

import argparse
import json
import shlex
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dva.runs.machine import describe_device, git_commit, versions

__all__ = [
    "PHASES",
    "add_output_flags",
    "phase_medians",
    "provenance",
    "report",
    "synchronize",
]

PHASES = (
    "rollout", "rendering", "simulation", "action_gradient", "policy_gradient", "regression",
    "imitation", "critic",
)  # fmt: skip
"""Phases of an iteration, of any algorithm."""


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `report` takes: --json and --save."""
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of lines")
    parser.add_argument("--save", type=Path, help="also keep the rows in this file")


def synchronize(device: str | torch.device) -> None:
    """Waits for a GPU to finish; a CPU has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def report(rows: list[dict[str, Any]], as_json: bool, save: Path | None) -> None:
    """Prints rows, and writes them to a file with command, commit, device and date."""
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print("  ".join(f"{name}={value}" for name, value in row.items()))
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps(provenance() | {"rows": rows}, indent=1) + "\n")


def provenance(device: str | torch.device | None = None) -> dict[str, Any]:
    """Says how numbers came about: command, commit, device, date and versions.

    Args:
        device: where they were measured; None: the GPU if there is one, or else the CPU.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "command": shlex.join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": git_commit() or "unknown",
        "device": describe_device(device),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
    }


def phase_medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Takes the medians of the phases' seconds from metrics, under "seconds_<phase>".

    Rollout is what remains of its phase after rendering and simulation, unless CUDA graphs hide
    these: they are left out then.
    """
    medians = {
        name: statistics.median(row[f"seconds_{name}"] for row in rows)
        for name in PHASES
        if rows[-1].get(f"seconds_{name}") is not None
    }
    medians["rollout"] -= medians.get("rendering", 0.0) + medians.get("simulation", 0.0)
    return {f"seconds_{name}": round(value, 4) for name, value in medians.items()}
