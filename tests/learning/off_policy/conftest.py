import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Small algorithms stand beside the tests.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keeps torch's threads from waiting for each other in operations on a few numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
