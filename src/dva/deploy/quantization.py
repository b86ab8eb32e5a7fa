"""Int8: weights of eight bits for each output channel, activations by calibration."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dva.compute.files import write_atomically
from dva.deploy.contract import METADATA
from dva.deploy.runtime import load_module

__all__ = ["quantize"]

LAYERS = ["Conv", "MatMul", "Gemm"]
"""Operations that compute in eight bits; all others stay in float32."""


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
        UsageError: a package is missing.
        FileError: the file cannot be written.
    """
    onnx, tools = load_module("onnx"), load_module("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        made = Path(folder) / "int8.onnx"
        tools.quantize_static(
            str(source), str(made), _Feeds(feeds), quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=LAYERS, per_channel=True, weight_type=tools.QuantType.QInt8,
            activation_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod.MinMax,
        )  # fmt: skip
        model = onnx.load(str(made))
    if not any(entry.key == METADATA for entry in model.metadata_props):
        model.metadata_props.add(key=METADATA, value=contract)
    write_atomically(target, lambda temporary: temporary.write_bytes(model.SerializeToString()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps advice about graphs of other exporters, which the tools log as warnings, to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
