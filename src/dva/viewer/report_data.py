"""What the report of runs shows, as JSON values: curves, bands, phases, evaluations, settings."""

import base64
import math
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from dva.runs.config import config_to_dict
from dva.runs.metrics import is_timing
from dva.studies.comparison import AXES, Comparison, Group, Member
from dva.studies.curves import align

__all__ = ["SECTIONS", "Chart", "list_charts", "report_group", "report_run"]

POINTS = 300
"""Iterations of a run that are drawn at most, evenly spread."""
BAND_POINTS = 150
DIGITS = 5
"""Significant digits of what is drawn."""


_PATIENCE = 60
"""Seconds after which a video has no picture."""


@dataclass(frozen=True)
class Chart:
    """One metric to draw."""

    metric: str
    title: str
    about: str = ""
    """A line below the title."""
    log: bool = False
    """Whether the scale is logarithmic at first."""
    tasks: tuple[str, ...] = ()
    """Those of whose runs some has numbers for it."""


SECTIONS = {
    "Learning": (
        Chart("return", "Return", "mean of the last training episodes, exploration included"),
        Chart("reward", "Reward of a step", "mean over an iteration; does not lag behind"),
        Chart("episode_length", "Episode length", "control steps"),
    ),
    "Gradients": (
        Chart("actor_grad_norm", "Gradient norm of the actor", "before clipping", True),
        Chart("critic_grad_norm", "Gradient norm of the critic", "before clipping", True),
        Chart("action_gradient_norm", "Norm of ∂J/∂a", "gradient of the loss in the actions", True),
    ),
    "What the policy sees": (
        Chart(
            "visual_feedback", "Visual feedback",
            "how much the mean action varies with what is seen; 0 for a blind policy",
        ),
        Chart("action_std", "Exploration noise", "standard deviation of the actions before tanh"),
        Chart("imitation_error", "Imitation error", "share of the variance of the guide's actions"),
    ),
}  # fmt: skip
"""Charts by the heading they stand under; all other metrics follow under one of their own."""
_NOT_DRAWN = ("iteration", "env_steps", "wall_time")


def list_charts(members: Sequence[Member]) -> dict[str, list[Chart]]:
    """Lists the charts of the metrics that some run has numbers for, by heading."""
    found: dict[str, dict[str, None]] = {}
    for member in members:
        names = {name for row in member.rows for name, value in row.items() if value is not None}
        for name in names:
            if name not in _NOT_DRAWN and not name.startswith("seconds_"):
                found.setdefault(name, {})[member.run.config.env.task] = None
    known = {chart.metric for of_section in SECTIONS.values() for chart in of_section}
    rest = sorted(found.keys() - known, key=lambda name: (is_timing(name), name))
    others = tuple(Chart(name, name.replace("_", " ").capitalize()) for name in rest)
    charts = {
        heading: [
            replace(chart, tasks=tuple(found[chart.metric]))
            for chart in of_section
            if chart.metric in found
        ]
        for heading, of_section in {**SECTIONS, "Other metrics": others}.items()
    }
    return {heading: of_section for heading, of_section in charts.items() if of_section}


def report_group(group: Group, metrics: Sequence[str]) -> dict[str, Any]:
    """Describes the seeds of one algorithm: its bands by metric and axis, and its phases.

    The band of the return is that of the comparison where there is one: the interquartile mean with
    its bootstrap interval. Any other is the mean, from the lowest to the highest seed.
    """
    bands: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        for axis in AXES:
            found = group.means.get(axis) if metric == "return" else None
            band = _rounded(found) if found and found["positions"] else _band(group, metric, axis)
            if band:
                bands.setdefault(metric, {})[axis] = band
    total = sum(group.phases.values())
    return {
        "task": group.task,
        "label": group.label,
        "seeds": [member.run.config.run.seed for member in group.members],
        "bands": bands,
        "phases": [
            {"name": name, "seconds": seconds, "share": seconds / total if total else 0.0}
            for name, seconds in group.phases.items()
            if seconds > 0
        ],
        "seconds": total,
    }


def _band(group: Group, metric: str, axis: str) -> dict[str, list[float | None]] | None:
    """Averages a metric over seeds where all of them have it; None for fewer than two."""
    series = [_series(member, metric, axis) for member in group.members]
    series = [pair for pair in series if pair[0]]
    if len(series) < 2:
        return None
    positions, values = align(series)
    if not len(positions):
        return None
    chosen = _spread(len(positions), BAND_POINTS)
    columns = {
        "positions": positions, "mean": values.mean(0), "low": values.min(0), "high": values.max(0)
    }  # fmt: skip
    return _rounded({name: column[chosen].tolist() for name, column in columns.items()})


