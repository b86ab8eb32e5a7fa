import math

import pytest
import torch

from dva.learning.returns import horizon_loss, td_lambda_targets

HORIZON, NUM_ENVS, DISCOUNT, LAMBDA = 9, 7, 0.9, 0.8


def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rewards, next values, terminated, truncated; some ends of each kind, one on the last step."""
    generator = torch.Generator().manual_seed(3)
    rewards = torch.randn(HORIZON, NUM_ENVS, generator=generator)
    values = torch.randn(HORIZON, NUM_ENVS, generator=generator)
    draw = torch.rand(HORIZON, NUM_ENVS, generator=generator)
    terminated, truncated = draw < 0.15, draw > 0.85
    terminated[-1, 0] = truncated[-1, 1] = True
    truncated[-1, 0] = terminated[-1, 1] = False
    return rewards, values, terminated, truncated


def direct_target(t: int, i: int) -> float:
    """Sums equation (16) as it stands, from k-step returns."""
    rewards, values, terminated, truncated = sample()
    steps_left = HORIZON - t
    for j in range(t, HORIZON):
        if terminated[j, i] or truncated[j, i]:
            steps_left = j - t + 1
            break

    def k_step_return(k: int) -> float:
        total = sum(DISCOUNT**m * rewards[t + m, i].item() for m in range(k))
        last = t + k - 1
        return total + (0.0 if terminated[last, i] else DISCOUNT**k * values[last, i].item())

    mixed = sum(LAMBDA ** (k - 1) * k_step_return(k) for k in range(1, steps_left))
    return (1 - LAMBDA) * mixed + LAMBDA ** (steps_left - 1) * k_step_return(steps_left)


def test_td_lambda_equals_the_sum_of_k_step_returns() -> None:
    targets = td_lambda_targets(*sample(), discount=DISCOUNT, td_lambda=LAMBDA)
    expected = [[direct_target(t, i) for i in range(NUM_ENVS)] for t in range(HORIZON)]
    torch.testing.assert_close(targets, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_horizon_loss_with_ends_inside_sums_segments() -> None:
    rewards, values, terminated, truncated = sample()
    total = 0.0
    for i in range(NUM_ENVS):
        power = 0
        for t in range(HORIZON):
            total += DISCOUNT**power * rewards[t, i].item()
            power += 1
            done = terminated[t, i] or truncated[t, i]
            if done or t == HORIZON - 1:
                total += 0.0 if terminated[t, i] else DISCOUNT**power * values[t, i].item()
                power = 0
    loss = horizon_loss(rewards, values, terminated, truncated, DISCOUNT)
    assert loss.shape == (NUM_ENVS,)
    assert loss.sum().item() == pytest.approx(-total / (HORIZON * NUM_ENVS), rel=1e-5)


def test_horizon_loss_without_ends_is_equation_three() -> None:
    rewards, values = torch.ones(4, 1), torch.full((4, 1), 10.0)
    never = torch.zeros(4, 1, dtype=torch.bool)
    expected = -(1 + 0.5 + 0.25 + 0.125 + 0.5**4 * 10) / 4
    assert horizon_loss(rewards, values, never, never, 0.5).item() == pytest.approx(expected)


def test_unused_values_do_not_leak_even_if_nan() -> None:
    rewards = torch.ones(3, 2)
    values = torch.full((3, 2), math.nan)
    values[2, 1] = 1.0
    terminated = torch.zeros(3, 2, dtype=torch.bool)
    terminated[2, 0] = True
    never = torch.zeros_like(terminated)
    assert torch.isfinite(horizon_loss(rewards, values, terminated, never, 0.9)).all()


def test_a_terminated_state_counts_as_zero_even_if_also_truncated() -> None:
    yes = torch.ones(1, 1, dtype=torch.bool)
    one = torch.ones(1, 1)
    assert td_lambda_targets(one, 5 * one, yes, yes, 0.9, 0.95).item() == 1.0
    assert horizon_loss(one, 5 * one, yes, yes, 0.9).item() == -1.0
