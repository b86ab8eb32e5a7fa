"""Files are as readable as the user's umask says."""

import os
from pathlib import Path

import pytest
import torch

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
