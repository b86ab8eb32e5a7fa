"""Phases are timed on the learner's device, not on the one that happens to be current."""

import time
from typing import Any

import torch

from dva.compute.timing import PhaseTimer


def test_cuda_events_and_waiting_name_the_device(monkeypatch: Any) -> None:
    calls: list[tuple[str, object]] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object) -> None:
            calls.append(("record", stream))

        def elapsed_time(self, other: "Event") -> float:
            return 2_000.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(
        torch.cuda, "synchronize", lambda device: calls.append(("wait", str(device)))
    )
    timer = PhaseTimer(torch.device("cuda:1"))
    with timer("rollout"):
        pass
    assert timer.seconds() == {"rollout": 2.0}
    assert calls == [("record", "stream of cuda:1")] * 2 + [("wait", "cuda:1")]


def test_cpu_phases_are_timed_by_the_clock(monkeypatch: Any) -> None:
    now = [10.0, 10.5, 20.0, 22.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now.pop(0))
    timer = PhaseTimer(torch.device("cpu"))
    with timer("rollout"):
        assert len(now) == 3  # the clock is read before the phase, and after it
    with timer("critic"):
        pass
    assert timer.seconds() == {"rollout": 0.5, "critic": 2.0} and not now
