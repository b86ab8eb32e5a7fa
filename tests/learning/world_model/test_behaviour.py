"""Imagination and the losses of actor and critic, against values by hand."""

import copy

import pytest
import torch
from small_dreamer import SMALLEST

from dva.learning.world_model.behaviour import (
    DreamerActor,
    DreamerCritic,
    ReturnRange,
    actor_loss,
    critic_loss,
    imagine,
    lambda_returns,
    trajectory_weights,
)
from dva.learning.world_model.distributions import BoundedNormal, two_hot_loss
from dva.learning.world_model.rssm import Latent, Rssm


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


# ---------------------------------------------------------------------- returns


def test_lambda_returns_by_hand() -> None:
    found = lambda_returns(
        column(1.0, 2.0, 3.0), column(1.0, 0.5, 1.0), column(99.0, 10.0, 20.0, 30.0), 0.9, 0.8
    )
    third = 3.0 + 0.9 * 30.0
    second = 2.0 + 0.9 * 0.5 * (0.2 * 20.0 + 0.8 * third)
    first = 1.0 + 0.9 * (0.2 * 10.0 + 0.8 * second)
    torch.testing.assert_close(found, column(first, second, third))


def test_an_end_cuts_the_return() -> None:
    values = column(0.0, 10.0, 20.0, 30.0)
    found = lambda_returns(column(1.0, 2.0, 3.0), column(1.0, 0.0, 1.0), values, 1.0, 1.0)
    torch.testing.assert_close(found, column(3.0, 2.0, 33.0))


def test_lambda_of_zero_and_one_are_one_step_and_all_steps() -> None:
    rewards, values = column(1.0, 2.0, 4.0), column(0.0, 10.0, 20.0, 30.0)
    ones = torch.ones(3, 1)
    torch.testing.assert_close(
        lambda_returns(rewards, ones, values, 0.5, 0.0), column(6.0, 12.0, 19.0)
    )
    torch.testing.assert_close(
        lambda_returns(rewards, ones, values, 0.5, 1.0), column(6.75, 11.5, 19.0)
    )


def test_weights_are_the_probability_of_getting_there() -> None:
    continues = torch.tensor([[1.0, 1.0], [0.5, 1.0], [0.25, 1.0]])
    found = trajectory_weights(torch.tensor([1.0, 0.0]), continues, 0.9)
    expected = torch.tensor([[1.0, 0.0], [0.9, 0.0], [0.9 * 0.9 * 0.5, 0.0]])
    torch.testing.assert_close(found, expected)


# ---------------------------------------------------------------------- the range of returns


def test_the_range_follows_the_percentiles() -> None:
    follows = ReturnRange(0.99)
    returns = torch.arange(101.0)[torch.randperm(101)].view(101, 1)
    for count in (1, 2, 3):
        scale = follows.update(returns)
        share = 1.0 - 0.99**count
        assert float(follows.low) == pytest.approx(5.0 * share, rel=1e-5)
        assert float(follows.high) == pytest.approx(95.0 * share, rel=1e-5)
        assert float(scale) == pytest.approx(max(1.0, 90.0 * share), rel=1e-5)
    assert float(follows.update(0.0 * returns)) > 1.0  # it remembers


def test_small_returns_are_not_blown_up() -> None:
    assert ReturnRange(0.0).update(torch.linspace(0.0, 0.5, 50)) == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_returns_that_are_not_finite_change_nothing(bad: float) -> None:
    follows = ReturnRange(0.5)
    follows.update(torch.arange(40.0))
    before = copy.deepcopy(follows.state_dict())
    follows.update(torch.tensor([1.0, bad, 2.0]))
    assert all(torch.equal(follows.state_dict()[name], value) for name, value in before.items())


# ---------------------------------------------------------------------- losses


def test_the_actor_s_gradient_is_that_of_reinforce() -> None:
    mean = drawn(2, 3, 4).requires_grad_()
    std = (0.5 + drawn(2, 3, 4, seed=1).abs()).requires_grad_()
    actions, advantages = drawn(2, 3, 4, seed=2), drawn(2, 3, seed=3)
    weights = drawn(2, 3, seed=4).abs()
    loss = actor_loss(BoundedNormal(mean, std), actions, advantages, weights, 0.1)
    by_mean, by_std = torch.autograd.grad(loss, (mean, std))
    factor = (weights / 6.0)[..., None]
    error = (actions - mean.detach()) / std.detach().square()
    torch.testing.assert_close(by_mean, -factor * advantages[..., None] * error)
    spread = error.square() * std.detach() - 1.0 / std.detach()
    expected = -factor * (advantages[..., None] * spread + 0.1 / std.detach())
    torch.testing.assert_close(by_std, expected)


def test_the_critic_learns_returns_and_stays_near_its_slow_copy() -> None:
    critic = DreamerCritic(5, 8)
    logits = critic(drawn(2, 3, 5))
    assert critic.value(logits).equal(torch.zeros(2, 3))  # zero at first
    returns, slow, weights = 9.0 * drawn(2, 3), drawn(2, 3, seed=1), drawn(2, 3, seed=2).abs()
    expected = two_hot_loss(logits, returns, critic.bins) + two_hot_loss(logits, slow, critic.bins)
    found = critic_loss(logits, returns, slow, weights, critic.bins)
    torch.testing.assert_close(found, (weights * expected).mean())


def test_a_critic_that_descends_approaches_the_returns() -> None:
    torch.manual_seed(0)
    critic = DreamerCritic(3, 16)
    features, returns = drawn(64, 3), 40.0 * drawn(64, 3)[:, 0] + 300.0
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    for _ in range(250):
        logits = critic(features)
        slow = critic.value(logits.detach())
        loss = critic_loss(logits, returns, slow, torch.ones(64), critic.bins)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = critic.value(critic(features)) - returns
    assert error.abs().mean() < 15.0


# ---------------------------------------------------------------------- imagination


def test_imagination_is_the_actor_in_the_model() -> None:
    torch.manual_seed(0)
    rssm = Rssm(5, 2, SMALLEST)
    actor = DreamerActor(rssm.feature_size, 2, 8)
    actor.layers[-1].weight.data = drawn(4, 8)
    stoch = torch.eye(SMALLEST.classes)[torch.arange(12) % 4].view(3, -1)
    start = Latent(drawn(3, SMALLEST.deter), stoch)
    horizon = 4
    uniform = torch.rand(horizon, 3, SMALLEST.categoricals)
    normal = 2.0 * drawn(horizon, 3, 2)
    found = imagine(rssm, actor, start, uniform, normal)
    assert found.features.shape == (horizon + 1, 3, rssm.feature_size)
    assert torch.equal(found.features[0], torch.cat([start.deter, start.stoch], -1))
    assert not found.features.requires_grad and not found.actions.requires_grad
    state = start
    for t in range(horizon):
        distribution = actor(state.features)
        action = distribution.mean + distribution.std * normal[t]
        torch.testing.assert_close(found.actions[t], action)
        # the model sees what the environment would
        state = rssm.imagine(state, action.clamp(-1.0, 1.0), uniform[t])
        torch.testing.assert_close(found.features[t + 1], state.features)
    assert found.actions.abs().max() > 1.0
