"""Runs against each other, of any algorithms: returns over time and steps, speed, and phases.

The return of a run is what its metrics call so, the mean over the last finished episodes of
training, for every algorithm alike. Time is `wall_time`: training and its set-up in all sessions,
without evaluations. Nothing is cut away in silence: what a mean leaves out is still there as the
lines of single seeds, and is said.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dva.runs import Run, UsageError
from dva.runs.config import config_to_dict
from dva.runs.matrix.plan import MATRIX, read_matrix
from dva.runs.matrix.sessions import find_standing
from dva.runs.run import CONFIG
from dva.studies.curves import align, require_alike
from dva.studies.statistics import FEWEST, bootstrap_interval, interquartile_mean

__all__ = ["AXES", "Comparison", "Group", "Member", "compare"]

AXES = {"minutes": "wall time (minutes)", "env_steps": "environment steps"}
LINE_POINTS = 400
"""Points of the line of one run at most."""
PARTS = ("rendering", "simulation")
"""Phases that are parts of the rollout."""
SAME_END = 0.99
"""Curves whose lengths differ by less end together as far as a picture can show."""


@dataclasses.dataclass
class Member:
    """One run, and what is known of it."""

    run: Run
    fault: str
    """Why it is not at its end; empty if it is."""
    rows: list[dict[str, Any]]
    """Its metrics."""
    numbers: dict[str, float | None] = dataclasses.field(default_factory=dict)
    """One number each, by the name of its column."""
    phases: dict[str, float] = dataclasses.field(default_factory=dict)
    """Seconds of each phase for a million environment steps."""

    def curve(self, axis: str) -> tuple[list[float], list[float]]:
        """Returns positions along one of `AXES`, and the returns there."""
        rows = [row for row in self.rows if row.get("return") is not None]
        found = {
            "minutes": [row["wall_time"] / 60 for row in rows],
            "env_steps": [row["env_steps"] for row in rows],
        }
        return found[axis], [row["return"] for row in rows]

    def line(self, axis: str, most: int = LINE_POINTS) -> tuple[list[float], list[float]]:
        """Returns its curve with no more than `most` points, the first and last included."""
        positions, values = self.curve(axis)
        if len(positions) > most:
            chosen = np.linspace(0, len(positions) - 1, most).round().astype(int)
            positions, values = ([column[i] for i in chosen] for column in (positions, values))
        return positions, values


@dataclasses.dataclass
class Group:
    """The runs of one algorithm on one task, one for each seed."""

    task: str
    label: str
    """The algorithm, and what it observes."""
    members: list[Member]
    means: dict[str, dict[str, list[float]]]
    """For each of `AXES` "positions", "mean", "low" and "high"; none for few seeds."""
    cut: dict[str, bool]
    """For each of `AXES`, whether runs go on beyond the end of the mean."""
    numbers: dict[str, float | None]
    """One number each, by the name of its column."""
    phases: dict[str, float]
    """Seconds of each phase for a million environment steps."""


@dataclasses.dataclass
class Comparison:
    """Everything that figures and tables show."""

    groups: list[Group]
    thresholds: tuple[float, ...]
    notes: list[str]
    """Lines about what is missing, cut or not comparable."""

    @property
    def tasks(self) -> list[str]:
        """The tasks, in order."""
        return list(dict.fromkeys(group.task for group in self.groups))

    @property
    def labels(self) -> list[str]:
        """The algorithms, in order."""
        return list(dict.fromkeys(group.label for group in self.groups))


def compare(
    paths: Sequence[Path],
    thresholds: Sequence[float] = (),
    trust_code: bool = False,
    split: bool = False,
) -> Comparison:
    """Reads runs and summarises them.

    Args:
        paths: folders of runs, of benchmarks, or folders that hold runs.
        thresholds: returns; how long each run took to reach them is looked up.
        trust_code: let modules be imported that the runs' configurations name as MODULE:NAME.
        split: whether runs of one algorithm that differ in more than their seeds are groups of
            their own, labelled by what differs; otherwise they are refused.

    Raises:
        UsageError: a folder holds no run, a run cannot be read, or runs of one algorithm differ in
            more than their seeds and are not to be split.
    """
    members, notes = _find(paths, trust_code)
    groups: dict[tuple[str, str], list[Member]] = {}
    for member in members:
        config = member.run.config
        if not member.rows:
            notes.append(f"Left out: {member.run.path} has no metrics yet.")
            continue
        label = f"{config.algo.rpartition(':')[2]} ({', '.join(config.env.observe)})"
        groups.setdefault((config.env.task, label), []).append(member)
        member.numbers = _numbers(member, thresholds)
        member.phases = _phases(member.rows)
        if member.fault:
            notes.append(f"Incomplete: {member.run.path} {member.fault}.")
        if member.numbers["return"] is None:
            notes.append(f"No curve: in {member.run.path} no episode has ended yet.")
    if not groups:
        raise UsageError(f"No run in {', '.join(map(str, paths))} has metrics yet: train longer.")
    if split:
        groups = {
            (task, own): part
            for (task, label), group in groups.items()
            for own, part in _split(label, group).items()
        }
    found = [_group(task, label, group) for (task, label), group in groups.items()]
    order = list(dict.fromkeys(group.task for group in found))
    found.sort(key=lambda group: order.index(group.task))
    notes += [note for group in found for note in _group_notes(group)]
    kept = [member for member in members if member.rows]
    return Comparison(found, tuple(thresholds), notes + _differences(kept))


# ---------------------------------------------------------------------- finding runs


def _find(paths: Sequence[Path], trust_code: bool) -> tuple[list[Member], list[str]]:
    """Opens all runs of some folders, each once; says which of a benchmark have not begun."""
    members: dict[Path, Member] = {}
    notes: list[str] = []
    for path in paths:
        folders = [path] if (path / CONFIG).is_file() else _folders(path)
        if (path / MATRIX).is_file():
            found, missing = _open_cells(path, trust_code)
            notes += [f"Not begun: {path / name}." for name in missing]
        else:
            found = [_open(Run.open(folder, trust_code)) for folder in folders or [path]]
        members |= {member.run.path.resolve(): member for member in found}
    return list(members.values()), notes


def _folders(path: Path) -> list[Path]:
    """Lists the runs in a folder."""
    return sorted(file.parent for file in path.glob(f"*/{CONFIG}"))


def _open(run: Run) -> Member:
    """Reads a run, and whether it is at its end as far as its own folder tells."""
    rows, planned = run.metrics(), run.config.run
    done = rows[-1]["env_steps"] if rows else 0
    # An evaluation is made at the end of a session alone that no signal stopped.
    evaluated = planned.evaluation_episodes > 0 and not run.lacks_evaluation(done)
    complete = evaluated or done >= planned.last_step
    return Member(run, "" if complete else f"has {done:,} of {planned.last_step:,} steps", rows)


def _open_cells(folder: Path, trust_code: bool) -> tuple[list[Member], list[str]]:
    """Reads the runs of a benchmark; returns also the names of those that have not begun."""
    matrix = read_matrix(folder, trust_code)
    assert matrix is not None
    found, missing = [], []
    for cell in matrix.cells():
        path = folder / cell.name
        run = Run.open(path, trust_code) if (path / CONFIG).is_file() else None
        standing = find_standing(folder, matrix, cell)
        if run is None:
            missing.append(cell.name)
            continue
        rows = run.metrics()
        fault = ""
        if standing.state == "trained":
            fault = "lacks its evaluation"
        elif standing.state == "begun" and matrix.minutes is None:
            fault = f"has {rows[-1]['env_steps'] if rows else 0:,} of {matrix.env_steps:,} steps"
        elif standing.state == "begun":
            seconds = rows[-1]["wall_time"] if rows else 0.0
            fault = f"has {seconds / 60:.1f} of {matrix.minutes:g} minutes"
        found.append(Member(run, fault, rows))
    return found, missing


def _split(label: str, members: Sequence[Member]) -> dict[str, list[Member]]:
    """Divides runs into those alike but for their seeds, by a label that says how they differ."""
    settings = [
        {**stored["env"], **stored["algorithm"]}
        for stored in (config_to_dict(member.run.config) for member in members)
    ]
    differing = [
        name for name in settings[0] if any(own[name] != settings[0][name] for own in settings)
    ]
    parts: dict[str, list[Member]] = {}
    for member, own in zip(members, settings, strict=True):
        words = [f"{name} {own[name]}" for name in differing]
        name = ", ".join([label, *words])
        seeds = [other.run.config.run.seed for other in parts.get(name, [])]
        if member.run.config.run.seed in seeds:  # made twice, not another seed
            name = f"{name}, {member.run.name}"
        parts.setdefault(name, []).append(member)
    return parts


# ---------------------------------------------------------------------- numbers


def _numbers(member: Member, thresholds: Sequence[float]) -> dict[str, float | None]:
    """Summarises one run."""
    rows, (minutes, returns) = member.rows, member.curve("minutes")
    steps_at, _ = member.curve("env_steps")
    seconds = sum(_seconds(rows))
    updates = [row["updates"] for row in rows if row.get("updates") is not None]
    evaluation = member.run.evaluation() or {}
    numbers: dict[str, float | None] = {
        "return": returns[-1] if returns else None,
        "evaluation": evaluation.get("mean"),
        "env_steps": rows[-1]["env_steps"],
        "minutes": rows[-1]["wall_time"] / 60,
        "steps_per_second": rows[-1]["env_steps"] / seconds,
        "updates_per_second": sum(updates) / seconds if len(updates) == len(rows) else None,
        "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
    }
    for threshold in thresholds:
        place = next((i for i, value in enumerate(returns) if value >= threshold), None)
        for name, column in (("minutes", minutes), ("env_steps", steps_at)):
            numbers[f"{name}_to_{threshold:g}"] = None if place is None else column[place]
    return numbers


def _seconds(rows: Sequence[dict[str, Any]]) -> list[float]:
    """Returns how long each iteration took: without set-up, checkpoints and evaluations."""
    before = [0, *(row["env_steps"] for row in rows)]
    return [
        (row["env_steps"] - start) / row["steps_per_second"]
        for row, start in zip(rows, before, strict=False)
    ]


def _phases(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns the seconds of each phase for a million environment steps.

    Rendering and simulation are parts of the rollout, which is what remains without them. Where
    CUDA graphs hide them (None), it is whole. Other phases may be missing or None where they do not
    occur. "other" is what no phase has measured.
    """
    totals: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            phase = name.removeprefix("seconds_")
            if phase != name and phase not in PARTS:
                totals[phase] = totals.get(phase, 0.0) + (value or 0.0)
    rollouts = [row for row in rows if row.get("seconds_rollout") is not None]
    parts = {}
    for phase in PARTS:
        values = [row.get(f"seconds_{phase}") for row in rollouts]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            parts[phase] = sum(known)
    if parts:
        totals = {**parts, **totals, "rollout": max(0.0, totals["rollout"] - sum(parts.values()))}
    totals["other"] = max(0.0, sum(_seconds(rows)) - sum(totals.values()))
    return {name: 1e6 * total / rows[-1]["env_steps"] for name, total in totals.items()}


