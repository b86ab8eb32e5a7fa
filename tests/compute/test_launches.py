"""Warp generates code for one thread at a time."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import warp as wp

from dva.compute.launches import LaunchSequence
from dva.compute.warp_runtime import COMPILING, start_warp
from dva.sim.warp import kernels


class Module:
    """Notices that two threads load it at a time."""

    inside = 0
    worst = 0

    def load(self, device: Any, block: int) -> None:
        Module.inside += 1
        Module.worst = max(Module.worst, Module.inside)
        time.sleep(0.02)
        Module.inside -= 1


def in_threads(do: Any, count: int = 4) -> list[Any]:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(do())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_modules_are_loaded_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wp, "launch", lambda **_: time.sleep(0.01))
    device = SimpleNamespace(is_cpu=True, is_cuda=False)

    def prepare() -> LaunchSequence:
        launch = {"kernel": SimpleNamespace(module=Module())}
        return LaunchSequence(device, iter([launch]), capture=False)

    assert len(in_threads(prepare)) == 4
    assert Module.worst == 1


def test_kernels_are_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    start_warp()
    built = []

    def types(real: Any, part: str = "", balls: bool = False) -> SimpleNamespace:
        built.append((real, part, balls))
        time.sleep(0.05)
        return SimpleNamespace()

    monkeypatch.setattr(kernels, "kernel_types", types)
    monkeypatch.setattr(kernels, "_FACTORIES", ())
    for name in ("feature_kernels", "contact_kernels", "terrain_kernels"):
        monkeypatch.setattr(kernels, name, lambda types: [])
    found = in_threads(lambda: kernels.build_kernels("a type of its own"))
    assert len(built) == len(set(built)) == 4 and len({id(one) for one in found}) == 1


def test_a_fork_waits_for_what_is_being_compiled() -> None:
    import os

    with COMPILING:
        child = os.fork()
        if child == 0:
            os._exit(0 if COMPILING.acquire(timeout=5) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
