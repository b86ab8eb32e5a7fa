"""A state is a value: each method returns another one, with all that it carries."""

import pytest
import torch

from dva.sim import State


def make(offset: float = 0.0, n: int = 3) -> State:
    """Rows that tell each other apart, with things that a simulator carries."""
    rows = torch.arange(n) + offset
    return State(
        rows[:, None] + torch.zeros(n, 2),
        rows[:, None] + torch.full((n, 4), 0.5),
        {"warm_start": rows[:, None, None] + torch.zeros(n, 2, 3), "count": rows.long()},
    )


NAMES = ["joint_q", "joint_qd", "warm_start", "count"]


def test_tensors_are_the_state_itself():
    state = make()
    assert list(state.tensors()) == NAMES and state.num_envs == 3
    again = State.from_tensors(state.tensors())
    assert all(x is y for x, y in zip(again.tensors().values(), state.tensors().values()))  # noqa: B905
    assert list(again.carried) == ["warm_start", "count"]
    assert State(state.joint_q, state.joint_qd).carried == {}


def test_clone_shares_no_memory():
    state = make()
    copy = state.clone()
    for name, value in copy.tensors().items():
        assert torch.equal(value, state.tensors()[name])
        value += 1
        assert not torch.equal(value, state.tensors()[name]), name


def test_detach_cuts_the_graph_of_everything_and_clone_keeps_it():
    leaf = torch.ones(3, 2, requires_grad=True)
    state = State(2 * leaf, 3 * leaf, {"activation": leaf.sum(1)})
    assert all(x.requires_grad for x in state.clone().tensors().values())
    detached = state.detach()
    for name, value in detached.tensors().items():
        assert not value.requires_grad and torch.equal(value, state.tensors()[name])
    assert state.joint_q.requires_grad


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), torch.tensor([True, False, True])])
def test_select_takes_rows_of_everything(rows: torch.Tensor):
    state = make()
    chosen = state.select(rows)
    assert chosen.num_envs == 2 and list(chosen.tensors()) == NAMES
    for name, value in chosen.tensors().items():
        assert torch.equal(value, state.tensors()[name][rows]), name


def test_where_takes_rows_of_everything_from_the_other():
    mask = torch.tensor([False, True, False])
    ours, theirs = make(), make(10.0)
    mixed = ours.where(mask, theirs)
    for name, value in mixed.tensors().items():
        expected = [ours.tensors()[name][0], theirs.tensors()[name][1], ours.tensors()[name][2]]
        assert torch.equal(value, torch.stack(expected)), name
        assert value.dtype == ours.tensors()[name].dtype
    assert torch.equal(ours.joint_q, make().joint_q)  # as it was


def test_no_gradient_crosses_where():
    ours, theirs = (torch.ones(3, 2, requires_grad=True) for _ in range(2))
    mask = torch.tensor([False, True, False])
    broken = torch.where(mask[:, None], float("nan"), ours)  # what a restart replaces
    mixed = State(broken, ours).where(mask, State(theirs, theirs))
    (mixed.joint_q + mixed.joint_qd).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    assert ours.grad.tolist() == [[2.0, 2.0], [0.0, 0.0], [2.0, 2.0]]
    assert theirs.grad.tolist() == [[0.0, 0.0], [2.0, 2.0], [0.0, 0.0]]


def test_states_of_two_simulators_are_not_mixed():
    with pytest.raises(ValueError, match=r"carries \['joint_q', 'joint_qd'\] cannot replace rows"):
        make().where(torch.ones(3, dtype=torch.bool), State(torch.ones(3, 2), torch.ones(3, 4)))


@pytest.mark.parametrize("name", ["joint_q", "joint_qd"])
def test_what_is_carried_does_not_shadow_coordinates(name):
    with pytest.raises(ValueError, match=f"A state carries '{name}'.*another name"):
        State(torch.zeros(2, 1), torch.zeros(2, 1), {name: torch.zeros(2, 1)})
