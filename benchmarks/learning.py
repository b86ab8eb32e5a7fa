"""Collects training runs: time, steps and iterations to given returns, and final evaluations.

    dva train cartpole --preset cpu --seed 0 --run-dir runs/s0
    python benchmarks/learning.py runs/s0 runs/s1 runs/s2 --returns 1500 1800 --save FILE.json

Returns on the way are those of training (the mean over the last finished episodes, with exploration
noise); the final one is the evaluation of the deterministic policy.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import yaml

from _results import add_output_flags, report
from dva.runs import Run

CURVE_POINTS = 50


def collect(path: Path, returns: list[float], trust_code: bool = False) -> dict[str, Any]:
    """Summarises one run."""
    run = Run.open(path, trust_code)
    env, algorithm = run.config.env, run.config.algorithm
    rows = run.metrics()
    evaluation = json.loads(run.evaluation_path.read_text()) if run.evaluation_path.exists() else {}
    reached = {}
    for value in returns:
        row = next((row for row in rows if (row["return"] or 0.0) >= value), None)
        reached[f"{value:g}"] = row and {
            "wall_time_s": round(row["wall_time"], 1),
            "env_steps": row["env_steps"],
            "iteration": row["iteration"],
        }
    last = rows[-max(1, len(rows) // 10) :]
    kept = rows[:: max(1, len(rows) // CURVE_POINTS)]
    return {
        "task": env.task,
        "algo": run.config.algo,
        "observe": list(env.observe),
        "preset": run.config.preset,
        "seed": run.config.run.seed,
        "num_envs": env.num_envs,
        "horizon": getattr(algorithm, "horizon", None),
        "guide_envs": getattr(algorithm, "guide_envs", 0) if getattr(algorithm, "guide", 0) else 0,
        "image_size": None if env.observe == ("state",) else env.image_size,
        "actor_learning_rate": getattr(algorithm, "actor_learning_rate", None),
        "planned_env_steps": run.config.run.env_steps,
        "run_commit": yaml.safe_load((path / "config.yaml").read_text())["sessions"][-1]["commit"],
        "iterations": rows[-1]["iteration"],
        "env_steps": rows[-1]["env_steps"],
        "wall_time_s": round(rows[-1]["wall_time"], 1),
        "evaluation_mean": evaluation.get("mean"),
        "evaluation_std": evaluation.get("std"),
        "evaluation_episodes": evaluation.get("episodes"),
        "reward_of_last_tenth": round(statistics.mean(row["reward"] for row in last), 3),
        "reached": reached,
        "peak_memory_mb": rows[-1]["peak_memory_mb"],
        "median_steps_per_s": round(statistics.median(row["steps_per_second"] for row in rows)),
        "curve": {
            "wall_time_s": [round(row["wall_time"], 1) for row in kept],
            "env_steps": [row["env_steps"] for row in kept],
            "visual_feedback": [row.get("visual_feedback") for row in kept],
            "return": [row["return"] and round(row["return"], 1) for row in kept],
        },
    }


def main() -> None:
    """Parses the command line, collects and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--returns", nargs="*", type=float, default=[], help="returns to look for")
    parser.add_argument("--trust-code", action="store_true", help="import tasks of one's own")
    add_output_flags(parser)
    args = parser.parse_args()
    rows = [collect(path, args.returns, args.trust_code) for path in args.runs]
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
