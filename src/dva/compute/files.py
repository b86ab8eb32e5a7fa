"""Files that are whole or absent, whatever ends the process while it writes them."""

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from dva.compute.errors import explain_file_errors, one_line

__all__ = ["file_digest", "flush_to_disk", "is_temporary", "write_atomically", "write_tensors"]

_NOT_KNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What a file system says that does not know a call."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, then moves it there in one step.

    Raises:
        FileError: the disk is full, the folder is read-only, or the like; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explain_file_errors(path):
        try:
            temporary.touch()
            mode = temporary.stat().st_mode & 0o777  # what the user's umask leaves
            write(temporary)
            os.chmod(temporary, mode)  # safetensors lets nobody else read
            flush_to_disk(temporary)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # it has been renamed, or was never made
                temporary.unlink()
        flush_to_disk(path.parent)


def is_temporary(path: Path, name: str = "") -> bool:
    """Tells whether a killed `write_atomically` left this file (of a target called `name`)."""
    return path.name.startswith(f".{name}") and path.name.endswith(".tmp")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Writes tensors of any shape, dtype and device as a safetensors file, atomically.

    Returns:
        The SHA-256 digest of the file, in hexadecimal digits.

    Raises:
        FileError: as `write_atomically`.
    """
    # A copy each: safetensors refuses tensors that share memory or are not contiguous.
    copies = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }
    digests: list[str] = []

    def write(temporary: Path) -> None:
        try:
            safetensors.torch.save_file(copies, temporary)
        except safetensors.SafetensorError as error:  # what it makes of a full disk
            raise _as_os_error(error) from error
        digests.append(file_digest(temporary))

    write_atomically(path, write)
    return digests[0]


def file_digest(path: Path) -> str:
    """Returns the SHA-256 digest of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _as_os_error(error: safetensors.SafetensorError) -> OSError:
    """Finds the system's error number in the text of an error of safetensors ("os error 28")."""
    found = re.search(r"os error (\d+)", str(error))
    number = int(found.group(1)) if found else 0
    return OSError(number, os.strerror(number) if number else one_line(error))


def flush_to_disk(path: Path) -> None:
    """Forces a file or the entries of a folder to the disk: a power cut cannot undo a rename.

    Some file systems, such as shares of other machines, know no flush of a folder; they go without.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_KNOWN or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)
