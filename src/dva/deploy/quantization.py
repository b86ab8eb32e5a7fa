"""Int8: large layers with weights of eight bits for each output channel, activations calibrated.

Small layers stay in float32. They hold few of the weights, and precision counts in them: in
convolutions, since a policy acts on small differences between pictures, and near the action.
"""

import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dva.compute.errors import UsageError
from dva.compute.files import write_atomically
from dva.deploy.contract import METADATA
from dva.deploy.runtime import load_module

__all__ = ["quantize"]

LAYERS = ["Conv", "MatMul", "Gemm"]
"""Operations that compute in eight bits where they are large; all others stay in float32."""
LARGE = 2**15
"""Weights of the smallest layer that does."""
_STACK = 3
"""Axes of a layer's weights that the runtime cannot multiply in eight bits for each channel."""


class _Feeds:
    """Hands out what a graph is calibrated with, one step after the other."""

    def __init__(self, feeds: Sequence[dict[str, np.ndarray]]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the inputs of one step; None after the last."""
        return next(self._left, None)


def quantize(
    source: Path, target: Path, feeds: Sequence[dict[str, np.ndarray]], contract: str
) -> None:
    """Writes a graph in int8; its inputs and outputs keep their types.

    Args:
        source: the float32 graph.
        target: file to write.
        feeds: inputs of the graph by name, from the task, over which activations are ranged.
        contract: goes into the metadata.

    Raises:
        UsageError: a package is missing, or no layer is large.
        FileError: the file cannot be written.
    """
    onnx, tools = load_module("onnx"), load_module("onnxruntime.quantization")
    small, large = _sort_layers(onnx.load(str(source)).graph)
    if not large:
        raise UsageError(
            f"No layer of the policy has {LARGE:,} weights or more, so int8 would save nothing: "
            "export it without --int8."
        )
    with tempfile.TemporaryDirectory() as folder, _quiet():
        made = Path(folder) / "int8.onnx"
        tools.quantize_static(
            str(source), str(made), _Feeds(feeds), quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=LAYERS, per_channel=True, weight_type=tools.QuantType.QInt8,
            activation_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod.MinMax,
            nodes_to_exclude=small,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )  # fmt: skip
        model = onnx.load(str(made))
    if not any(entry.key == METADATA for entry in model.metadata_props):
        model.metadata_props.add(key=METADATA, value=contract)
    write_atomically(target, lambda temporary: temporary.write_bytes(model.SerializeToString()))


def _sort_layers(graph: Any) -> tuple[list[str], list[str]]:
    """Names the small and the large layers of a graph; stacks of matrices count as small."""
    sizes = {
        tensor.name: math.prod(tensor.dims)
        for tensor in graph.initializer
        if len(tensor.dims) != _STACK
    }
    found: tuple[list[str], list[str]] = ([], [])
    for node in graph.node:
        if node.op_type in LAYERS:
            weights = max((sizes.get(name, 0) for name in node.input), default=0)
            found[weights >= LARGE].append(node.name)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps advice about graphs of other exporters, which the tools log as warnings, to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
