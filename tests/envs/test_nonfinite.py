"""Which environments count as non-finite."""

import pytest
import torch

from dva.envs.nonfinite import is_nonfinite
from dva.sim import State

NAN, INF = float("nan"), float("inf")
HUGE = 1e9


def state(**carried: torch.Tensor) -> State:
    return State(torch.zeros(3, 2), torch.zeros(3, 2), carried)


@pytest.mark.parametrize(
    "carried",
    [
        torch.tensor([HUGE, NAN, 0.0]),  # (N,)
        torch.tensor([[HUGE], [INF], [0.0]]),
        torch.tensor([HUGE, NAN, 0.0])[:, None, None].expand(3, 2, 2),
    ],
)
def test_what_is_carried_has_to_be_finite_and_may_be_large(carried):
    found = is_nonfinite(state(carried=carried), torch.zeros(3, 1))
    assert found.tolist() == [False, True, False]


def test_whole_numbers_and_empty_tensors_may_be_carried():
    carried = {"steps": torch.full((3,), 10**9), "nothing": torch.zeros(3, 0)}
    assert not is_nonfinite(state(**carried), torch.zeros(3, 1)).any()


@pytest.mark.parametrize("value", [NAN, INF, -HUGE])
def test_coordinates_are_bounded(value):
    bad = torch.zeros(3, 2)
    bad[2, 1] = value
    for joint_q, joint_qd in ((bad, torch.zeros(3, 2)), (torch.zeros(3, 2), bad)):
        found = is_nonfinite(State(joint_q, joint_qd), torch.full((3, 1), HUGE))
        assert found.tolist() == [False, False, True]
