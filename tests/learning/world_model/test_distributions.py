"""The distributions of DreamerV3 against closed forms."""

import math

import pytest
import torch
from torch.nn import functional as F

from dva.learning.world_model.distributions import (
    BINS,
    BoundedNormal,
    categorical_kl,
    expected_value,
    kl_losses,
    mixed_probs,
    one_hot_mode,
    one_hot_sample,
    symexp,
    symlog,
    two_hot_loss,
    value_bins,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------- symlog


def test_symlog_and_symexp_are_inverse() -> None:
    x = torch.tensor([-1e6, -3.0, -1e-3, 0.0, 1e-3, 1.0, math.e - 1.0, 1e6], dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(x)), x)
    torch.testing.assert_close(symlog(symexp(x / 1e5)), x / 1e5)
    assert symlog(x)[6] == pytest.approx(1.0)  # ln(e - 1 + 1)
    assert symlog(-x).equal(-symlog(x))


# ---------------------------------------------------------------------- two-hot


def encoding(value: float) -> torch.Tensor:
    """What the loss takes a number for: minus its slope by the log probabilities."""
    logits = torch.zeros(BINS, dtype=torch.float64, requires_grad=True)
    loss = two_hot_loss(logits, torch.tensor(value, dtype=torch.float64), value_bins().double())
    (gradient,) = torch.autograd.grad(loss, logits)
    return 1.0 / BINS - gradient  # of cross-entropy: softmax - target


def test_bins_are_symexp_of_equal_steps_around_zero() -> None:
    bins = value_bins()
    torch.testing.assert_close(symlog(bins), torch.linspace(-20.0, 20.0, BINS), atol=1e-5, rtol=0.0)
    assert bins[BINS // 2] == 0.0 and bins.equal(-bins.flip(0))


@pytest.mark.parametrize("value", [-7.3e5, -2.0, -1e-3, 0.0, 0.05, 1.0, 123.4, 4e7])
def test_a_number_is_the_mean_of_its_two_hot_encoding(value: float) -> None:
    found, bins = encoding(value), value_bins().double()
    hot = found > 1e-12
    assert 1 <= int(hot.sum()) <= 2 and found.sum() == pytest.approx(1.0)
    if int(hot.sum()) == 2:
        low, high = bins[hot].tolist()
        assert low < value < high
        # The shares are the distances from the other bin.
        assert found[hot][1] == pytest.approx((value - low) / (high - low), rel=1e-6)
    logits = found.clamp(min=1e-300).log()
    assert float(expected_value(logits, bins)) == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_a_number_that_is_a_bin_has_all_of_it() -> None:
    bins = value_bins()
    for index in (0, 1, 100, BINS // 2, 200, BINS - 1):
        assert encoding(float(bins[index]))[index] == pytest.approx(1.0, abs=1e-6)


def test_numbers_beyond_the_bins_are_the_outermost() -> None:
    assert encoding(1e12)[-1] == pytest.approx(1.0)
    assert encoding(-1e12)[0] == pytest.approx(1.0)


def test_two_hot_loss_is_the_cross_entropy_of_the_dense_encoding() -> None:
    logits = torch.randn(4, 3, BINS, generator=generator(), requires_grad=True)
    target = 30.0 * torch.randn(4, 3, generator=generator(1))
    dense = torch.stack([encoding(float(x)) for x in target.flatten()]).view(4, 3, BINS).float()
    expected = -(dense * F.log_softmax(logits, -1)).sum(-1)
    found = two_hot_loss(logits, target, value_bins())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    slopes = [torch.autograd.grad(x.sum(), logits)[0] for x in (found, expected)]
    torch.testing.assert_close(*slopes, atol=1e-6, rtol=1e-5)
    # At a distribution that is the encoding the gradient is zero.
    logits = dense.clamp(min=1e-30).log().requires_grad_()
    (gradient,) = torch.autograd.grad(two_hot_loss(logits, target, value_bins()).sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0.0)


def test_an_untrained_distribution_has_a_mean_of_exactly_zero() -> None:
    assert expected_value(torch.zeros(5, BINS), value_bins()).equal(torch.zeros(5))


# ---------------------------------------------------------------------- categoricals


def test_mixed_probabilities_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [1000.0, 0.0]])
    probs = mixed_probs(logits, 0.01)
    # 0.99 p + 0.005 with p = 3/4, 1/4 and 1, 0
    torch.testing.assert_close(probs, torch.tensor([[0.7475, 0.2525], [0.995, 0.005]]))


