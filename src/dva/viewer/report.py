"""Writes the report of runs: one HTML page with everything in it, readable without a network."""

import json
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from dva import __version__
from dva.compute.errors import UsageError
from dva.compute.files import write_atomically
from dva.studies.comparison import Comparison, compare
from dva.studies.comparison_report import table_cells
from dva.viewer.report_data import list_charts, report_group, report_run

__all__ = ["write_report"]

VIDEOS = 3
"""Videos of each run that are taken along unless another number is asked for."""


def write_report(
    paths: Sequence[Path], output: Path, videos: int = VIDEOS, trust_code: bool = False
) -> list[str]:
    """Writes the report of runs.

    Args:
        paths: folders of runs, of benchmarks, or folders that hold runs.
        output: HTML file to write; one that is there is replaced.
        videos: of each run, as many as are taken along; 0: none.
        trust_code: let modules be imported that the runs' configurations name as MODULE:NAME.

    Returns:
        Lines about what is missing, incomplete or not alike.

    Raises:
        UsageError: the file's name does not end in .html, a folder holds no run, a run cannot be
            read, or the file cannot be written.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"The report {str(output)!r} must end in .html.")
    if videos < 0:
        raise UsageError(f"videos is {videos}; it must be 0 or more.")
    comparison = compare(paths, trust_code=trust_code, split=True)
    page = _render(comparison, videos)
    write_atomically(output, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return comparison.notes


def _render(comparison: Comparison, videos: int) -> str:
    members = [member for group in comparison.groups for member in group.members]
    charts = list_charts(members)
    metrics = [chart.metric for of_section in charts.values() for chart in of_section]
    runs = [report_run(member, comparison, metrics, videos) for member in members]
    groups = [report_group(group, metrics) for group in comparison.groups]
    drawn = {
        "runs": [{name: run[name] for name in _DRAWN} for run in runs],
        "groups": [{name: group[name] for name in ("task", "label", "bands")} for group in groups],
    }
    head, *rows = table_cells(comparison)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["breakable"] = _breakable
    return environment.from_string(_asset("report.html")).render(
        title=_title(comparison),
        made=time.strftime("%Y-%m-%d %H:%M"),
        version=__version__,
        style=_asset("report.css"),
        script=_asset("report.js"),
        data=_script_json(drawn),
        head=head,
        rows=rows,
        notes=comparison.notes,
        tasks=comparison.tasks,
        charts=charts,
        groups=groups,
        runs=runs,
        phases=_phases(groups),
        differing=_differing(runs),
        bands=any(group["bands"] for group in groups),
    )


_DRAWN = ("name", "task", "seed", "group", "x", "metrics")
"""What the page's script needs of a run."""


def _asset(name: str) -> str:
    return resources.files("dva.viewer").joinpath("assets", name).read_text(encoding="utf-8")


def _title(comparison: Comparison) -> str:
    names = [member.run.name for group in comparison.groups for member in group.members]
    if len(names) == 1:
        return names[0]
    return f"{', '.join(comparison.tasks)}: {len(names)} runs"


def _script_json(value: dict[str, Any]) -> str:
    """Writes JSON that may stand inside a script element: nothing in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _phases(groups: Sequence[dict[str, Any]]) -> list[str]:
    """Names all phases, what none has measured last."""
    names = dict.fromkeys(phase["name"] for group in groups for phase in group["phases"])
    return sorted(names, key=lambda name: name == "other")


def _differing(runs: Sequence[dict[str, Any]]) -> set[str]:
    """Names the settings in which the runs differ, but for the folders, which always do."""
    names = dict.fromkeys(name for run in runs for name in run["settings"])
    names.pop("run.run_dir", None)
    return {
        name for name in names if len({repr(run["settings"].get(name)) for run in runs}) > 1
    }


def _breakable(name: str) -> markupsafe.Markup:
    """Lets a long name break before its underscores and behind its points."""
    text = str(markupsafe.escape(name)).replace("_", "<wbr>_").replace(".", ".<wbr>")
    return markupsafe.Markup(text)


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
