import math

import pytest
import torch
from torch import nn

from dva.learning.critic import fit_critic, update_target
from dva.learning.optimizer import ClippedAdam, linear_learning_rate
from dva.policies import Critic


def test_learning_rate_falls_linearly_to_its_final_value() -> None:
    rates = [linear_learning_rate(2e-3, 1e-5, i, 100) for i in (0, 50, 100, 150)]
    assert rates == pytest.approx([2e-3, (2e-3 + 1e-5) / 2, 1e-5, 1e-5])


def parameter_with(gradient: list[float]) -> nn.Parameter:
    parameter = nn.Parameter(torch.ones(len(gradient)))
    parameter.grad = torch.tensor(gradient)
    return parameter


def test_step_clips_and_agrees_with_adam() -> None:
    ours, theirs = parameter_with([3.0, 4.0]), parameter_with([0.6, 0.8])
    optimizer = ClippedAdam([ours], (0.7, 0.95), 1.0)
    optimizer.set_learning_rate(0.1)
    reference = torch.optim.Adam([theirs], lr=0.1, betas=(0.7, 0.95))
    for _ in range(3):
        ours.grad = torch.tensor([3.0, 4.0])
        norm, skipped = optimizer.step()
        reference.step()
        assert norm.item() == pytest.approx(5.0) and skipped.item() == 0.0
    torch.testing.assert_close(ours, theirs)


def test_nonfinite_gradient_changes_nothing() -> None:
    parameter = parameter_with([1.0, 1.0])
    optimizer = ClippedAdam([parameter], (0.7, 0.95), 1.0)
    optimizer.set_learning_rate(0.1)
    optimizer.step()
    before, state = parameter.detach().clone(), optimizer.state_dict()
    for bad in (math.nan, math.inf):
        parameter.grad = torch.tensor([1.0, bad])
        _, skipped = optimizer.step()
        assert skipped.item() == 1.0
        assert torch.equal(parameter.detach(), before)
    for name, value in optimizer.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_missing_gradient_is_an_error() -> None:
    parameter = parameter_with([1.0])
    optimizer = ClippedAdam([parameter, nn.Parameter(torch.ones(1))], (0.7, 0.95), 1.0)
    with pytest.raises(RuntimeError, match="no gradient"):
        optimizer.step()
    optimizer.zero_grad()
    assert parameter.grad is None


def test_critic_fit_leaves_nonfinite_samples_out() -> None:
    torch.manual_seed(0)
    states, targets = torch.randn(40, 3), torch.randn(40)
    critic = Critic(3, (8,))
    optimizer = ClippedAdam(critic.parameters(), (0.7, 0.95), 1.0)
    optimizer.set_learning_rate(1e-2)
    states[3, 1] = targets[7] = math.nan
    generator = torch.Generator().manual_seed(0)
    first, _, _ = fit_critic(critic, optimizer, states, targets, 1, 4, generator)
    last, norm, skipped = fit_critic(critic, optimizer, states, targets, 60, 4, generator)
    assert last < 0.5 * first and torch.isfinite(norm) and skipped.item() == 0.0
    assert all(torch.isfinite(parameter).all() for parameter in critic.parameters())


def test_critic_fit_of_fewer_samples_than_minibatches() -> None:
    critic = Critic(3, (8,))
    optimizer = ClippedAdam(critic.parameters(), (0.7, 0.95), 1.0)
    loss, _, _ = fit_critic(
        critic, optimizer, torch.randn(2, 3), torch.randn(2), 1, 4, torch.Generator()
    )
    assert torch.isfinite(loss)


def test_target_keeps_the_share_alpha_of_itself() -> None:
    target, source = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(target.weight, 1.0)
    nn.init.constant_(source.weight, 2.0)
    update_target(target, source, 0.2)
    assert target.weight.item() == pytest.approx(0.2 * 1.0 + 0.8 * 2.0)


def test_a_gradient_may_have_another_memory_layout_than_its_parameter() -> None:
    gradient = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(torch.ones(4, 3, 2, 2))
        optimizer = ClippedAdam([parameter], (0.7, 0.95), 1.0)
        optimizer.set_learning_rate(0.1)
        for factor in (1.0, -0.5):
            parameter.grad = (factor * gradient).contiguous(memory_format=layout)
            optimizer.step()
        found.append(parameter.detach())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("eps", [1e-8, 0.5])
def test_eps_is_added_to_the_root_of_the_second_moment(eps: float) -> None:
    parameter = parameter_with([0.25])
    optimizer = ClippedAdam([parameter], (0.9, 0.999), 1.0, eps=eps)
    optimizer.set_learning_rate(0.1)
    optimizer.step()
    # Of the first step both moments, freed of their bias, are those of the gradient.
    assert parameter.item() == pytest.approx(1.0 - 0.1 * 0.25 / (0.25 + eps))
