"""ONNX and its runtime, which are optional: imported here alone, when they are needed."""

import importlib
from pathlib import Path
from typing import Any

from dva.compute.errors import UsageError, one_line

__all__ = ["load_module", "open_session"]


def load_module(name: str) -> Any:
    """Imports a module of the extra `dva-rl[deploy]`.

    Raises:
        UsageError: it is not installed; the text says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"Exported policies need {name.partition('.')[0]}, which cannot be imported "
            f"({one_line(error)}). Install it: pip install 'dva-rl[deploy]', in a checkout "
            "pip install -e '.[deploy]'."
        ) from error


def open_session(path: Path) -> Any:
    """Opens a graph on one CPU thread, as a robot's computer would.

    Raises:
        UsageError: there is no such file, or the runtime cannot read it.
    """
    runtime = load_module("onnxruntime")
    if not path.is_file():
        raise UsageError(f"There is no exported policy {path}. Make one: dva export RUN {path}.")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of the runtime's own kinds, which share no base class
        raise UsageError(f"{path} is no graph that can be run: {one_line(error):.300}.") from error
