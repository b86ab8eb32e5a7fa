"""How a run uses the cores of a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dva.runs.config import TrainConfig, resolve_device

__all__ = ["lanes"]


@contextmanager
def lanes(config: TrainConfig, device: str | None = None) -> Iterator[int | None]:
    """Takes parallelism out of torch's operations, and puts it back at the end.

    Simulator, camera and learner work side by side on parts of their environments instead, one
    thread each: they wait for one another a few times in a step, where torch's threads wait twice
    in every operation. Small operations, such as the critic's, then need no other core at all.

    Args:
        config: says how many threads, if it does.
        device: "auto", "cpu" or "cuda"; none: what `config` asks for.

    Yields:
        Number of threads; None on a GPU, where nothing changes.
    """
    if resolve_device(device or config.device) != "cpu":
        yield None
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield config.threads or before
    finally:
        torch.set_num_threads(before)
