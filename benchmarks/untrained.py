"""Returns without training: random actions, and no action at all (the robot stands or falls).

    python benchmarks/untrained.py hopper ant --save benchmarks/results/untrained.json

One row per task and policy: mean and standard deviation of the return over whole episodes, and
their mean length, from the starts that `dva eval` uses.
"""

import argparse
from functools import partial
from typing import Any

from _results import add_output_flags, report
from dva import envs, tasks
from dva.policies import Policy, RandomPolicy, ZeroPolicy
from dva.runs import evaluate


def measure(task: str, episodes: int, device: str) -> list[dict[str, Any]]:
    """Evaluates both policies on one task."""
    make = partial(envs.make, task, device=device, observe="state")
    env = make(1)
    specs = env.policy_spec, env.action_spec
    env.close()
    policies: dict[str, Policy] = {
        "random": RandomPolicy(*specs, seed=0),
        "zero": ZeroPolicy(*specs),
    }
    rows = []
    for name, policy in policies.items():
        found = evaluate(policy, make, episodes)
        rows.append(
            {
                "task": task,
                "policy": name,
                "episodes": episodes,
                "mean": round(found.mean, 1),
                "std": round(found.std, 1),
                "episode_length": round(found.episode_length, 1),
            }
        )
    return rows


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("tasks", nargs="+", help=f"out of {', '.join(tasks.names())}")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    add_output_flags(parser)
    args = parser.parse_args()
    rows = [row for task in args.tasks for row in measure(task, args.episodes, args.device)]
    report(rows, args.json, args.save)


if __name__ == "__main__":
    main()
