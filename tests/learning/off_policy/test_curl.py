"""CURL: its losses by closed forms, its rhythm, and soft actor-critic alone from states."""

import math
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small_off_policy import small_curl
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from dva.learning import CURL, CurlConfig
from dva.learning.off_policy.curl import (
    Contrast,
    Temperature,
    bound_log_std,
    squashed_gaussian,
)


def started(**changes: Any) -> CURL:
    """One that has collected, and is about to learn."""
    algorithm = small_curl(**changes)
    while algorithm.env_steps < algorithm.config.seed_steps:
        algorithm.iterate()
    algorithm.set_learning_rates()
    return algorithm


def parameters(*modules: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for m in modules for p in m.parameters()]).clone()


def test_the_log_probability_is_that_of_a_squashed_gaussian() -> None:
    draw = torch.Generator().manual_seed(0)
    mean, log_std, noise = (torch.randn(50, 3, generator=draw).double() for _ in range(3))
    action, found = squashed_gaussian(mean, log_std, noise)
    torch.testing.assert_close(action, torch.tanh(mean + log_std.exp() * noise))
    expected = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)])
    small = (mean + log_std.exp() * noise).abs().amax(1) < 6  # torch inverts tanh where it is flat
    torch.testing.assert_close(found[small], expected.log_prob(action).sum(1)[small])
    # far out it stays finite: the slope of tanh at 30 is 4 exp(-60)
    far = squashed_gaussian(torch.full((1, 1), 30.0), torch.zeros(1, 1), torch.zeros(1, 1))[1]
    assert float(far) == pytest.approx(60 - math.log(4) - 0.5 * math.log(2 * math.pi))


def test_log_deviations_are_bounded() -> None:
    found = bound_log_std(torch.tensor([-1e4, 0.0, 1e4]))
    torch.testing.assert_close(found, torch.tensor([-10.0, -4.0, 2.0]))


def test_contrast_of_orthogonal_features() -> None:
    contrast = Contrast(8)
    with torch.no_grad():
        contrast.weight.copy_(3.0 * torch.eye(8))
    features = 2.0 * torch.eye(8)[:5]
    # 5 keys; the own one has similarity 2 * 3 * 2 = 12, the others 0
    found = contrast(features, features)
    torch.testing.assert_close(found, torch.tensor(math.log1p(4 * math.exp(-12))).float())
    torch.testing.assert_close(contrast(features, 0.0 * features), torch.tensor(math.log(5)))
    wrong = contrast(features, features.roll(1, 0))
    torch.testing.assert_close(wrong, torch.tensor(12 + math.log1p(4 * math.exp(-12))))


def test_the_temperature_falls_where_entropy_is_above_its_target() -> None:
    temperature = Temperature(0.1, target=-2.0)
    for log_probability, expected in [
        (torch.tensor([1.0, -2.0]), 0.1 * (0.5 + 2.0)),  # entropy 0.5
        (torch.tensor([5.0, 6.0]), 0.1 * (-5.5 + 2.0)),
    ]:
        (gradient,) = torch.autograd.grad(temperature.loss(log_probability), [temperature.log])
        assert float(gradient) == pytest.approx(expected)
    assert float(temperature()) == pytest.approx(0.1)


def test_a_target_takes_the_lower_value_and_adds_the_entropy() -> None:
    algorithm = started()
    batch = algorithm.draw()
    values = torch.tensor([[3.0] * 4 + [-1.0] * 4, [2.0] * 4 + [5.0] * 4])
    log_probability = torch.linspace(-1, 1, 8)
    algorithm.target_critic = lambda seen, action: values  # type: ignore[assignment]
    algorithm.sample = lambda *_: (batch.action, log_probability, None)  # type: ignore
    lower = torch.tensor([2.0] * 4 + [-1.0] * 4)
    expected = batch.reward + batch.discount * (lower - 0.1 * log_probability)
    torch.testing.assert_close(algorithm.target(batch), expected)


