"""Figure 13: the decoupled gradient against SHAC's full gradient, both from states.

    dva train hopper --algo shac --seed 0 --run-dir runs/hopper-shac-0
    dva train hopper --algo dva --observe state --seed 0 --run-dir runs/hopper-dva-0
    python -m dva.studies.state_dpg runs/hopper-* runs/ant-* --output figures/state-dpg

writes figures/state-dpg.png, .svg and .json: the return of training over environment steps, mean
and range of the seeds. Source: D.Va, Appendix D.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dva.runs import Run

__all__ = ["draw_state_dpg"]

LABELS = {"shac": "SHAC", "dva": "decoupled gradient"}
POINTS = 200


def draw_state_dpg(runs: Sequence[Run | str | Path], output: str | Path) -> dict[str, Any]:
    """Draws learning curves, one panel per task and one line per algorithm.

    Args:
        runs: finished runs whose policies see states, any number of seeds of each algorithm.
        output: path of the files without their ending.

    Returns:
        What the JSON file holds: for each task and algorithm the seeds, environment steps (POINTS,)
        and the returns' mean, lowest and highest (POINTS,), None before an episode has finished.

    Raises:
        ValueError: no runs are given, or one of them sees pixels.
    """
    curves = _collect(runs)
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(4.5 * len(curves), 3.6), layout="constrained")
    for axes, (task, algorithms) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        for algo, curve in algorithms.items():
            low, mean, high = (
                np.array(curve[name], dtype=float) for name in ("lowest", "mean", "highest")
            )
            axes.plot(curve["env_steps"], mean, label=LABELS.get(algo, algo))
            axes.fill_between(curve["env_steps"], low, high, alpha=0.2)
        axes.set_title(task)
        axes.set_xlabel("environment steps")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylabel("return of the training episodes")
        axes.grid(alpha=0.3)
        axes.legend()
    base = Path(output)
    base.parent.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg"):
        figure.savefig(f"{base}.{ending}", dpi=120)
    Path(f"{base}.json").write_text(json.dumps(curves, indent=1) + "\n")
    return curves


def _collect(runs: Sequence[Run | str | Path]) -> dict[str, dict[str, Any]]:
    groups: dict[tuple[str, str], list[Run]] = {}
    for given in runs:
        run = given if isinstance(given, Run) else Run.open(given)
        if getattr(run.config.learner, "observe", "pixels") != "state":
            raise ValueError(f"Run {run.path} sees pixels; this study compares runs from states.")
        groups.setdefault((run.config.task, run.config.algo), []).append(run)
    if not groups:
        raise ValueError("No runs are given; name at least one run folder.")
    curves: dict[str, dict[str, Any]] = {}
    for (task, algo), members in sorted(groups.items()):
        curves.setdefault(task, {})[algo] = _average(members)
    return curves


def _average(runs: Sequence[Run]) -> dict[str, Any]:
    """Brings the curves of all seeds onto the same steps, up to where the shortest one ends."""
    series = []
    for run in runs:
        rows = [row for row in run.metrics() if row["return"] is not None]
        series.append(([row["env_steps"] for row in rows], [row["return"] for row in rows]))
    first, last = max(s[0][0] for s in series), min(s[0][-1] for s in series)
    steps = np.linspace(first, last, POINTS)
    returns = np.stack([np.interp(steps, *s) for s in series])
    return {
        "seeds": [run.config.seed for run in runs],
        "env_steps": steps.round().tolist(),
        "mean": returns.mean(0).round(1).tolist(),
        "lowest": returns.min(0).round(1).tolist(),
        "highest": returns.max(0).round(1).tolist(),
    }


def main() -> None:
    """Parses the command line and draws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--output", type=Path, required=True, help="path without ending")
    args = parser.parse_args()
    for task, algorithms in draw_state_dpg(args.runs, args.output).items():
        for algo, curve in algorithms.items():
            seeds, steps = len(curve["seeds"]), curve["env_steps"][-1]
            end = f"return {curve['mean'][-1]:.0f} after {steps:,.0f} steps"
            print(f"{task}  {LABELS.get(algo, algo)}  {seeds} seed(s)  {end}")


if __name__ == "__main__":
    main()
