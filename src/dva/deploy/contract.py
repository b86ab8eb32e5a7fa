"""The contract of an exported policy: what goes in and out of it, in words a machine can read.

It stands as JSON beside the graph, and inside the graph's metadata under `METADATA`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from dva import tasks
from dva.compute.errors import UsageError, usage_errors
from dva.deploy.graph import FIRST, PolicyGraph, frames_name
from dva.deploy.runtime import open_session
from dva.runs import Run
from dva.runs.files import parse_object, read_json_object
from dva.runs.machine import git_commit, versions
from dva.sim.mjcf.compiling import compile_mjcf
from dva.spec import ObservationSpec

__all__ = [
    "METADATA",
    "NEXT",
    "actuators",
    "contract_of",
    "initial_memory",
    "read_contract",
    "to_text",
]

FORMAT = 1
"""Version of the contract; a reader refuses what it does not know."""
METADATA = "dva"
"""Key of the contract in a graph's metadata."""
NEXT = "_next"
"""What the name of a memory's output has behind that of its input."""
_DTYPES = {
    torch.uint8: "uint8", torch.int32: "int32", torch.int64: "int64", torch.float32: "float32",
    torch.bool: "bool",
}  # fmt: skip


def actuators(robot: Path, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Describes a robot's actuators: what their commands mean, and how actions become commands.

    A motor's command is the force or torque at the joint, gear included. Any other actuator's is
    its control as the MJCF file means it, and actions span its range.

    Args:
        robot: MJCF file.
        names: of the policy's actions, in order.

    Returns:
        For each "name", "joint", "units", "scale" and "offset": command = scale * action + offset.

    Raises:
        UsageError: the file has other actuators.
    """
    with usage_errors():
        m: Any = compile_mjcf(robot)
    if m.nu != len(names):
        raise UsageError(f"{robot} has {m.nu} actuators, and the policy {len(names)} actions.")
    found = []
    for i, name in enumerate(names):
        low, high = m.actuator_ctrlrange[i] if m.actuator_ctrllimited[i] else (-1.0, 1.0)
        scale, offset, units, joint = (high - low) / 2, (high + low) / 2, "control of the MJCF", ""
        if m.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT:  # type: ignore[attr-defined]
            number = int(m.actuator_trnid[i, 0])
            joint = m.joint(number).name
            ball = m.jnt_type[number] == mujoco.mjtJoint.mjJNT_BALL  # type: ignore
            if _is_motor(m, i) and not ball:
                force = float(m.actuator_gear[i, 0] * m.actuator_gainprm[i, 0])
                slides = m.jnt_type[number] == mujoco.mjtJoint.mjJNT_SLIDE  # type: ignore
                scale, offset, units = scale * force, offset * force, "N" if slides else "N m"
        found.append(
            {"name": name, "joint": joint, "units": units, "scale": float(scale),
             "offset": float(offset)}
        )  # fmt: skip
    return found


def _is_motor(m: Any, i: int) -> bool:
    fixed = m.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_FIXED  # type: ignore[attr-defined]
    unbiased = m.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_NONE  # type: ignore[attr-defined]
    direct = m.actuator_dyntype[i] == mujoco.mjtDyn.mjDYN_NONE  # type: ignore[attr-defined]
    return bool(fixed and unbiased and direct)


def contract_of(
    run: Run, graph: PolicyGraph, info: Mapping[str, Any], driven: list[dict[str, Any]]
) -> dict[str, Any]:
    """Writes the contract of a run's policy.

    Args:
        run: whose policy it is.
        graph: what is exported.
        info: of the checkpoint.
        driven: of `actuators`.
    """
    spec, action = graph.policy.observation_spec, graph.policy.action_spec
    task = tasks.get(run.config.env.task)
    return {
        "format": FORMAT,
        "task": run.config.env.task,
        "algorithm": run.config.algo,
        "run": run.name,
        "env_steps": info["env_steps"],
        "dva": versions()["dva"],
        "commit": git_commit(),
        "control_dt": action.control_dt,
        "rate": 1.0 / action.control_dt,
        "observation": _observation(spec),
        "view": dataclasses.asdict(task.view),
        "action": {"name": "action", "shape": [1, action.size], "dtype": "float32", "low": -1.0,
                   "high": 1.0, "units": "share of an actuator's range"},
        "command": {"name": "command", "shape": [1, action.size], "dtype": "float32",
                    "actuators": driven},
        "memory": [
            {"name": name, "next": name + NEXT, "shape": list(value.shape),
             "dtype": _DTYPES[value.dtype], "initial": _initial(value),
             "about": _about(name, graph)}
            for name, value in graph.initial_memory(1).items()
        ],
        "notes": "Axis 0 counts robots, any number. Give each entry's newest reading, once every "
                 "control_dt seconds; older ones of its frame_stack are in the memory. At the "
                 "start of an episode all memory is as 'initial' says.",
    }  # fmt: skip


def _observation(spec: ObservationSpec) -> list[dict[str, Any]]:
    """Describes the readings: those of one step, whatever the policy stacks."""
    axes = {"image": ["robots", "channels", "height", "width"], "vector": ["robots", "values"]}
    return [
        {**entry, "shape": [1, *entry["shape"]], "axes": axes[entry["kind"]]}
        for entry in spec.to_dict()
    ]


def _initial(value: Tensor) -> Any:
    """Returns the one number of a tensor (1, ...), or all of them if they differ."""
    numbers = value[0].flatten().tolist()
    return numbers[0] if len(set(numbers)) == 1 else value[0].tolist()


def _about(name: str, graph: PolicyGraph) -> str:
    if name == FIRST and graph.stacked:
        return "whether an episode begins"
    if name in {frames_name(entry.name) for entry in graph.stacked}:
        return "the last readings, oldest first"
    return "the policy's own"


def initial_memory(contract: Mapping[str, Any], n: int) -> dict[str, np.ndarray]:
    """Returns the memory of n robots at the start of their episodes, by name."""
    return {
        memory["name"]: np.broadcast_to(
            np.array(memory["initial"], memory["dtype"]), (n, *memory["shape"][1:])
        ).copy()
        for memory in contract["memory"]
    }


def read_contract(path: str | Path) -> dict[str, Any]:
    """Reads the contract of an exported policy, from its graph or from the JSON file beside it.

    Raises:
        UsageError: there is none, or it is of another format.
    """
    path = Path(path)
    if path.suffix == ".json":
        contract = read_json_object(path)
    else:
        text = open_session(path).get_modelmeta().custom_metadata_map.get(METADATA)
        if text is None:
            raise UsageError(f"{path} has no contract in its metadata: `dva export` writes one.")
        contract = parse_object(text.encode())
    if contract.get("format") != FORMAT:
        raise UsageError(
            f"The contract of {path} has the format {contract.get('format')!r}; this version reads "
            f"{FORMAT}. Export the policy anew."
        )
    return contract


def to_text(contract: Mapping[str, Any]) -> str:
    """Writes a contract as JSON."""
    return json.dumps(contract, indent=2, allow_nan=False) + "\n"
