"""The one door to MuJoCo's compiler: its errors become one line, its warnings Python warnings.

Left alone, MuJoCo writes warnings to a file MUJOCO_LOG.TXT in the working folder.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo's bindings are compiled and come without types.)

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mujoco

from dva.compute.errors import one_line

__all__ = ["compile_mjcf", "compile_spec", "mujoco_warnings", "read_spec"]

_ERRORS = (ValueError, TypeError, mujoco.FatalError, mujoco.UnexpectedError)
"""What MuJoCo raises about a file."""

_lock = threading.Lock()
_open_scopes: list[Any] = []
"""For every open scope the handler that it found."""
_messages: list[str] = []


@contextmanager
def mujoco_warnings(source: str | Path) -> Iterator[None]:
    """Turns what MuJoCo warns about inside the block into Python warnings at its end.

    Use it around everything that compiles or simulates with MuJoCo. Blocks may nest, and threads
    may have blocks of their own. MuJoCo calls its handler from C, where an exception would end the
    process; so warnings are collected, and those that filters turn into errors are raised here.

    Args:
        source: what the warnings are about, such as the robot's file.

    Warns:
        UserWarning: one line for each different warning.
    """
    with _lock:
        _open_scopes.append(mujoco.get_mju_user_warning())
        if len(_open_scopes) == 1:
            mujoco.set_mju_user_warning(_messages.append)
    try:
        yield
    finally:
        with _lock:
            handler = _open_scopes.pop()
            if not _open_scopes:
                mujoco.set_mju_user_warning(handler)
            found = list(dict.fromkeys(_messages))
            _messages.clear()
    for message in found:
        warnings.warn(f"{source}: MuJoCo warns: {one_line(message)}", stacklevel=3)


def read_spec(path: str | Path) -> mujoco.MjSpec:
    """Parses a robot's file.

    Args:
        path: MJCF or URDF file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its name does not end in .xml or .urdf, or MuJoCo cannot read it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No MJCF file at {path}.")
    if path.suffix not in (".xml", ".urdf"):
        raise ValueError(f"{path} is no robot file: its name must end in .xml (MJCF) or .urdf.")
    with mujoco_warnings(path):
        try:
            return mujoco.MjSpec.from_file(str(path))
        except _ERRORS as error:
            raise _refusal(path, error) from error


def compile_spec(spec: mujoco.MjSpec, source: str | Path) -> mujoco.MjModel:
    """Compiles what `read_spec` returned.

    Args:
        spec: the robot, with what was added to it.
        source: what errors and warnings name, such as the robot's file.

    Raises:
        ValueError: MuJoCo cannot compile it.
    """
    with mujoco_warnings(source):
        try:
            return spec.compile()
        except _ERRORS as error:
            raise _refusal(source, error) from error


def compile_mjcf(path: str | Path) -> mujoco.MjModel:
    """Reads and compiles a robot's file; errors as of `read_spec` and `compile_spec`."""
    return compile_spec(read_spec(path), path)


def _refusal(source: str | Path, error: Exception) -> ValueError:
    return ValueError(f"MuJoCo cannot compile {source}: {one_line(error)}")