def _group(task: str, label: str, members: list[Member]) -> Group:
    """Summarises the seeds of one algorithm on one task."""
    require_alike([member.run for member in members])
    members = sorted(members, key=lambda member: member.run.config.run.seed)
    drawn = [member for member in members if member.numbers["return"] is not None]
    means: dict[str, dict[str, list[float]]] = {}
    cut = dict.fromkeys(AXES, False)
    for axis in AXES:
        if len(drawn) < FEWEST:
            continue
        series = [member.curve(axis) for member in drawn]
        positions, values = align(series)
        low, high = bootstrap_interval(values)
        columns = {"mean": interquartile_mean(values), "low": low, "high": high}
        means[axis] = {"positions": positions.tolist()}
        means[axis] |= {name: column.tolist() for name, column in columns.items()}
        ends = [found[-1] for found, _ in series]
        cut[axis] = min(ends) < SAME_END * max(ends)
    phases = dict.fromkeys(name for member in members for name in member.phases)
    return Group(
        task, label, members, means, cut, _numbers_of_group(members),
        {
            name: statistics.fmean(member.phases.get(name, 0.0) for member in members)
            for name in phases
        },
    )  # fmt: skip


def _numbers_of_group(members: Sequence[Member]) -> dict[str, float | None]:
    """Summarises the numbers of all seeds: returns by the interquartile mean with its interval,
    memory by the largest, times to a return by the median, in which a run that never reached it
    took for ever, and the rest by the mean."""
    numbers: dict[str, float | None] = {"seeds": len(members)}
    for name in members[0].numbers:
        found = [member.numbers[name] for member in members]
        known = [value for value in found if value is not None]
        if "_to_" in name:
            middle = statistics.median([math.inf if value is None else value for value in found])
            numbers[name] = middle if math.isfinite(middle) else None
            numbers[f"reached_{name.partition('_to_')[2]}"] = len(known)
        elif name in ("return", "evaluation"):
            values = np.array(known)[:, None]
            low = high = None
            if len(known) >= FEWEST:
                low, high = (float(bound[0]) for bound in bootstrap_interval(values))
            numbers[name] = float(interquartile_mean(values)[0]) if known else None
            numbers |= {f"{name}_low": low, f"{name}_high": high}
        elif name == "peak_memory_mb":
            numbers[name] = max(known)
        else:
            numbers[name] = statistics.fmean(known) if len(known) == len(found) else None
    return numbers


