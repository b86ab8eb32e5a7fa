"""Runs whose metrics are made up, for tests of what is done with them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dva import runs
from dva.runs import Run

SECONDS = 2.0
"""Of an iteration, unless a row says otherwise."""


def make_run(
    folder: Path,
    returns: Sequence[float | None],
    task: str = "cartpole",
    algo: str = "dva",
    steps: int = 100,
    rows: Sequence[Mapping[str, Any]] = (),
    evaluation: float | None = None,
    **changes: Any,
) -> Run:
    """Writes a run of one iteration for each return, with a second of set-up.

    Args:
        folder: of the run.
        returns: of training, after each iteration.
        task, algo: of the run.
        steps: environment steps of an iteration.
        rows: what differs from usual in the metrics of each iteration.
        evaluation: mean return of an evaluation at the end.
        changes: fields of the configuration; `env_steps` is what was made unless it is given.
    """
    values = {"env_steps": steps * len(returns), "device": "cpu", "threads": 1, **changes}
    run = Run.create(runs.default_config(task, algo, "cpu", run_dir=folder, **values))
    with run.metrics_path.open("w") as file:
        for number, value in enumerate(returns, start=1):
            row = {
                "iteration": number, "env_steps": steps * number, "return": value, "updates": 1,
                "wall_time": 1.0 + SECONDS * number, "steps_per_second": steps / SECONDS,
                "peak_memory_mb": 100.0, **(rows[number - 1] if rows else {}),
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")
    if evaluation is not None:
        made = {"mean": evaluation, "std": 0.0, "episodes": 1, "env_steps": steps * len(returns)}
        run.evaluation_path.write_text(json.dumps(made))
    return run
