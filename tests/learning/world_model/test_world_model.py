"""What the world model is trained on, and that it learns it."""

import dataclasses
from typing import Any

import pytest
import torch
from small_dreamer import VALUES, small_dreamer

from dva.learning import DreamerV3, DreamerV3Config
from dva.learning.steps import Sequences
from dva.learning.world_model.distributions import categorical_kl, two_hot_loss
from dva.learning.world_model.world_model import model_loss, redundancy_loss


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(**changes: Any) -> tuple[DreamerV3, Sequences, torch.Tensor]:
    """An algorithm, a batch of its replay with ends of episodes, and numbers to draw with."""
    algorithm = small_dreamer(**changes)
    algorithm._act_randomly()
    config = algorithm.config
    batch = algorithm.replay.sequences(
        config.batch_size, config.batch_length, algorithm.generators["replay"]
    )
    uniform = algorithm._uniform("model", *batch.reward.shape, 4)
    return algorithm, batch, uniform


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    algorithm, batch, uniform = filled(batch_size=20)
    assert batch.terminated.any() and batch.first.any() and batch.last.any()
    policy, heads, config = algorithm.policy, algorithm.heads, algorithm.config
    found = model_loss(policy.encoder, policy.rssm, heads, batch, uniform, config)
    assert found.latent.deter.requires_grad
    shape = batch.reward.shape
    pixels = batch.observation["pixels"].flatten(0, 1)
    prepared = policy.encoder.prepare({"pixels": pixels})
    embedding = policy.encoder(prepared).unflatten(0, shape)
    seen = policy.rssm.observe(embedding, batch.action, batch.first, uniform)
    features = seen.latent.features
    assert heads.decoder is not None
    predicted = heads.decoder.images["pixels"](features.flatten(0, 1))
    image = (predicted - prepared["pixels"]).square().sum((1, 2, 3)).mean()
    reward = two_hot_loss(heads.reward(features), batch.reward, heads.bins).mean()
    alive = heads.continue_probs(features)
    ends = -torch.where(batch.terminated, 1.0 - alive, alive).log().mean()
    kl = categorical_kl(seen.posterior, seen.prior)
    expected = {"observation_loss": image, "reward_loss": reward, "continue_loss": ends}
    for name, value in {**expected, "kl": kl.mean()}.items():
        torch.testing.assert_close(found.parts[name], value.detach())
    total = sum(expected.values()) + 0.6 * kl.clamp(min=1.0).mean()  # 0.5 and 0.1, one value
    torch.testing.assert_close(found.total, total)


def test_every_parameter_of_the_model_learns() -> None:
    for decoder in ("reconstruction", "none"):
        algorithm, batch, uniform = filled(decoder=decoder, batch_size=20)
        policy = algorithm.policy
        loss = model_loss(
            policy.encoder, policy.rssm, algorithm.heads, batch, uniform, algorithm.config
        )
        names = [
            name
            for part in (policy.encoder, policy.rssm, algorithm.heads)
            for name, _ in part.named_parameters()
        ]
        gradients = torch.autograd.grad(loss.total, algorithm.model_optimizer.parameters)
        # All but what comes before the reward's last layer, which starts at zero.
        still = {name for name, g in zip(names, gradients, strict=True) if not g.any()}
        assert all(name.startswith("reward.0.") for name in still), decoder


def test_it_learns_a_sequence_by_heart() -> None:
    algorithm, batch, uniform = filled(batch_size=2, batch_length=4, model_learning_rate=1e-2)
    batch.observation["pixels"][:] = batch.observation["pixels"][:1, :1].clone()
    # Rewards that are bins: their distributions can be certain.
    rewards = algorithm.heads.bins[torch.tensor([[127, 136, 107, 130]])]  # 0, 3.1, -22, 0.6
    batch = dataclasses.replace(batch, reward=rewards.repeat(2, 1))
    algorithm.set_learning_rates()
    first = metrics = algorithm._learn_model(batch)[1]
    for _ in range(120):
        _, metrics = algorithm._learn_model(batch)
    assert metrics["observation_loss"] < 0.05 * first["observation_loss"]
    assert metrics["reward_loss"] < 0.5 < 5.0 < first["reward_loss"]  # ln 255 at first
    policy, heads = algorithm.policy, algorithm.heads
    pixels = {"pixels": batch.observation["pixels"].flatten(0, 1)}
    embedding = policy.encoder(policy.encoder.prepare(pixels)).unflatten(0, batch.reward.shape)
    seen = policy.rssm.observe(embedding, batch.action, batch.first, uniform)
    found = heads.rewards(seen.latent.features)
    torch.testing.assert_close(found, batch.reward, atol=1.0, rtol=0.2)


# ---------------------------------------------------------------------- without a decoder


def whitened(samples: int, features: int) -> torch.Tensor:
    """Features that are uncorrelated, of mean 0 and variance 1."""
    x = drawn(samples, features).double()
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / samples)).T


def test_features_that_are_whitened_and_agree_cost_nothing() -> None:
    x = whitened(200, 5)
    assert float(redundancy_loss(x, x, 0.1)) < 1e-6
    assert float(redundancy_loss(3.0 * x + 2.0, 0.5 * x - 1.0, 0.1)) < 1e-5  # scales do not matter


def test_rotated_features_have_a_loss_in_closed_form() -> None:
    # The correlations of x with x R are R: here a rotation by an angle.
    x, angle = whitened(200, 2), torch.tensor(0.7, dtype=torch.float64)
    rotation = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).view(2, 2)
    expected = 2.0 * (1.0 - angle.cos()) ** 2 + 0.1 * 2.0 * angle.sin() ** 2
    assert float(redundancy_loss(x, x @ rotation, 0.1)) == pytest.approx(float(expected), rel=1e-3)


def test_features_that_repeat_one_another_cost_what_their_weight_says() -> None:
    x = whitened(200, 1).expand(-1, 4)
    assert float(redundancy_loss(x, x, 0.1)) == pytest.approx(0.1 * 12, rel=1e-3)
    constant = torch.ones(200, 4)
    assert float(redundancy_loss(constant, constant, 0.1)) == pytest.approx(4.0)  # tell nothing


def test_a_latent_state_learns_to_tell_the_embedding_without_a_decoder() -> None:
    algorithm, batch, _ = filled(decoder="none", batch_size=24, model_learning_rate=3e-3)
    algorithm.set_learning_rates()
    first = algorithm._learn_model(batch)[1]["observation_loss"]
    for _ in range(60):
        _, metrics = algorithm._learn_model(batch)
    assert metrics["observation_loss"] < 0.5 * first
    assert algorithm.heads.decoder is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "13m"}, "Unknown size '13m'. Did you mean '1m'"),
        ({"decoder": "nun"}, "Unknown decoder 'nun'. Did you mean 'none'"),
        ({"batch_length": 1}, "batch_length is 1; it must be 2 or more"),
        ({"train_ratio": 0.0}, "train_ratio is 0.0; it must be above 0"),
        ({"discount": 1.1}, "discount is 1.1; it must be between 0 and 1"),
        ({"actor_learning_rate": 0.0}, "actor_learning_rate is 0.0; it must be above 0"),
        ({"free_nats": -1.0}, "free_nats is -1.0; it must be between 0"),
    ],
)
def test_a_configuration_names_the_wrong_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DreamerV3Config(**{**VALUES, **changes})
