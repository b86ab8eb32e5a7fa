"""`dva transfer`: tries the policy of a run in MuJoCo's own physics."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dva.cli.flags import parse
from dva.cli.policy_flags import EvaluationFlags
from dva.deploy import transfer
from dva.runs import Run

__all__ = ["run"]


@dataclasses.dataclass
class TransferFlags(EvaluationFlags):
    """Try the policy of a run where MuJoCo itself simulates the same MJCF file.

    MuJoCo's contacts, limits and integrator take the place of ours; the camera shows the policy
    MuJoCo's states. Both returns are from the same starts.
    """

    episodes: int = 16
    """Number of episodes in each physics, one per environment."""
    video: Path | None = None
    """MP4 file for a film of the first four episodes in MuJoCo, in real time."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(TransferFlags, arguments, "transfer")
    run_ = Run.open(flags.run, flags.trust_code)
    if not flags.json:
        print(f"Evaluating {flags.episodes} episodes in each physics", file=sys.stderr)
    found = transfer(run_, flags.episodes, flags.checkpoint, flags.video, flags.threads)
    if flags.json:
        print(json.dumps({"run": str(flags.run), **found.to_dict()}))
        return 0
    print(f"{'physics':8}  {'return':>18}  {'episode length':>14}")
    for name, one in (("ours", found.ours), ("MuJoCo", found.mujoco)):
        print(f"{name:8}  {one.mean:10.1f} ± {one.std:5.1f}  {one.episode_length:14.1f}")
    if found.kept is not None:
        print(f"\nMuJoCo keeps {100 * found.kept:.0f} % of the return.")
    if flags.video:
        print(f"video     {flags.video}")
    return 0
