"""Jobs that run side by side."""

import time
from collections.abc import Callable

import pytest

from dva.compute.threads import run_side_by_side


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
