"""`dva export`: writes the policy of a run as an ONNX graph."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from dva.cli.flags import parse
from dva.cli.policy_flags import PolicyFlags
from dva.deploy import export_run
from dva.deploy.export import Parity
from dva.runs import Run

__all__ = ["run"]


@dataclasses.dataclass
class ExportFlags(PolicyFlags):
    """Write the policy of a run as an ONNX graph, with a contract inside and beside it.

    Encoder, normalisation, frame stack, memory and the scale of the actions are inside. The graph
    is compared with torch on what the policy sees in its task.
    """

    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")] = Path(
        "policy.onnx"
    )
    """File ending in .onnx; the contract is written beside it, ending in .json."""
    int8: bool = False
    """Also write a graph in int8, FILE with .int8.onnx."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(ExportFlags, arguments, "export")
    run_ = Run.open(flags.run, flags.trust_code)
    made = export_run(run_, flags.output, flags.checkpoint, flags.int8)
    print(f"float32   {_describe(made.graph, made.parity)}")
    if made.int8 is not None and made.int8_parity is not None:
        print(f"int8      {_describe(made.int8, made.int8_parity)}")
    print(f"contract  {made.contract}")
    return 0


def _describe(path: Path, parity: Parity) -> str:
    size = path.stat().st_size / 2**20
    return (
        f"{path} ({size:.2f} MB): actions differ from torch's by {parity.mean:.1e} on average and "
        f"{parity.largest:.1e} at most, of {parity.samples} observations"
    )
