"""Seconds spent in each phase of an iteration."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["PhaseTimer"]


class PhaseTimer:
    """Times phases; on CUDA with events, so that measuring never waits for the device.

    Args:
        device: where the phases run.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cuda = device.type == "cuda"
        self._spans: dict[str, tuple] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Times the enclosed block under the name `phase`."""
        start = self._now()
        yield
        self._spans[phase] = (start, self._now())

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of every phase; on CUDA this waits for the device."""
        if not self._cuda:
            return {phase: stop - start for phase, (start, stop) in self._spans.items()}
        torch.cuda.synchronize(self._device)
        return {
            phase: start.elapsed_time(stop) / 1e3 for phase, (start, stop) in self._spans.items()
        }

    def _now(self):
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
