"""Jobs that run side by side."""

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
import torch

from dva.compute.threads import run_side_by_side, use_threads


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_no_job_is_left_running_when_one_fails(failing: int) -> None:
    ended = []

    def job(index: int) -> Callable[[], None]:
        def run() -> None:
            if index == failing:
                raise RuntimeError(f"job {index}")
            time.sleep(0.1)
            ended.append(index)

        return run

    with pytest.raises(RuntimeError, match=f"job {failing}"):
        run_side_by_side([job(index) for index in range(3)])
    assert sorted(ended) == [index for index in range(3) if index != failing]


def test_threads_take_over_the_number_of_threads_inside_an_operation() -> None:
    start = threading.Barrier(2)  # so that each job has a thread of its own
    found = []

    def look() -> None:
        start.wait()
        torch.ones(100_000).sum()
        found.append(torch.get_num_threads())

    with use_threads(torch.device("cpu"), 1):
        run_side_by_side([look] * 2)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        run_side_by_side([look] * 2)
    finally:
        torch.set_num_threads(before)
    assert found == [1, 1, 4, 4]


def test_a_fork_has_threads_of_its_own() -> None:
    run_side_by_side([lambda: None] * 3)  # starts the parent's
    child = os.fork()
    if child == 0:
        ran = []
        run_side_by_side([lambda: ran.append(1)] * 3)
        os._exit(0 if ran == [1, 1, 1] else 1)
    deadline = time.monotonic() + 30
    done, status = 0, 0
    while not done and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.02)
    if not done:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done and os.waitstatus_to_exitcode(status) == 0
