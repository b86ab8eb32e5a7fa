"""DrQ-v2: its targets, noise and updates by hand, its rhythm, and that it learns."""

import copy
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small_off_policy import small_drqv2

from dva.learning import DrQV2, DrqV2Config
from dva.learning.steps import Transitions


def started(**changes: Any) -> DrQV2:
    """One that has collected, and is about to learn."""
    algorithm = small_drqv2(**changes)
    while algorithm.env_steps < algorithm.config.seed_steps:
        algorithm.iterate()
    algorithm.set_learning_rates()
    return algorithm


def parameters(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()]).clone()


def test_a_target_takes_the_lower_value() -> None:
    algorithm = started()
    batch = algorithm.draw()
    values = torch.tensor([[3.0] * 4 + [-1.0] * 4, [2.0] * 4 + [5.0] * 4])
    algorithm.target_critic = lambda seen, action: values  # type: ignore[assignment]
    found = algorithm.target(batch)
    lower = torch.tensor([2.0] * 4 + [-1.0] * 4)
    torch.testing.assert_close(found, batch.reward + batch.discount * lower)


def test_the_noise_falls_linearly_in_environment_steps() -> None:
    algorithm = small_drqv2(noise_first=1.0, noise_final=0.1, noise_steps=400)
    for steps, expected in [(0, 1.0), (100, 0.775), (200, 0.55), (400, 0.1), (9000, 0.1)]:
        algorithm.env_steps = steps
        algorithm.set_learning_rates()
        assert float(algorithm.noise) == pytest.approx(expected)


def test_learned_actions_have_clipped_noise_and_its_gradient_passes() -> None:
    algorithm = small_drqv2(noise_clip=0.3)
    algorithm.noise.fill_(2.0)
    mean = torch.linspace(-1, 1, 400).view(200, 2).requires_grad_()
    found = algorithm.noisy(mean)
    assert found.abs().max() <= 1.0 and (found - mean).abs().max() <= 0.3 + 1e-6
    inside = (mean.abs() < 0.7) & ((found - mean).abs() > 0.3 - 1e-6)
    assert inside.float().mean() > 0.5  # most of such a large noise is cut off
    weights = torch.rand(200, 2)
    (gradient,) = torch.autograd.grad((weights * found).sum(), mean)
    assert torch.equal(gradient, weights)


def test_explored_actions_have_all_of_the_noise() -> None:
    algorithm = small_drqv2(noise_clip=0.01)
    algorithm.noise.fill_(0.5)
    observation, drawing = algorithm.collector.observation, torch.Generator()
    drawing.set_state(algorithm.generators["exploration"].get_state())
    noise = torch.randn(4, 2, generator=drawing)
    found = algorithm.explore(observation)
    expected = (algorithm.policy.choose(observation) + 0.5 * noise).clamp(-1, 1)
    torch.testing.assert_close(found, expected)
    assert (0.5 * noise.abs() > 0.1).any()


