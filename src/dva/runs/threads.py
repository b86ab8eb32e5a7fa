"""How a run uses the cores of a CPU, and cuDNN on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dva.runs.config import TrainConfig, resolve_device

__all__ = ["lanes"]


@contextmanager
def lanes(config: TrainConfig, device: str | None = None) -> Iterator[int | None]:
    """Takes parallelism out of torch's operations, and puts it back at the end.

    WarpSimulator, camera and learner work side by side on parts of their environments instead, one
    thread each: they wait for one another a few times in a step, where torch's threads wait twice
    in every operation. Small operations, such as the critic's, then need no other core at all. An
    algorithm that differentiates through images in one graph keeps torch's threads.

    On a GPU cuDNN tries which of its convolutions is fastest for each size of a batch: there are a
    few sizes, each met thousands of times.

    Args:
        config: says how many threads, if it does.
        device: "auto", "cpu" or "cuda"; none: what `config` asks for.

    Yields:
        Number of threads; None on a GPU.
    """
    if resolve_device(device or config.device) != "cpu":
        tried = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            yield None
        finally:
            torch.backends.cudnn.benchmark = tried
        return
    before = torch.get_num_threads()
    threads = config.threads or before
    torch.set_num_threads(threads if _one_graph(config) else 1)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def _one_graph(config: TrainConfig) -> bool:
    from dva.learning import ALGORITHMS

    return config.learner.pixels and ALGORITHMS[config.algo].learner_class.pixel_gradient
