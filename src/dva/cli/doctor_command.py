"""`dva doctor`: checks installation and task, or replays a state that the NaN guard saved."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from dva.cli.flags import parse
from dva.compute.errors import UsageError

__all__ = ["run"]


@dataclasses.dataclass
class DoctorFlags:
    """Check the installation and a task, or a robot's file.

    Tries versions, devices, kernel compilation, substeps, stepping, rendering, gradients and
    ffmpeg; ends with `Finish Successfully`, or names what failed and what to do. Of a robot's file
    it says what is simulated and how that compares with MuJoCo.
    """

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[TASK]")] = "cartpole"
    """Task whose robot and scene are tried; MODULE:NAME for one of your own, or the path of a
    robot's file, ending in .xml."""
    ignore: tuple[str, ...] = ()
    """What a robot's file asks for, is not simulated, and is to be left out: names such as
    body-contact."""
    device: str = "auto"
    """auto, cpu or cuda."""
    replay: Path | None = None
    """Replay a state saved by `dva train --nan-guard` instead: a .safetensors file under nan/."""
    trust_code: bool = False
    """Let --replay import code that the JSON file beside that state names as MODULE:NAME."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(DoctorFlags, arguments, "doctor")
    if flags.replay is not None:
        return _replay(flags.replay, flags.trust_code)
    if flags.task.endswith(".xml"):
        return _robot(flags)
    if flags.ignore:
        raise UsageError("--ignore goes with a robot's file; a task says what it ignores itself.")
    try:
        from dva.runs.doctor import check_installation
    except (ImportError, OSError) as error:  # without its parts there is nothing to check
        print(f"failed  installation: {error}")
        print("        Install again, in the folder of the checkout: pip install -e .")
        print("Failed: installation")
        return 1
    return _report(check_installation(flags.task, flags.device))


def _robot(flags: DoctorFlags) -> int:
    from dva.runs.robot_doctor import check_robot

    return _report(check_robot(flags.task, flags.ignore))


def _report(checks: Iterable[Any]) -> int:
    """Prints checks as they come; returns the exit status."""
    failed = []
    for check in checks:
        print(f"{'ok' if check.ok else 'failed':<7} {check.name}: {check.detail}", flush=True)
        if not check.ok:
            print(f"        {check.advice}", flush=True)
            failed.append(check.name)
    print(f"Failed: {', '.join(failed)}" if failed else "Finish Successfully")
    return 1 if failed else 0


def _replay(path: Path, trust_code: bool) -> int:
    from dva.runs.nan_guard import replay

    found = replay(path, trust_code=trust_code)
    print(f"{path}: one control step of {found.task}, {found.substeps} substeps")
    for line in found.lines:
        print(f"  {line}")
    if not found.lines:
        print(
            "  The physics stays finite here: the non-finite value was in the reward, or the "
            "device matters."
        )
    return 0
