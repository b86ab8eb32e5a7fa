"""Files are as readable as the user's umask says."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from dva.compute.errors import FileError
from dva.compute.files import write_atomically, write_tensors


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_the_umask_counts(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "text", lambda path: path.write_text("a"))
        write_tensors(tmp_path / "tensors", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    for name in ("text", "tensors"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_folder_that_cannot_be_flushed_takes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Shares and buckets that are mounted know no flush of a folder."""
    fsync, flushed = os.fsync, []

    def flush_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flushed.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush_files)
    write_atomically(tmp_path / "text", lambda path: path.write_text("a"))
    assert (tmp_path / "text").read_text() == "a" and len(flushed) == 1


def test_a_disk_that_fails_while_a_folder_is_flushed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileError, match="Input/output error"):
        write_atomically(tmp_path / "text", lambda path: path.write_text("a"))
