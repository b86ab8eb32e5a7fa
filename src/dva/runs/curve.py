"""The learning curve of a run as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from dva.compute.files import write_atomically
from dva.runs.metrics import read_metrics

__all__ = ["can_be_drawn", "draw_curve"]


def draw_curve(metrics: Path, picture: Path, title: str) -> bool:
    """Draws the running return over environment steps and over wall time.

    Args:
        metrics: a `metrics.jsonl` file.
        picture: PNG file to write.
        title: stands above the picture.

    Returns:
        Whether there was anything to draw: no episode may have finished yet.

    Raises:
        UsageError: the metrics are damaged, or the picture cannot be written.
    """
    rows = [row for row in read_metrics(metrics) if can_be_drawn(row)]
    if not rows:
        return False
    returns = [row["return"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    by_steps, by_time = figure.subplots(1, 2, sharey=True)
    by_steps.plot([row["env_steps"] for row in rows], returns, color="tab:blue")
    by_steps.set_xlabel("environment steps")
    by_steps.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1.2M
    by_steps.set_ylabel("return of the training episodes")
    by_time.plot([row["wall_time"] / 60 for row in rows], returns, color="tab:orange")
    by_time.set_xlabel("wall time (minutes)")
    for axes in (by_steps, by_time):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    write_atomically(picture, lambda temporary: figure.savefig(temporary, dpi=120, format="png"))
    return True


def can_be_drawn(row: dict[str, Any]) -> bool:
    """Tells whether a row of the metrics is a point of the curve."""
    return all(isinstance(row.get(name), int | float) for name in ("return", "wall_time"))
