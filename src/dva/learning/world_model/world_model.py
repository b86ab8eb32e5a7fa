"""What the world model is trained on: predictions of observations, rewards and ends of episodes."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dva.learning.steps import Sequences
from dva.learning.world_model.config import DreamerV3Config
from dva.learning.world_model.distributions import (
    BINS,
    categorical_kl,
    expected_value,
    kl_losses,
    two_hot_loss,
    value_bins,
)
from dva.learning.world_model.networks import Decoder, Encoder, dense, mlp
from dva.learning.world_model.rssm import Latent, Rssm
from dva.spec import ObservationSpec

__all__ = ["ModelLoss", "WorldModelHeads", "model_loss", "redundancy_loss"]

_MLP_LAYERS = 3


class WorldModelHeads(nn.Module):
    """Predicts from latent states what the model is trained on.

    Args:
        spec: the observations' entries, images without stack.
        features: size of a latent state's features.
        embedding: size of an encoded observation.
        config: which decoder, and sizes.
        compute_dtype: arithmetic of the decoder's convolutions.
    """

    bins: Tensor

    def __init__(
        self,
        spec: ObservationSpec,
        features: int,
        embedding: int,
        config: DreamerV3Config,
        compute_dtype: torch.dtype,
    ) -> None:
        super().__init__()
        size = config.model_size
        self.decoder: Decoder | None = None
        self.projector: nn.Linear | None = None
        if config.decoder == "reconstruction":
            self.decoder = Decoder(
                spec, features, size.channels, size.units, _MLP_LAYERS, compute_dtype
            )
        else:
            self.projector = dense(features, embedding)
        self.reward = nn.Sequential(mlp(features, size.units, 1), dense(size.units, BINS, 0.0))
        self.continues = nn.Sequential(mlp(features, size.units, 1), dense(size.units, 1))
        self.register_buffer("bins", value_bins(), persistent=False)

    def rewards(self, features: Tensor) -> Tensor:
        """Predicts the reward (...) that led to a latent state, from its features (..., F)."""
        return expected_value(self.reward(features), self.bins)

    def continue_probs(self, features: Tensor) -> Tensor:
        """Predicts the probability (...) that the episode has not terminated there."""
        return torch.sigmoid(self.continues(features)[..., 0])


@dataclass(frozen=True)
class ModelLoss:
    """Holds the loss of the world model, and what it was computed from."""

    total: Tensor
    """()."""
    latent: Latent
    """(B, L, ...), of the posterior, with graph."""
    parts: dict[str, Tensor]
    """Means of the parts by name, (), without graph."""


def model_loss(
    encoder: Encoder,
    rssm: Rssm,
    heads: WorldModelHeads,
    batch: Sequences,
    uniform: Tensor,
    config: DreamerV3Config,
) -> ModelLoss:
    """Computes the world model's loss of a batch of sequences.

    Args:
        encoder, rssm, heads: the world model.
        batch: (B, L, ...).
        uniform: (B, L, S) from [0, 1), for the samples of latent states.
        config: weights.

    Source: DreamerV3, the world model's loss; the weights of D.Va, Table 6.
    """
    shape = batch.reward.shape
    observation = {name: value.flatten(0, 1) for name, value in batch.observation.items()}
    prepared = encoder.prepare(observation)
    embedding = encoder(prepared)
    seen = rssm.observe(
        embedding.unflatten(0, shape), batch.action.clamp(-1.0, 1.0), batch.first, uniform
    )
    features = seen.latent.features.flatten(0, 1)
    alive = 1.0 - batch.terminated.flatten().float()
    dynamics, representation = kl_losses(seen.posterior, seen.prior, config.free_nats)
    image = _observation_loss(heads, features, prepared, embedding, config)
    reward = two_hot_loss(heads.reward(features), batch.reward.flatten(), heads.bins)
    ends = F.binary_cross_entropy_with_logits(heads.continues(features)[:, 0], alive)
    total = (
        image
        + reward.mean()
        + ends
        + config.dynamics_scale * dynamics.mean()
        + config.representation_scale * representation.mean()
    )
    parts = {
        "observation_loss": image,
        "reward_loss": reward.mean(),
        "continue_loss": ends,
        "kl": categorical_kl(seen.posterior, seen.prior).mean(),
    }
    return ModelLoss(total, seen.latent, {name: x.detach() for name, x in parts.items()})


def _observation_loss(
    heads: WorldModelHeads,
    features: Tensor,
    prepared: Mapping[str, Tensor],
    embedding: Tensor,
    config: DreamerV3Config,
) -> Tensor:
    """Computes the loss () that ties latent states to observations."""
    if heads.decoder is not None:
        return heads.decoder.loss(features, prepared).mean()
    assert heads.projector is not None
    return config.redundancy_scale * redundancy_loss(
        heads.projector(features), embedding, config.redundancy_weight
    )


def redundancy_loss(one: Tensor, other: Tensor, weight: float) -> Tensor:
    """Computes how far the correlations of two sets of features are from the identity: ().

    With C_ij the correlation, over the batch, of feature i of the one with feature j of the other,
    the loss is sum_i (1 - C_ii)^2 + weight sum_{i != j} C_ij^2. The first term lets the one tell
    what the other holds; the second keeps features from repeating each other, without which all
    could be the same.

    Args:
        one, other: (B, n).
        weight: of the second term.

    Source: Barlow Twins (arXiv 2103.03230), between a latent state and the encoded observation as
    in R2-Dreamer (arXiv 2603.18202).
    """
    correlation = _standardised(one).T @ _standardised(other) / len(one)
    diagonal = correlation.diagonal()
    off = correlation.square().sum() - diagonal.square().sum()
    return (1.0 - diagonal).square().sum() + weight * off


def _standardised(x: Tensor) -> Tensor:
    # The small number bounds the gradient of a feature that does not vary.
    return (x - x.mean(0)) * torch.rsqrt(x.var(0, correction=0) + 1e-4)
