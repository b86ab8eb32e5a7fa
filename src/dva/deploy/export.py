"""Exports the policy of a run as an ONNX graph, and checks that it acts as torch does."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dva import tasks
from dva.compute.errors import UsageError, one_line
from dva.compute.files import write_atomically
from dva.deploy.contract import METADATA, NEXT, actuators, contract_of, to_text
from dva.deploy.graph import PolicyGraph
from dva.deploy.onnx_policy import OnnxPolicy, feed_of
from dva.deploy.quantization import quantize
from dva.deploy.runtime import load_module
from dva.learning.world_model.policy import DreamerPolicy
from dva.runs import Run, make_env
from dva.runs.build import threads_of
from dva.runs.checkpoint import Checkpoint, load_checkpoint
from dva.runs.policy import policy_of

__all__ = ["Export", "Parity", "export_run"]

OPSET = 18
STEPS = 48
"""Control steps for which parity is measured, and as many that int8 is calibrated with."""
EVERY = 5
"""Control steps from one of them to the next: no multiple of the usual action repeats."""
ROBOTS = 4
TOLERANCE = 1e-4
"""Largest difference of float32 actions that rounding explains."""
TIES = 0.01
"""Share of actions of DreamerV3 that may differ by more, and the mean difference of its memory:
rounding may choose the other one of two latent states that are equally likely."""


@dataclass(frozen=True)
class Parity:
    """How far an exported graph's actions are from torch's, on what the policy sees in its task."""

    largest: float
    """Largest difference of an action, in [-1, 1], from the same memory."""
    mean: float
    """Mean absolute difference."""
    beyond: float
    """Share of the actions that differ by more than rounding explains in float32."""
    memory: float
    """Mean absolute difference of the memory that differs most."""
    samples: int
    """Robots times control steps that were compared."""


@dataclass(frozen=True)
class Export:
    """What was written."""

    graph: Path
    contract: Path
    parity: Parity
    int8: Path | None = None
    """The graph with weights and activations of eight bits, if it was asked for."""
    int8_parity: Parity | None = None


@torch.no_grad()
def export_run(
    run: Run | str | Path, path: str | Path, checkpoint: str = "latest", int8: bool = False
) -> Export:
    """Writes the policy of a run as an ONNX graph with its contract inside and beside it.

    Encoder, normalisation, frame stack, the scale of the actions and the memory of recurrent
    policies are inside, in float32. The policy acts in its task for a second or so, and the runtime
    beside it, to compare them.

    Args:
        run: a run or its folder.
        path: file ending in .onnx; the contract has its name with .json, the graph of int8 that
            with .int8.onnx. Files of these names are replaced.
        checkpoint: "latest" or "best".
        int8: also write a graph in int8, calibrated with what the policy sees in its task.

    Raises:
        UsageError: there is no such run or checkpoint, a package is missing, the policy cannot be
            exported, its graph does not act as torch does, or int8 would save nothing. Then nothing
            is written.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"The exported policy {str(path)!r} must end in .onnx.")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        load_module(name)
    run = run if isinstance(run, Run) else Run.open(run)
    stored = load_checkpoint(run.checkpoints, checkpoint)
    graph, driven = _graph_of(run, stored)
    contract = to_text(contract_of(run, graph, stored.info, driven))
    checked = _act(run, graph, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        made, reduced = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        _translate(graph, checked[0], contract, made)
        parity, int8_parity = _compare(made, checked), None
        _require_parity(parity, graph)
        if int8:
            seen = _act(run, graph, seed=1)
            quantize(made, reduced, [feed_of(x.readings, x.memory) for x in seen], contract)
            int8_parity = _compare(reduced, checked)
        written = {".onnx": made, ".int8.onnx": reduced} if int8 else {".onnx": made}
        for ending, source in written.items():
            write_atomically(path.with_suffix(ending), partial(shutil.copyfile, source))
        beside = path.with_suffix(".json")
        write_atomically(beside, lambda temporary: temporary.write_text(contract, "utf-8"))
    small = path.with_suffix(".int8.onnx") if int8 else None
    return Export(path, beside, parity, small, int8_parity)


def _graph_of(run: Run, stored: Checkpoint) -> tuple[PolicyGraph, list[dict[str, Any]]]:
    """Rebuilds the policy of a checkpoint, and joins it with the robot's actuators."""
    policy = policy_of(run, stored, "cpu", precision="float32")
    driven = actuators(tasks.get(run.config.env.task).mjcf, policy.action_spec.names)
    columns = [[actuator[name] for actuator in driven] for name in ("scale", "offset")]
    return PolicyGraph(policy, *(torch.tensor(column) for column in columns)).eval(), driven


def _require_parity(parity: Parity, graph: PolicyGraph) -> None:
    ties = TIES if isinstance(graph.policy, DreamerPolicy) else 0.0
    if not (parity.beyond <= ties and parity.memory <= max(ties, TOLERANCE)):
        raise UsageError(
            f"The exported graph's actions differ from torch's by up to {parity.largest:.2g} and "
            f"its memory by {parity.memory:.2g} on average, more than rounding explains. Nothing "
            "was written. A policy of your own must act by torch operations alone."
        )


@dataclass(frozen=True)
class _Step:
    """What went into the graph in one step, and what torch made of it."""

    readings: dict[str, Tensor]
    memory: dict[str, Tensor]
    action: Tensor
    following: dict[str, Tensor]
    """The next memory, before any restart."""


def _act(run: Run, graph: PolicyGraph, seed: int) -> list[_Step]:
    """Lets the policy act in its task, and keeps what it was given in every few steps."""
    steps = []
    with threads_of(run.config, "cpu") as threads:
        with closing(make_env(run, ROBOTS, "cpu", threads=threads)) as env:
            observation, memory = env.reset(seed=seed), graph.initial_memory(ROBOTS)
            for step in range((STEPS - 1) * EVERY + 1):
                readings = graph.readings(observation)
                action, _, following = graph(readings, memory)
                if step % EVERY == 0:
                    copies = {name: value.clone() for name, value in readings.items()}
                    steps.append(_Step(copies, memory, action, following))
                observation, _, terminated, truncated, _ = env.step(action)
                start, done = graph.initial_memory(ROBOTS), terminated | truncated
                memory = {
                    name: torch.where(done.view(-1, *[1] * (x.dim() - 1)), start[name], x)
                    for name, x in following.items()
                }
    return steps


def _translate(graph: PolicyGraph, example: _Step, contract: str, path: Path) -> None:
    """Writes a graph, for any number of robots, as torch's exporter translates it."""
    robots = torch.export.Dim("robots", min=1, max=65536)
    shapes = {
        part: {name: {0: robots} for name in getattr(example, part)}
        for part in ("readings", "memory")
    }
    inputs = [*example.readings, *example.memory]
    outputs = ["action", "command", *(name + NEXT for name in example.memory)]
    twice = {name for name in inputs if [*inputs, *outputs].count(name) > 1}
    if twice:
        raise UsageError(
            f"The policy reads {sorted(twice)[0]!r}, a name that the graph has for something else. "
            "Give that sensor another name."
        )
    with _quiet():
        program = torch.onnx.export(
            _trace(graph, example, shapes), dynamo=True, opset_version=OPSET, input_names=inputs,
            output_names=outputs, dynamic_shapes=shapes, verbose=False,
        )  # fmt: skip
    assert program is not None
    program.model.metadata_props[METADATA] = contract
    path.write_bytes(program.model_proto.SerializeToString())


def _trace(graph: PolicyGraph, example: _Step, shapes: dict[str, Any]) -> Any:
    """Traces a graph as it is written, or else as it runs, which Python's numbers can mislead."""
    faults: list[Exception] = []
    for strict in (True, False):
        try:
            return torch.export.export(
                graph, (), {"readings": example.readings, "memory": example.memory},
                dynamic_shapes=shapes, strict=strict,
            )  # fmt: skip
        except Exception as error:  # the exporter's own kinds differ from version to version
            faults.append(error)
    raise UsageError(
        f"The policy {type(graph.policy).__name__} cannot be exported: {one_line(faults[0]):.300}. "
        "A policy of your own must act by torch operations alone, for any number of robots, "
        "without decisions in Python that depend on numbers."
    ) from faults[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's advice to its own developers off the screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _compare(path: Path, steps: Sequence[_Step]) -> Parity:
    """Compares a graph with torch, one robot by itself and the others together."""
    policy = OnnxPolicy(path)
    actions: list[Tensor] = []
    memories: dict[str, list[float]] = {"": [0.0]}  # a policy may remember nothing
    for step in steps:
        for rows in (slice(0, 1), slice(1, None)):
            action, _, memory = policy.run(_rows(step.readings, rows), _rows(step.memory, rows))
            actions.append((action - step.action[rows]).abs())
            for name, value in _rows(step.following, rows).items():
                error = (memory[name].double() - value.double()).abs().mean()
                memories.setdefault(name, []).append(float(error))
    found = torch.cat(actions)
    worst = max(float(np.mean(errors)) for errors in memories.values())
    return Parity(
        largest=float(found.max()),
        mean=float(found.mean()),
        beyond=float((found > TOLERANCE).float().mean()),
        memory=worst,
        samples=len(steps) * ROBOTS,
    )


def _rows(tensors: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in tensors.items()}