def test_samples_have_the_frequencies_of_their_distribution() -> None:
    probs = torch.tensor([0.1, 0.0, 0.6, 0.3])
    uniform = (torch.arange(10_000) + 0.5) / 10_000
    drawn = one_hot_sample(probs.expand(10_000, 4), uniform)
    torch.testing.assert_close(drawn.mean(0), probs, atol=2e-4, rtol=0.0)
    assert drawn.sum(-1).sub(1.0).abs().max() < 1e-6


@pytest.mark.parametrize(("number", "index"), [(0.0, 0), (0.2499, 0), (0.2501, 1), (0.9999999, 3)])
def test_a_sample_is_the_class_in_whose_piece_the_number_lies(number: float, index: int) -> None:
    drawn = one_hot_sample(torch.full((4,), 0.25), torch.tensor(number))
    assert int(drawn.argmax()) == index


def test_gradients_pass_straight_through_samples_to_the_probabilities() -> None:
    probs = torch.randn(3, 5, generator=generator()).softmax(-1).requires_grad_()
    weight = torch.randn(3, 5, generator=generator(1))
    uniform = torch.rand(3, generator=generator(2))
    (found,) = torch.autograd.grad((one_hot_sample(probs, uniform) * weight).sum(), probs)
    assert torch.equal(found, weight)


def test_the_mode_is_the_likeliest_class() -> None:
    probs = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert one_hot_mode(probs).tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_kl_is_summed_over_categoricals() -> None:
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    q = torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    expected = 0.5 * math.log(2.0) + 0.5 * math.log(0.5 / 0.75)
    assert float(categorical_kl(p, q)) == pytest.approx(expected)


def two_latents(distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    first = torch.randn(6, 3, 4, generator=generator())
    other = first + distance * torch.randn(6, 3, 4, generator=generator(1))
    return first.softmax(-1).requires_grad_(), other.softmax(-1).requires_grad_()


def test_kl_balance_has_one_value_and_parts_the_gradient() -> None:
    posterior, prior = two_latents(2.0)
    dynamics, representation = kl_losses(posterior, prior, 0.0)
    expected = categorical_kl(posterior, prior)
    torch.testing.assert_close(dynamics, expected)
    torch.testing.assert_close(representation, expected)
    whole = torch.autograd.grad(expected.sum(), (posterior, prior), retain_graph=True)
    for loss, index in ((dynamics, 1), (representation, 0)):
        found = torch.autograd.grad(loss.sum(), (posterior, prior), allow_unused=True)
        assert found[1 - index] is None
        torch.testing.assert_close(found[index], whole[index])


def test_free_nats_cost_a_constant_and_have_no_gradient() -> None:
    posterior, prior = two_latents(0.9)
    kl = categorical_kl(posterior, prior)
    free = float(kl.detach().median()) + 1e-4
    assert (kl < free).any() and (kl > free).any()
    dynamics, _ = kl_losses(posterior, prior, free)
    torch.testing.assert_close(dynamics, torch.where(kl < free, free, kl))
    (gradient,) = torch.autograd.grad(dynamics.sum(), prior)
    assert gradient[kl < free].abs().max() == 0.0
    assert (gradient[kl > free].abs().amax((1, 2)) > 0.0).all()


# ---------------------------------------------------------------------- actions


def test_actions_are_bounded_normals() -> None:
    outputs = torch.tensor([[0.0, 100.0, 0.0, -100.0]])
    found = BoundedNormal.from_outputs(outputs)
    torch.testing.assert_close(found.mean, torch.tensor([[0.0, 1.0]]))
    sigmoid = 1.0 / (1.0 + math.exp(-2.0))
    torch.testing.assert_close(found.std, torch.tensor([[0.1 + 0.9 * sigmoid, 0.1]]))
    outputs = 3.0 * torch.randn(50, 6, generator=generator())
    found = BoundedNormal.from_outputs(outputs)
    assert found.mean.abs().max() <= 1.0 and 0.1 <= found.std.min() and found.std.max() <= 1.0


def test_density_and_entropy_are_those_of_torch() -> None:
    found = BoundedNormal.from_outputs(torch.randn(7, 6, generator=generator()))
    action = found.sample(torch.randn(7, 3, generator=generator(1)))
    torchs = torch.distributions.Independent(torch.distributions.Normal(found.mean, found.std), 1)
    torch.testing.assert_close(found.log_prob(action), torchs.log_prob(action))
    torch.testing.assert_close(found.entropy(), torchs.entropy())