def _series(member: Member, metric: str, axis: str) -> tuple[list[float], list[float]]:
    rows = [row for row in member.rows if row.get(metric) is not None]
    scale, name = (1 / 60, "wall_time") if axis == "minutes" else (1, axis)
    return [scale * row[name] for row in rows], [row[metric] for row in rows]


def report_run(
    member: Member, comparison: Comparison, metrics: Sequence[str], videos: int
) -> dict[str, Any]:
    """Describes one run: its lines, evaluation, videos, settings, and how to repeat it.

    Args:
        member: the run.
        comparison: that it belongs to.
        metrics: names of those to draw.
        videos: how many of its videos are taken along.
    """
    chosen = [member.rows[i] for i in _spread(len(member.rows), POINTS)]
    place = next(i for i, group in enumerate(comparison.groups) if member in group.members)
    config = config_to_dict(member.run.config)
    return {
        "name": member.run.name,
        "path": str(member.run.path),
        "task": member.run.config.env.task,
        "seed": member.run.config.run.seed,
        "group": place,
        "fault": member.fault,
        "x": {
            "minutes": [_round(row["wall_time"] / 60) for row in chosen],
            "env_steps": [row["env_steps"] for row in chosen],
        },
        "metrics": {name: [_round(row.get(name)) for row in chosen] for name in metrics},
        "evaluation": _evaluation(member),
        "videos": _videos(member, videos),
        "settings": {
            "algo": config["algo"], "preset": config["preset"],
            **{f"{part}.{name}": value for part in ("env", "algorithm", "run")
               for name, value in config[part].items()},
        },
        "sessions": [_session(session) for session in member.run.sessions],
    }  # fmt: skip


def _evaluation(member: Member) -> dict[str, Any] | None:
    found = member.run.evaluation()
    if found is None:
        return None
    returns = sorted(found.get("returns", []))
    return {
        "episodes": found.get("episodes"),
        "mean": found["mean"],
        "std": found.get("std"),
        "lowest": returns[0] if returns else None,
        "median": float(np.median(returns)) if returns else None,
        "highest": returns[-1] if returns else None,
        "episode_length": found.get("episode_length"),
        "env_steps": found.get("env_steps"),
        "returns": [_round(value) for value in returns],
    }


def _videos(member: Member, count: int) -> list[dict[str, str]]:
    """Reads videos in the order they were made, evenly spread, the last one always among them."""
    paths = sorted(member.run.videos.glob("*.mp4"), key=lambda path: path.stat().st_mtime)
    paths = [path for path in paths if not path.name.startswith(".")]
    kept = paths[-1:] if count == 1 else [paths[i] for i in _spread(len(paths), count)]
    return [
        {"name": _title(path), "source": _data_address("video/mp4", path.read_bytes()),
         "poster": _poster(path)}
        for path in kept
    ]  # fmt: skip


def _title(path: Path) -> str:
    """Names a video by what it is of: so many steps, or the name of its file."""
    kind, _, number = path.stem.partition("-")
    return f"{int(number):,} steps" if kind == "step" and number.isdigit() else path.stem


def _poster(path: Path) -> str:
    """Takes a picture from a video, to show before it is played; empty if there is none."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf", "thumbnail=30",
        "-frames:v", "1", "-q:v", "4", "-f", "mjpeg", "-",
    ]  # fmt: skip
    try:
        made = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):  # damaged: the page has the video all the same
        return ""
    return _data_address("image/jpeg", made.stdout) if made.stdout else ""


def _data_address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64," + base64.b64encode(content).decode("ascii")


def _session(session: dict[str, Any]) -> dict[str, Any]:
    command = session.get("command")
    return {
        "command": shlex.join(map(str, command)) if isinstance(command, list) else "",
        "started": session.get("started", ""),
        "commit": session.get("commit") or "not known",
        "device": session.get("device_name", ""),
        "platform": session.get("platform", ""),
        "versions": session.get("versions", {}),
    }


def _spread(length: int, count: int) -> list[int]:
    """Chooses `count` of so many places, evenly, the first and last included."""
    if count <= 0 or length == 0:
        return []
    if length <= count:
        return list(range(length))
    return np.linspace(0, length - 1, count).round().astype(int).tolist()


def _rounded(columns: dict[str, list[float]]) -> dict[str, list[float | None]]:
    return {name: [_round(value) for value in column] for name, column in columns.items()}


def _round(value: float | None) -> float | None:
    """Keeps the digits that a picture can show; what is no finite number becomes None."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
