"""The distributions of DreamerV3: two-hot numbers, one-hot latents, bounded normal actions.

Nothing here draws random numbers: samples are functions of noise that the caller has drawn, so that
every draw comes from a named generator.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "BINS",
    "BoundedNormal",
    "categorical_kl",
    "expected_value",
    "kl_losses",
    "mixed_probs",
    "one_hot_mode",
    "one_hot_sample",
    "symexp",
    "symlog",
    "two_hot_loss",
    "value_bins",
]

BINS = 255
"""Bins of a two-hot distribution; odd, so that one of them stands for zero."""
_LARGEST_SYMLOG = 20.0
_MIN_STD, _MAX_STD = 0.1, 1.0


def symlog(x: Tensor) -> Tensor:
    """Computes sign(x) ln(|x| + 1), a logarithm for both signs.

    Source: DreamerV3, robust predictions.
    """
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Computes sign(x) (exp(|x|) - 1), the inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


# ---------------------------------------------------------------------- numbers


def value_bins() -> Tensor:
    """Returns the values (255,) that two-hot distributions are made of, exponentially spaced.

    Source: DreamerV3, symexp of equal steps from -20 to 20.
    """
    half = symexp(torch.linspace(0.0, _LARGEST_SYMLOG, BINS // 2 + 1))
    return torch.cat([-half.flip(0)[:-1], half])


def two_hot_loss(logits: Tensor, target: Tensor, bins: Tensor) -> Tensor:
    """Computes the cross-entropy (...) of a distribution from the two-hot encoding of a number.

    A number between two bins is encoded by their weights, such that its mean is the number; one
    beyond the outermost bins by that bin.

    Args:
        logits: (..., 255).
        target: (...), a constant.
        bins: (255,), ascending.

    Source: DreamerV3, the two-hot loss of critic and reward.
    """
    target = target.detach().clamp(bins[0], bins[-1])
    upper = torch.searchsorted(bins, target).clamp(1, len(bins) - 1)
    low, high = bins[upper - 1], bins[upper]
    share = (target - low) / (high - low)
    log_probs = F.log_softmax(logits, -1)
    indices = torch.stack([upper - 1, upper], -1)
    chosen = log_probs.gather(-1, indices)
    return -((1.0 - share) * chosen[..., 0] + share * chosen[..., 1])


def expected_value(logits: Tensor, bins: Tensor) -> Tensor:
    """Computes the mean (...) of distributions over the bins, given as logits (..., 255).

    Bins of both signs are summed in pairs. The outermost are near 5e8, and their equal shares in an
    untrained distribution must cancel exactly.
    """
    probs = F.softmax(logits, -1)
    half = len(bins) // 2
    difference = probs[..., half + 1 :] - probs[..., :half].flip(-1)
    return (difference * bins[half + 1 :]).sum(-1)


# ---------------------------------------------------------------------- latents


def mixed_probs(logits: Tensor, uniform_share: float) -> Tensor:
    """Computes probabilities (..., K) of categoricals mixed with a uniform distribution.

    Args:
        logits: (..., K).
        uniform_share: weight of the uniform distribution, which keeps every class possible and
            the divergence of two distributions finite.

    Source: DreamerV3, "unimix".
    """
    probs = F.softmax(logits, -1)
    return probs * (1.0 - uniform_share) + uniform_share / logits.shape[-1]


def one_hot_sample(probs: Tensor, uniform: Tensor) -> Tensor:
    """Draws one-hot vectors (..., K), whose gradient is that of the probabilities.

    Args:
        probs: (..., K).
        uniform: (...) from [0, 1); the class is that in whose piece of [0, 1] the number lies.

    Source: DreamerV3, straight-through gradients.
    """
    with torch.no_grad():
        # Rounding may let the sum end below the number: the last class takes the rest.
        index = (probs.cumsum(-1)[..., :-1] <= uniform[..., None]).sum(-1)
    hot = _one_hot(index, probs)
    return hot + (probs - probs.detach()) if probs.requires_grad else hot


def one_hot_mode(probs: Tensor) -> Tensor:
    """Returns the likeliest class as one-hot vectors (..., K), without gradient."""
    return _one_hot(probs.argmax(-1), probs)


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    # torch's one_hot reads its argument on the host, which a recorded block cannot.
    return torch.zeros_like(like).detach().scatter_(-1, index[..., None], 1.0)


def categorical_kl(p: Tensor, q: Tensor) -> Tensor:
    """Computes KL(p || q) (...) of vectors of S categoricals, summed over them.

    Args:
        p, q: probabilities (..., S, K), none of them 0.
    """
    return (p * (p.log() - q.log())).sum((-2, -1))


def kl_losses(posterior: Tensor, prior: Tensor, free_nats: float) -> tuple[Tensor, Tensor]:
    """Computes the dynamics and the representation loss (...), and so balances the KL divergence.

    The two have one value. The first moves the prior towards the posterior, the second the
    posterior towards the prior; neither has a gradient where the divergence is below the free nats.

    Args:
        posterior, prior: probabilities (..., S, K), none of them 0.
        free_nats: divergence of a whole latent that costs nothing.

    Source: DreamerV3, the world model's loss.
    """
    dynamics = categorical_kl(posterior.detach(), prior).clamp(min=free_nats)
    representation = categorical_kl(posterior, prior.detach()).clamp(min=free_nats)
    return dynamics, representation


# ---------------------------------------------------------------------- actions


@dataclass(frozen=True)
class BoundedNormal:
    """Normal distributions of actions, independent, with means in [-1, 1].

    Samples may lie outside [-1, 1]: the environment and the world model see them clipped, the
    policy gradient does not.

    Source: DreamerV3's published code for continuous actions; deviations from 0.1 to 1.
    """

    mean: Tensor
    """(..., A) in [-1, 1]."""
    std: Tensor
    """(..., A), from 0.1 to 1."""

    @classmethod
    def from_outputs(cls, outputs: Tensor) -> "BoundedNormal":
        """Reads the outputs (..., 2 A) of a network; zeros stand for mean 0 and deviation 0.89."""
        mean, raw = outputs.chunk(2, -1)
        std = _MIN_STD + (_MAX_STD - _MIN_STD) * torch.sigmoid(raw + 2.0)
        return cls(torch.tanh(mean), std)

    def sample(self, noise: Tensor) -> Tensor:
        """Returns actions (..., A) from standard normal noise (..., A)."""
        return self.mean + self.std * noise

    def log_prob(self, action: Tensor) -> Tensor:
        """Computes the log density (...) of actions (..., A) that were not clipped."""
        z = (action - self.mean) / self.std
        return -(0.5 * z.square() + self.std.log() + 0.5 * _LOG_2_PI).sum(-1)

    def entropy(self) -> Tensor:
        """Computes the differential entropy (...), nats."""
        return (self.std.log() + 0.5 * (1.0 + _LOG_2_PI)).sum(-1)


_LOG_2_PI = 1.8378770664093453
