"""Figures, CSV files and a table of a comparison."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from dva.compute.files import write_atomically
from dva.studies.comparison import AXES, Comparison, Group
from dva.studies.report import new_figure, save_figure
from dva.studies.statistics import FEWEST

__all__ = [
    "curve_rows",
    "draw_phases",
    "draw_returns",
    "number_rows",
    "phase_rows",
    "save_comparison",
    "table",
    "table_cells",
]

PHASES = ("simulation", "rendering", "rollout")
"""Phases that come first, below the others in alphabetical order; "other" comes last."""
PALETTE = [
    *(f"C{number}" for number in range(10) if number != 7),
    "gold", "navy", "limegreen", "black", "salmon",
]  # fmt: skip
"""Matplotlib's colours but for grey, which stands for what is left, and a few that differ."""
GREY = "0.75"
SEEDS = "each line is a seed"
MEANS = (
    f"thick: interquartile mean of {FEWEST} seeds or more, with its 95 % bootstrap interval; thin: "
    "a seed"
)
CUT = "; dot: the mean ends with its shortest run"
SMALLEST = 0.05
"""Share of the highest bar that has room for a number."""
WIDE = 8.0
"""Times by which the highest bar may exceed the lowest, and the longest curve the shortest; beyond
it bars are drawn equally high, and steps along a logarithmic axis."""
BAR = 0.65
"""Inches for a bar with its label, at least."""


# ---------------------------------------------------------------------- figures


