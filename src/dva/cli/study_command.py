"""`dva study`: reproduces a table or figure of the paper."""

from collections.abc import Sequence

from dva.cli.flags import parse
from dva.compute.errors import require_known

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    from dva.studies import STUDIES, find_study

    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, STUDIES))
        print("usage: dva study NAME [flags]\n")
        print("Check a claim of the paper; writes a figure and its numbers.\n")
        print("\n".join(f"  {name:<{width}}  {text}" for name, text in STUDIES.items()))
        print("\n`dva study NAME --help` explains its flags.")
        if arguments:
            raise SystemExit(0)
        return 2
    name, *rest = arguments
    require_known("study", name, STUDIES)
    study = find_study(name)
    config = parse(study.Config, rest, f"study {name}")
    from dva.studies.curves import StudyInterrupted
    from dva.studies.report import save

    print("Measuring ...", flush=True)
    try:
        result = study.measure(config, report=lambda line: print(line, flush=True))
    except StudyInterrupted as stop:  # it has said how to go on
        return 128 + stop.signal
    print()
    path = save(config, name, result, study.draw(result))
    for line in study.summary(result):
        print(line)
    print(f"\nfigure   {path.with_suffix('.png')}\nnumbers  {path}")
    return 0
