"""Exports the policy of a run as an ONNX graph, and checks that it acts as torch does."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
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
from dva.runs import Run, make_env
from dva.runs.build import threads_of
from dva.runs.checkpoint import load_checkpoint
from dva.runs.policy import policy_of

__all__ = ["Export", "Parity", "export_run"]

OPSET = 18
STEPS = 64
"""Control steps for which parity is measured, and as many that int8 is calibrated with."""
ROBOTS = 4
TOLERANCE = 1e-4
"""Largest difference of float32 actions that rounding explains."""
MEMORY_TOLERANCE = 1e-3
"""Mean difference of a float32 memory that it explains, where latent states are near a tie."""


@dataclass(frozen=True)
class Parity:
    """How far an exported graph's actions are from torch's, on what the policy sees in its task."""

    largest: float
    """Largest difference of an action, in [-1, 1], from the same memory."""
    mean: float
    """Mean absolute difference."""
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
            exported, or the exported graph does not act as torch does.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"The exported policy {str(path)!r} must end in .onnx.")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        load_module(name)
    run = run if isinstance(run, Run) else Run.open(run)
    stored = load_checkpoint(run.checkpoints, checkpoint)
    policy = policy_of(run, stored, "cpu", precision="float32")
    driven = actuators(tasks.get(run.config.env.task).mjcf, policy.action_spec.names)
    columns = [[actuator[name] for actuator in driven] for name in ("scale", "offset")]
    graph = PolicyGraph(policy, *(torch.tensor(column) for column in columns)).eval()
    contract = contract_of(run, graph, stored.info, driven)
    seen = _act(run, graph)
    model = _translate(graph, seen[0])
    model.metadata_props[METADATA] = to_text(contract)
    write_atomically(path, lambda temporary: model.save(temporary))
    beside = path.with_suffix(".json")
    write_atomically(beside, lambda temporary: temporary.write_text(to_text(contract), "utf-8"))
    check, calibration = seen[::2], seen[1::2]
    parity = _compare(path, check)
    if not (parity.largest <= TOLERANCE and parity.memory <= MEMORY_TOLERANCE):
        raise UsageError(
            f"{path} was written, but its actions differ from torch's by up to "
            f"{parity.largest:.2g} and its memory by {parity.memory:.2g} on average, more than "
            "rounding explains. Do not use it."
        )
    if not int8:
        return Export(path, beside, parity)
    small = path.with_suffix(".int8.onnx")
    feeds = [feed_of(step.readings, step.memory) for step in calibration]
    quantize(path, small, feeds, to_text(contract))
    return Export(path, beside, parity, small, _compare(small, check))


@dataclass(frozen=True)
class _Step:
    """What went into the graph in one step, and what torch made of it."""

    readings: dict[str, Tensor]
    memory: dict[str, Tensor]
    action: Tensor
    following: dict[str, Tensor]
    """The next memory, before any restart."""


def _act(run: Run, graph: PolicyGraph) -> list[_Step]:
    """Lets the policy act in its task, and keeps what it was given."""
    steps = []
    with threads_of(run.config, "cpu") as threads:
        with closing(make_env(run, ROBOTS, "cpu", threads=threads)) as env:
            observation, memory = env.reset(), graph.initial_memory(ROBOTS)
            for _ in range(2 * STEPS):
                readings = graph.readings(observation)
                action, _, following = graph(readings, memory)
                copies = {name: value.clone() for name, value in readings.items()}
                steps.append(_Step(copies, memory, action, following))
                observation, _, terminated, truncated, _ = env.step(action)
                start, done = graph.initial_memory(ROBOTS), terminated | truncated
                memory = {
                    name: torch.where(done.view(-1, *[1] * (x.dim() - 1)), start[name], x)
                    for name, x in following.items()
                }
    return steps


def _translate(graph: PolicyGraph, example: _Step) -> Any:
    """Translates a graph with torch's exporter, for any number of robots."""
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
        try:
            program = torch.onnx.export(
                graph, (), kwargs={"readings": example.readings, "memory": example.memory},
                dynamo=True, opset_version=OPSET, input_names=inputs, output_names=outputs,
                dynamic_shapes=shapes, verbose=False,
            )  # fmt: skip
        except Exception as error:  # the exporter's own kinds differ from version to version
            raise UsageError(
                f"The policy {type(graph.policy).__name__} cannot be exported: "
                f"{one_line(error.__cause__ or error):.300}. A policy of your own must act by "
                "torch operations alone, without decisions in Python that depend on numbers."
            ) from error
    assert program is not None
    return _Model(program)


class _Model:
    """An exported program that can be saved with metadata."""

    def __init__(self, program: Any) -> None:
        self._program = program
        self.metadata_props: dict[str, str] = program.model.metadata_props

    def save(self, path: Path) -> None:
        """Writes the graph with its weights as one file."""
        proto = self._program.model_proto
        path.write_bytes(proto.SerializeToString())


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
    policy = OnnxPolicy(path)
    actions: list[Tensor] = []
    memories: dict[str, list[float]] = {"": [0.0]}  # a policy may remember nothing
    for step in steps:
        action, _, memory = policy.run(step.readings, step.memory)
        actions.append((action - step.action).abs())
        for name, value in step.following.items():
            error = (memory[name].double() - value.double()).abs().mean()
            memories.setdefault(name, []).append(float(error))
    found = torch.cat(actions)
    worst = max(float(np.mean(errors)) for errors in memories.values())
    return Parity(float(found.max()), float(found.mean()), worst, len(steps) * ROBOTS)