# ---------------------------------------------------------------------- notes


def _group_notes(group: Group) -> list[str]:
    """Says where a mean ends before some of its runs do, or cannot be drawn, or misleads."""
    notes = []
    plans = {member.run.config.run.env_steps for member in group.members}
    if len(plans) > 1 and not any(member.run.paced for member in group.members):
        notes.append(
            f"Not alike: {group.task}, {group.label}: the learning rates of its runs are planned "
            f"for {' and '.join(f'{plan:,}' for plan in sorted(plans))} steps."
        )
    if any(not mean["positions"] for mean in group.means.values()):
        notes.append(
            f"No mean: {group.task}, {group.label}: a run ends before another's first return."
        )
    ends = []
    for axis, unit in (("minutes", "minutes"), ("env_steps", "steps")):
        if group.cut[axis] and group.means[axis]["positions"]:
            reached = [member.curve(axis)[0] for member in group.members]
            last, end = max(found[-1] for found in reached if found), group.means[axis]
            digits = 1 if axis == "minutes" else 0
            ends.append(f"{end['positions'][-1]:,.{digits}f} of {last:,.{digits}f} {unit}")
    if ends:
        notes.append(
            f"Shortened: {group.task}, {group.label}: the mean ends with its shortest run, at "
            f"{' and at '.join(ends)}."
        )
    return notes


def _differences(members: Sequence[Member]) -> list[str]:
    """Says in what the machines and versions of the runs differ: then times mislead."""
    found: dict[str, set[str]] = {}
    for member in members:
        for session in member.run.sessions:
            facts = {
                "device": session.get("device_name"),
                "commit": session.get("commit"),
                "CPU threads": member.run.config.run.threads,
                **{f"version of {name}": x for name, x in session.get("versions", {}).items()},
            }
            for name, value in facts.items():
                found.setdefault(name, set()).add(str(value))
    return [
        f"Not alike: the runs have more than one {name}: {'; '.join(sorted(values))}."
        for name, values in found.items()
        if len(values) > 1
    ]