def test_the_actor_climbs_on_value_and_entropy() -> None:
    algorithm = started()
    algorithm.critic_optimizer.set_learning_rate(0.0)
    algorithm.contrast_optimizer.set_learning_rate(0.0)
    seen = algorithm.policy.see(algorithm.crop(algorithm.draw().observation)).detach()
    drawing = algorithm.generators["updates"]
    state = drawing.get_state()
    action, log_probability, _ = algorithm.sample(seen, drawing)
    drawing.set_state(state)
    loss = (0.1 * log_probability - algorithm.critic(seen, action).amin(0)).mean()
    expected = torch.autograd.grad(loss, [*algorithm.policy.actor.parameters()])
    log_temperature = float(algorithm.temperature.log.detach())
    found, skipped = algorithm._improve_actor(seen)
    assert skipped == 0.0
    torch.testing.assert_close(found["actor_loss"], loss.detach())
    torch.testing.assert_close(found["entropy"], -log_probability.detach().mean())
    for parameter, gradient in zip(algorithm.policy.actor.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
    fell = float(algorithm.temperature.log.detach()) < log_temperature
    assert fell == (float(found["entropy"]) > -2.0)


def test_the_contrast_teaches_the_encoder_and_nothing_else() -> None:
    algorithm = started()
    for optimizer in (algorithm.critic_optimizer, algorithm.actor_optimizer):
        optimizer.set_learning_rate(0.0)
    critic, encoders = algorithm.critic, algorithm.policy.encoders
    taught = (encoders, critic.head, algorithm.contrast)
    others = (critic.first, critic.second, algorithm.policy.actor)
    before, kept = parameters(*taught), parameters(*others)
    algorithm.update(algorithm.draw(), 1)  # of the actor's interval the second
    assert not torch.equal(parameters(*taught), before)
    assert torch.equal(parameters(*others), kept)


def test_comparing_gets_better() -> None:
    algorithm = started(batch_size=16, seed_steps=400)
    algorithm.critic_optimizer.set_learning_rate(0.0)
    losses = [float(algorithm.update(algorithm.draw(), 1)["contrastive_loss"]) for _ in range(80)]
    chance = math.log(16)
    assert losses[0] > 0.8 * chance and sum(losses[-10:]) / 10 < 0.8 * chance


def test_actor_and_targets_wait_for_their_turn() -> None:
    algorithm = started(updates=4, actor_interval=2)
    targets = (algorithm.target_encoders, algorithm.target_critic)
    actor, slow = parameters(algorithm.policy.actor), parameters(*targets)
    fast = (algorithm.policy.encoders, algorithm.critic.head)
    algorithm.update(algorithm.draw(), 1)
    assert torch.equal(parameters(algorithm.policy.actor), actor)
    assert torch.equal(parameters(*targets), slow)
    slow_head = parameters(algorithm.target_encoders, algorithm.target_critic.head)
    algorithm.contrast_optimizer.set_learning_rate(0.0)  # so that they stand where they followed
    algorithm.update(algorithm.draw(), 2)
    assert not torch.equal(parameters(algorithm.policy.actor), actor)
    torch.testing.assert_close(
        parameters(algorithm.target_encoders, algorithm.target_critic.head),
        0.95 * slow_head + 0.05 * parameters(*fast), rtol=1e-5, atol=1e-7,
    )  # fmt: skip


def test_acting_looks_at_the_middle() -> None:
    algorithm = small_curl()
    observation = algorithm.collector.observation
    outside = {name: value.clone() for name, value in observation.items()}
    outside["pixels"][..., 0, :] = 0
    outside["pixels"][..., :, -1] = 255
    assert torch.equal(algorithm.policy.choose(observation), algorithm.policy.choose(outside))
    inside = {name: value.clone() for name, value in observation.items()}
    inside["pixels"][..., 5, 5] += 100
    assert not torch.equal(algorithm.policy.choose(observation), algorithm.policy.choose(inside))


def test_from_states_it_is_soft_actor_critic_alone() -> None:
    algorithm = started(env=PointMass(4, observe=("state",)))
    contrast = parameters(algorithm.contrast)
    row = algorithm.iterate()
    assert "contrastive_loss" not in row and "visual_feedback" not in row
    assert isinstance(row["critic_loss"], float) and isinstance(row["actor_loss"], float)
    assert torch.equal(parameters(algorithm.contrast), contrast)
    assert not [*algorithm.policy.encoders.parameters()]


def test_images_smaller_than_the_crops_are_refused() -> None:
    with pytest.raises(ValueError, match="crop_size is 19; .* size of 'pixels', 18"):
        small_curl(crop_size=19)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 8, "actor_interval": 3}, "actor_interval is 3; .* divisor of updates.* 8"),
        ({"temperature_init": 0.0}, "temperature_init is 0.0; it must be above 0"),
        ({"adam_betas": (0.9, 1.0)}, "adam_betas is .*from 0 to below 1"),
        ({"crop_size": 9}, "crop_size is 9; it must be 15 or more"),
        ({"encoder_target_rate": -1.0}, "encoder_target_rate is -1.0"),
    ],
)
def test_config_names_the_wrong_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurlConfig(**changes)