def draw_returns(comparison: Comparison) -> Any:
    """Draws one column per task, returns over time above and over steps below; a single task has
    them side by side."""
    tasks, labels = comparison.tasks, comparison.labels
    if len(tasks) == 1:
        figure, panels = new_figure(len(AXES))
        axes = panels.T
    else:
        figure, axes = new_figure(len(tasks), len(AXES))
    colors = _colors(labels)
    for group in comparison.groups:
        for row, axis in enumerate(AXES):
            panel = axes[row, tasks.index(group.task)]
            _draw_group(panel, group, axis, colors[group.label])
    for row, (axis, label) in enumerate(AXES.items()):
        for panel, task in zip(axes[row], tasks, strict=True):
            panel.set_xlabel(label)
            if axis == "env_steps" and _differ(comparison, task):
                panel.set_xscale("log")
            else:
                panel.set_xlim(left=0)
            if row == 0 or len(tasks) == 1:
                panel.set_title(task)
            if axis == "env_steps":
                panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes[row, 0].set_ylabel("return of the training episodes")
    means = any(group.means for group in comparison.groups)
    cut = any(any(group.cut.values()) for group in comparison.groups)
    caption = (MEANS if means else SEEDS) + (CUT if cut else "")
    figure.supxlabel(caption, fontsize=8, color="0.4")
    width = figure.get_size_inches()[0]
    figure.legend(
        handles=[Patch(color=color, label=label) for label, color in colors.items()],
        loc="outside upper center", ncols=max(1, min(len(colors), int(width / 1.6))),
        frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _differ(comparison: Comparison, task: str) -> bool:
    """Tells whether some algorithms make so few steps that a linear axis cannot show them."""
    groups = [group for group in comparison.groups if group.task == task]
    steps = [group.numbers["env_steps"] or 0.0 for group in groups]
    return min(steps) > 0.0 and max(steps) > WIDE * min(steps)


def _draw_group(panel: Any, group: Group, axis: str, color: str) -> None:
    """Draws the seeds of one algorithm, and their mean where there are enough."""
    mean = group.means.get(axis, {"positions": []})
    width, alpha = (0.7, 0.3) if mean["positions"] else (1.3, 0.9)
    for member in group.members:
        panel.plot(*member.line(axis), color=color, lw=width, alpha=alpha)
    if not mean["positions"]:
        return
    positions = mean["positions"]
    panel.plot(positions, mean["mean"], color=color, lw=2)
    panel.fill_between(positions, mean["low"], mean["high"], color=color, alpha=0.2, lw=0)
    if group.cut[axis]:
        panel.plot(positions[-1], mean["mean"][-1], "o", color=color, ms=6)


def draw_phases(comparison: Comparison) -> Any:
    """Draws one panel per task, a bar per algorithm: seconds of each phase per million steps, with
    their shares. Where some need many times more than others, bars are of the shares alone.

    Source: D.Va, Figure 5.
    """
    tasks, phases = comparison.tasks, _phases(comparison)
    figure, axes = new_figure(len(tasks))
    bars = len(tasks) * max(
        sum(group.task == task for group in comparison.groups) for task in tasks
    )
    width, height = figure.get_size_inches()
    figure.set_size_inches(max(width, BAR * bars + 2.5), height)
    colors = {**_colors(phases), "other": GREY}
    for panel, task in zip(axes[0], tasks, strict=True):
        groups = [group for group in comparison.groups if group.task == task]
        totals = [sum(group.phases.values()) for group in groups]
        wide = max(totals) > WIDE * min(totals)
        highest = 100.0 if wide else max(totals)
        for place, (group, total) in enumerate(zip(groups, totals, strict=True)):
            scale = 100.0 / total if wide else 1.0
            heights = {phase: scale * group.phases.get(phase, 0.0) for phase in phases}
            _draw_bar(panel, place, heights, total, colors, SMALLEST * highest)
        names = [group.label.replace(" (", "\n(") for group in groups]
        tilt: dict[str, Any] = {} if len(names) < 4 else {"rotation": 35, "ha": "right"}
        panel.set_xticks(range(len(names)), names, fontsize=8, **tilt)
        panel.set_xlim(-0.6, max(len(names), 2) - 0.4)
        panel.set_ylim(top=1.1 * highest)
        panel.grid(axis="x", visible=False)
        panel.set_axisbelow(True)
        panel.set_title(task)
        panel.set_ylabel(
            "share (%); on top: seconds per million steps"
            if wide
            else "seconds per million environment steps"
        )
    figure.legend(
        handles=[
            Patch(color=colors[phase], label=phase.replace("_", " ")) for phase in reversed(phases)
        ],
        loc="outside right upper", frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _draw_bar(
    panel: Any,
    place: int,
    heights: dict[str, float],
    seconds: float,
    colors: dict[str, str],
    smallest: float,
) -> None:
    """Stacks the phases of one algorithm, with their shares from the smallest height on that has
    room for one, and the seconds of all on top."""
    total, bottom = sum(heights.values()), 0.0
    for phase, height in heights.items():
        panel.bar(place, height, 0.6, bottom, color=colors[phase])
        if height >= smallest:
            share, middle = f"{100 * height / total:.0f} %", bottom + height / 2
            panel.text(place, middle, share, ha="center", va="center", fontsize=7, color="white")
        bottom += height
    panel.text(place, total, f"{seconds:,.0f} s", ha="center", va="bottom", fontsize=7)


def _colors(names: Sequence[str]) -> dict[str, str]:
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}


def _phases(comparison: Comparison) -> list[str]:
    names = {name for group in comparison.groups for name in group.phases}
    others = sorted(names - {*PHASES, "other"})
    return [name for name in (*PHASES, *others, "other") if name in names]


# ---------------------------------------------------------------------- numbers


def number_rows(comparison: Comparison) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the rows of the tables: one for each algorithm on each task, one for each run."""
    groups = [
        {"task": group.task, "algorithm": group.label, **group.numbers}
        for group in comparison.groups
    ]
    runs = [
        {
            "run": str(member.run.path), "task": group.task, "algorithm": group.label,
            "seed": member.run.config.run.seed, "complete": not member.fault, **member.numbers,
        }
        for group in comparison.groups
        for member in group.members
    ]  # fmt: skip
    return groups, runs


def curve_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns a row for each point that the figure shows; the seed of a mean is empty."""
    rows = []
    for group in comparison.groups:
        for axis in AXES:
            about = {"task": group.task, "algorithm": group.label, "axis": axis}
            for member in group.members:
                seed = {**about, "seed": member.run.config.run.seed}
                rows += [
                    {**seed, "position": position, "return": value}
                    for position, value in zip(*member.line(axis), strict=True)
                ]
            columns = group.means.get(axis, {})
            rows += [
                {**about, "seed": None, "position": position, "return": mean, "low": low,
                 "high": high}
                for position, mean, low, high in zip(*columns.values(), strict=True)
            ]  # fmt: skip
    return rows


def phase_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns the seconds of each phase per million steps, a row for each bar."""
    return [
        {"task": group.task, "algorithm": group.label}
        | {phase: group.phases.get(phase) for phase in _phases(comparison)}
        for group in comparison.groups
    ]


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Writes figures (PNG and SVG) and numbers (CSV) into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    groups, runs = number_rows(comparison)
    for name, rows in (
        ("table", groups), ("runs", runs), ("returns", curve_rows(comparison)),
        ("phases", phase_rows(comparison)),
    ):  # fmt: skip
        _write_csv(folder / f"{name}.csv", rows)
    save_figure(folder / "returns", draw_returns(comparison))
    save_figure(folder / "phases", draw_phases(comparison))


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), "utf-8"))


def table(comparison: Comparison) -> list[str]:
    """Returns the numbers of every algorithm on every task as lines of text."""
    lines = table_cells(comparison)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def table_cells(comparison: Comparison) -> list[list[str]]:
    """Returns the rows of the table, the names of its columns first; the first two are words."""
    lines = [
        ["task", "algorithm", "seeds", "return", "evaluation", "steps", "minutes", "steps/s",
         "updates/s", "memory", *(f"to {value:g}" for value in comparison.thresholds)]
    ]  # fmt: skip
    for group in comparison.groups:
        numbers = group.numbers
        lines.append(
            [
                group.task, group.label, _number(numbers["seeds"]),
                _estimate(numbers, "return"), _estimate(numbers, "evaluation"),
                _number(numbers["env_steps"]), _number(numbers["minutes"], 1),
                _number(numbers["steps_per_second"]), _number(numbers["updates_per_second"], 1),
                f"{_number(numbers['peak_memory_mb'])} MB",
                *(_reached(numbers, f"{value:g}") for value in comparison.thresholds),
            ]
        )  # fmt: skip
    return lines


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _estimate(numbers: dict[str, float | None], name: str) -> str:
    low, high = numbers[f"{name}_low"], numbers[f"{name}_high"]
    interval = "" if low is None else f" ({_number(low)} to {_number(high)})"
    return _number(numbers[name]) + interval


def _reached(numbers: dict[str, float | None], threshold: str) -> str:
    """Says when a return was reached, and by how many seeds if not by all."""
    count, seeds = numbers[f"reached_{threshold}"], numbers["seeds"]
    minutes = numbers[f"minutes_to_{threshold}"]
    when = "-"
    if minutes is not None:
        when = f"{60 * minutes:.0f} s" if minutes < 1 else f"{minutes:,.1f} min"
    return when if count == seeds else f"{when} ({count:g} of {seeds:g})"
