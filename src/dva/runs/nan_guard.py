"""The NaN guard: saves the state and action that made the physics non-finite, and replays them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from dva import tasks
from dva.compute.device import resolve_device
from dva.compute.errors import UsageError, explain_file_errors, one_line, usage_errors
from dva.compute.files import write_atomically
from dva.envs.nonfinite import MAX_ENTRY
from dva.runs.files import read_json_object, write_json
from dva.runs.trust import require_trust
from dva.sim import (
    Simulator,
    SimulatorFactory,
    SimulatorRequest,
    find_simulator,
    read_skeleton,
)

__all__ = ["Replay", "dump_nonfinite", "replay"]


class _Untrusted(UsageError):
    """A dump names code that is not trusted: it may be a dump all the same."""


def dump_nonfinite(
    folder: Path, name: str, state: dict[str, torch.Tensor], info: dict[str, Any]
) -> Path:
    """Saves a state for `replay`.

    Args:
        folder: where to; made if need be.
        name: file name without ending.
        state: "joint_q" (n, nq), "joint_qd" (n, nd) and "action" (n, A) before the step.
        info: JSON values; must hold "task", and "simulator" where that is not "warp".

    Returns:
        The safetensors file; the JSON file lies beside it.

    Raises:
        FileError: the files cannot be written.
    """
    with explain_file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    write_atomically(path, lambda temporary: safetensors.torch.save_file(tensors, temporary))
    write_json(path.with_suffix(".json"), info)
    return path


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a replayed dump showed."""

    task: str
    substeps: int
    """Physics substeps of a control step."""
    lines: tuple[str, ...]
    """One line for each environment that went non-finite: which entries, at which substep."""


def replay(path: str | Path, device: str = "cpu", trust_code: bool = False) -> Replay:
    """Steps a dumped state with ever more substeps until it goes non-finite.

    The simulator is the one that made the state; what it carries begins at rest.

    Args:
        path: the .safetensors file.
        device: "auto", "cpu" or "cuda".
        trust_code: let modules be imported that the JSON file beside it names as MODULE:NAME.

    Raises:
        UsageError: the file is missing, damaged, or not a dump, or names code that is not trusted;
            the text is one line.
    """
    path = Path(path)
    name, task, factory, (joint_q, joint_qd, action) = _read(path, trust_code)

    def build(substeps: int) -> Simulator:
        return factory(
            SimulatorRequest(
                robot=str(task.mjcf),
                inertia=task.inertia,
                ignore=task.ignore,
                num_envs=joint_q.shape[0],
                device=resolve_device(device),
                control_dt=task.control_dt * substeps / task.substeps,
                substeps=substeps,
                mass_matrix_interval=min(task.mass_matrix_interval, substeps),
            )
        )

    def step(substeps: int) -> tuple[torch.Tensor, torch.Tensor]:
        with usage_errors():
            simulator = build(substeps)
        with torch.no_grad():
            before = simulator.new_state(joint_q.to(device), joint_qd.to(device))
            after = simulator.step(before, action.to(device))
        return after.joint_q.cpu(), after.joint_qd.cpu()

    lines = _describe(joint_q, joint_qd, action, step, task.substeps)
    return Replay(task=name, substeps=task.substeps, lines=tuple(lines))


def _read(
    path: Path, trust_code: bool
) -> tuple[str, tasks.Task, SimulatorFactory, list[torch.Tensor]]:
    """Reads a dump: the task's name, the task, its simulator, and joint_q, joint_qd and action."""
    fix = (
        "Give the .safetensors file from a run's nan/ folder; its .json file must lie beside it, "
        "and its task must be the one that was trained."
    )

    def refuse(fault: object) -> UsageError:
        return UsageError(f"{path} is not a state saved by --nan-guard: {one_line(fault)}. {fix}")

    about = path.with_suffix(".json")
    try:
        info = read_json_object(about)
        name = info.get("task")
        if not isinstance(name, str):
            raise refuse(f'"task" in its .json file is {name!r:.40}, not the name of a task')
        simulator = info.get("simulator", "warp")
        if not isinstance(simulator, str):
            raise refuse(f'"simulator" in its .json file is {simulator!r:.40}, not a name')
        try:
            require_trust({"task": name, "simulator": simulator}, trust_code)
        except UsageError as error:
            raise _Untrusted(f"{about}: {error}") from error
        task = tasks.get(name)
        factory = find_simulator(simulator)
        state = safetensors.torch.load(path.read_bytes())
    except _Untrusted:
        raise
    except OSError as error:
        raise refuse(error.strerror or error) from error
    except (ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise refuse(error) from error
    with usage_errors():
        model = read_skeleton(task.mjcf)
    widths = {
        "joint_q": model.num_coords, "joint_qd": model.num_dofs, "action": model.num_actions
    }  # fmt: skip
    if state.keys() != widths.keys():
        raise refuse(f"it holds {sorted(state)}, expected {sorted(widths)}")
    count = len(state["joint_q"]) if state["joint_q"].ndim else 0
    for key, width in widths.items():
        value = state[key]
        if value.dtype != torch.float32:
            raise refuse(f"{key} is {value.dtype}, expected torch.float32")
        if count < 1 or tuple(value.shape) != (count, width):
            raise refuse(
                f"{key} has shape {tuple(value.shape)}, expected (n, {width}) for {task.name}, n "
                "from 1 on and the same for all"
            )
    return name, task, factory, [state[key] for key in widths]


def _bad(values: torch.Tensor) -> torch.Tensor:
    return ~(values.abs() <= MAX_ENTRY)  # catches NaN as well


def _name_entries(name: str, values: torch.Tensor) -> list[str]:
    """Names the bad entries of one environment's row, values (n,)."""
    indices = torch.nonzero(_bad(values)).flatten().tolist()
    return [f"{name}[{index}] = {values[index].item():g}" for index in indices]


def _describe(
    joint_q: torch.Tensor,
    joint_qd: torch.Tensor,
    action: torch.Tensor,
    step: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    substeps: int,
) -> list[str]:
    """Says for each environment which entries went bad first, and at which substep."""
    lines: dict[int, str] = {}
    for env in range(joint_q.shape[0]):
        entries = _name_entries("joint_q", joint_q[env]) + _name_entries("joint_qd", joint_qd[env])
        entries += _name_entries("action", action[env])
        if entries:
            lines[env] = f"environment {env}: already before the step: {', '.join(entries)}"
    final_q, final_qd = step(substeps)
    suspects = _bad(final_q).any(1) | _bad(final_qd).any(1)
    for count in range(1, substeps + 1):
        missing = [e for e in torch.nonzero(suspects).flatten().tolist() if e not in lines]
        if not missing:
            break
        q, qd = step(count) if count < substeps else (final_q, final_qd)
        for env in missing:
            entries = _name_entries("joint_q", q[env]) + _name_entries("joint_qd", qd[env])
            if entries:
                lines[env] = (
                    f"environment {env}: at substep {count} of {substeps}: {', '.join(entries)}"
                )
    return [lines[env] for env in sorted(lines)]