def test_critic_and_actor_descend_on_their_losses() -> None:
    algorithm = started(noise_first=0.0, noise_final=0.0, shift=0.0)
    batch = algorithm.draw()
    seen = algorithm.policy.see(batch.observation)
    target = algorithm.target(batch).detach()
    first, second = algorithm.critic(seen, batch.action)
    loss = (first - target).square().mean() + (second - target).square().mean()
    expected = torch.autograd.grad(loss, algorithm.critic_optimizer.parameters)
    critic = copy.deepcopy(algorithm.critic)
    actor_before, slow = parameters(algorithm.policy.actor), parameters(algorithm.target_critic)
    found = algorithm.update(batch, 0)
    torch.testing.assert_close(found["critic_loss"], loss.detach())
    for parameter, gradient in zip(algorithm.critic_optimizer.parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
    # the actor climbs on the updated critics, with the features as they were
    before = small_drqv2().policy.actor
    torch.nn.utils.vector_to_parameters(actor_before, before.parameters())
    own = algorithm.critic(seen.detach(), torch.tanh(before(seen.detach()))).amin(0)
    torch.testing.assert_close(found["actor_loss"], -own.mean().detach())
    expected = torch.autograd.grad(-own.mean(), [*before.parameters()])
    for parameter, gradient in zip(algorithm.policy.actor.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
    # the target critics go a hundredth of the way
    fast = parameters(algorithm.critic)
    assert not torch.equal(fast, parameters(critic))
    torch.testing.assert_close(
        parameters(algorithm.target_critic), 0.99 * slow + 0.01 * fast, rtol=1e-5, atol=1e-7
    )


def test_large_means_are_penalised() -> None:
    plain, kept = started(), started(mean_penalty=0.5)
    for algorithm in (plain, kept):
        algorithm.noise.zero_()
        algorithm.critic_optimizer.set_learning_rate(0.0)
        algorithm._shift = lambda images: images  # type: ignore[method-assign]
    batch = plain.draw()
    mean = plain.policy.mean(plain.policy.see(batch.observation)).detach()
    losses = [x.update(batch, 0)["actor_loss"] for x in (plain, kept)]
    torch.testing.assert_close(losses[1] - losses[0], 0.5 * mean.square().sum(1).mean())


def test_rewards_are_scaled_as_they_are_drawn() -> None:
    one, other = started(), started(reward_scale=0.1)
    torch.testing.assert_close(other.draw().reward, 0.1 * one.draw().reward)


def test_the_actor_does_not_move_the_encoder() -> None:
    algorithm = started()
    algorithm.critic_optimizer.set_learning_rate(0.0)
    encoder, actor = parameters(algorithm.policy.encoders), parameters(algorithm.policy.actor)
    algorithm.update(algorithm.draw(), 0)
    assert torch.equal(parameters(algorithm.policy.encoders), encoder)
    assert not torch.equal(parameters(algorithm.policy.actor), actor)


def test_shifts_grow_with_the_images() -> None:
    given = torch.rand(60, 1, 42, 42).cumsum(2).cumsum(3)
    algorithm = small_drqv2()
    found = algorithm._shift(given)  # 4 pixels of 84 are 2 of 42
    middle = found[:, 0, 20, 20]
    window = given[:, 0, 18:23, 18:23].flatten(1)
    assert (middle[:, None] == window).any(1).all()
    assert (middle[:, None] != given[:, 0, 19:22, 19:22].flatten(1)).all(1).any()


def test_random_actions_come_first_and_then_updates() -> None:
    algorithm = small_drqv2(seed_steps=24, updates=3)  # 4 environments, 2 steps for an action
    before = parameters(algorithm.policy)
    rows = [algorithm.iterate() for _ in range(3)]
    assert torch.equal(parameters(algorithm.policy), before) and algorithm.env_steps == 24
    for row in rows:
        assert row["updates"] == 0 and row["critic_loss"] is None and row["skipped_updates"] == 0
    row = algorithm.iterate()
    assert row["updates"] == 3 and isinstance(row["critic_loss"], float)
    assert not torch.equal(parameters(algorithm.policy), before)
    assert row.keys() == rows[0].keys()
    assert row["replay_steps"] == 16 and row["replay_capacity"] == 400


def test_a_batch_that_is_not_finite_changes_nothing() -> None:
    algorithm = started()
    batch = algorithm.draw()
    broken = Transitions(
        batch.observation, batch.action, batch.reward / 0.0, batch.discount, batch.next_observation
    )
    before = parameters(algorithm.policy)
    assert float(algorithm.update(broken, 0)["skipped"]) == 1.0
    encoder = parameters(algorithm.policy.encoders)
    assert torch.equal(encoder, before[: len(encoder)])


def test_states_need_no_encoder() -> None:
    algorithm = started(env=PointMass(4, observe=("state",)))
    assert not [*algorithm.policy.encoders.parameters()]
    row = algorithm.iterate()
    assert "visual_feedback" not in row and isinstance(row["critic_loss"], float)
    assert float(algorithm.policy.normalizers["state"].count) == 4 * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 0}, "updates is 0; it must be between 1"),
        ({"n_step": 0}, "n_step is 0; it must be between 1 and 1000"),
        ({"noise_clip": -0.1}, "noise_clip is -0.1; it must be 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"target_rate": 1.5}, "target_rate is 1.5; it must be between 0 and 1"),
        ({"replay_gigabytes": 0.0}, "replay_gigabytes is 0.0; it must be above 0"),
        ({"replay_memory": "disk"}, "replay_memory is 'disk'; it must be device or host"),
        ({"hidden": (0,)}, "hidden is .*widths of 1 or more"),
    ],
)
def test_config_names_the_wrong_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DrqV2Config(**changes)


def test_a_replay_larger_than_the_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="replay_gigabytes is 900000; .* GB, and this machine has"):
        small_drqv2(replay_gigabytes=900_000.0, replay_steps=100_000_000_000 // 1000)


def test_gigabytes_limit_the_replay() -> None:
    algorithm = small_drqv2(replay_gigabytes=1e-4, seed_steps=0)
    each = 3 * 16 * 16 + 4 * 2 + 18
    assert algorithm.iterate()["replay_capacity"] == 4 * (int(1e5 / each) // 4)
