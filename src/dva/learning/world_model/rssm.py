"""The recurrent state-space model: how latent states follow from one another and from images."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dva.learning.world_model.config import ModelSize
from dva.learning.world_model.distributions import mixed_probs, one_hot_mode, one_hot_sample
from dva.learning.world_model.networks import (
    BlockLinear,
    NormedSilu,
    dense,
    join_blocks,
    mlp,
    split_blocks,
)

__all__ = ["BlockGru", "Latent", "Observed", "Rssm"]

_UNIFORM_SHARE = 0.01
"""Of the uniform distribution in that of every categorical."""
_PRIOR_LAYERS, _POSTERIOR_LAYERS = 2, 1


class Latent(NamedTuple):
    """Is a latent state of the model."""

    deter: Tensor
    """(B, D), what follows from the past."""
    stoch: Tensor
    """(B, S K), S one-hot vectors of what cannot be foreseen."""

    @property
    def features(self) -> Tensor:
        """(B, D + S K), what heads, actor and critic read."""
        return torch.cat([self.deter, self.stoch], -1)


class Observed(NamedTuple):
    """Holds the latent states of sequences, and how they were found."""

    latent: Latent
    """(B, L, ...)."""
    posterior: Tensor
    """(B, L, S, K), probabilities of the stochastic part, given the observation."""
    prior: Tensor
    """(B, L, S, K), probabilities of it, foreseen."""


class BlockGru(nn.Module):
    """Is a gated recurrent unit whose recurrent weights are block-diagonal.

    With G blocks these weights, most of a large model, are G times fewer. All blocks read the same
    inputs. Only the gates have a bias: an episode begins with zeros, see `mlp`.

    Args:
        inputs: I.
        size: D, a multiple of the blocks.
        blocks: G.

    Source: DreamerV3, block-diagonal GRU with RMSNorm and SiLU before the gates.
    """

    def __init__(self, inputs: int, size: int, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.read = dense(inputs, size, bias=False)
        self.recur = BlockLinear(size, size, blocks, bias=False)
        self.norm = NormedSilu(size)
        self.gates = BlockLinear(size, 3 * size, blocks)

    def forward(self, inputs: Tensor, deter: Tensor) -> Tensor:
        """Computes the next state (B, D) from inputs (B, I) and the present one (B, D)."""
        blocks = split_blocks(deter, self.blocks)
        hidden = self.norm(self.read(inputs) + join_blocks(self.recur(blocks)))
        reset, candidate, update = self.gates(split_blocks(hidden, self.blocks)).chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        # An untrained unit remembers more than it takes in.
        return join_blocks(torch.lerp(blocks, candidate, torch.sigmoid(update - 1.0)))


class Rssm(nn.Module):
    """Infers latent states from observations, and foresees them without.

    Args:
        embedding: E, size of an encoded observation.
        action_size: A.
        size: of its parts.

    Source: DreamerV3, the recurrent state-space model.
    """

    def __init__(self, embedding: int, action_size: int, size: ModelSize) -> None:
        super().__init__()
        self.size, self.action_size = size, action_size
        units, deter, stoch = size.units, size.deter, size.categoricals * size.classes
        # Layers of two inputs have two parts: what needs no earlier state is computed beforehand.
        self.read_deter = mlp(deter, units, 1, bias=False)
        self.read_stoch = dense(stoch, units, bias=False)
        self.read_action = dense(action_size, units, bias=False)
        self.read_norm = NormedSilu(units)
        self.gru = BlockGru(2 * units, deter, size.blocks)
        self.prior_logits = nn.Sequential(
            mlp(deter, units, _PRIOR_LAYERS, bias=False), dense(units, stoch)
        )
        self.posterior_deter = dense(deter, units)
        self.posterior_embedding = dense(embedding, units, bias=False)
        self.posterior_norm = NormedSilu(units)
        self.posterior_logits = dense(units, stoch)

    @property
    def feature_size(self) -> int:
        """D + S K, length of a latent state's features."""
        return self.size.deter + self.size.categoricals * self.size.classes

    def initial(self, n: int) -> Latent:
        """Returns the latent states before n episodes: zeros."""
        like = self.posterior_deter.bias
        stoch = self.size.categoricals * self.size.classes
        return Latent(like.new_zeros(n, self.size.deter), like.new_zeros(n, stoch))

    def observe(
        self, embedding: Tensor, action: Tensor, first: Tensor, uniform: Tensor
    ) -> Observed:
        """Infers the latent states of sequences, one after the other.

        Args:
            embedding: (B, L, E), encoded observations.
            action: (B, L, A) in [-1, 1], taken after each observation.
            first: bool (B, L), where an episode begins, and nothing before counts.
            uniform: (B, L, S) from [0, 1), for the samples.
        """
        keep = (~first).to(embedding.dtype)[..., None]
        previous = torch.cat([torch.zeros_like(action[:, :1]), action[:, :-1]], 1) * keep
        # What needs no latent state is computed for all steps at once, time first.
        acted = self.read_action(previous).transpose(0, 1)
        seen = self.posterior_embedding(embedding).transpose(0, 1)
        keep, uniform = keep.transpose(0, 1), uniform.transpose(0, 1)
        state = self.initial(len(embedding))
        deters, stochs, posteriors = [], [], []
        for t in range(len(seen)):
            state = Latent(state.deter * keep[t], state.stoch * keep[t])
            deter = self._advance(state, acted[t])
            posterior = self._posterior(deter, seen[t])
            stoch = one_hot_sample(posterior, uniform[t]).flatten(1)
            state = Latent(deter, stoch)
            deters.append(deter)
            stochs.append(stoch)
            posteriors.append(posterior)
        latent = Latent(torch.stack(deters, 1), torch.stack(stochs, 1))
        return Observed(latent, torch.stack(posteriors, 1), self._prior(latent.deter))

    def observe_one(
        self, state: Latent, action: Tensor, embedding: Tensor, uniform: Tensor | None
    ) -> Latent:
        """Infers the latent state of one more observation.

        Args:
            state: before it, (B, ...).
            action: (B, A) taken then.
            embedding: (B, E) of the observation.
            uniform: (B, S) for a sample; None: the likeliest state.
        """
        deter = self._advance(state, self.read_action(action))
        posterior = self._posterior(deter, self.posterior_embedding(embedding))
        if uniform is None:
            return Latent(deter, one_hot_mode(posterior).flatten(1))
        return Latent(deter, one_hot_sample(posterior, uniform).flatten(1))

    def imagine(self, state: Latent, action: Tensor, uniform: Tensor) -> Latent:
        """Foresees the latent state (B, ...) that follows an action.

        Args:
            state: (B, ...).
            action: (B, A) in [-1, 1].
            uniform: (B, S) for the sample.
        """
        deter = self._advance(state, self.read_action(action))
        return Latent(deter, one_hot_sample(self._prior(deter), uniform).flatten(1))

    def _advance(self, state: Latent, acted: Tensor) -> Tensor:
        """Computes the next deterministic part (B, D), given what is read of the action."""
        read = self.read_norm(self.read_stoch(state.stoch) + acted)
        return self.gru(torch.cat([self.read_deter(state.deter), read], -1), state.deter)

    def _posterior(self, deter: Tensor, seen: Tensor) -> Tensor:
        hidden = self.posterior_norm(self.posterior_deter(deter) + seen)
        return self._categoricals(self.posterior_logits(hidden))

    def _prior(self, deter: Tensor) -> Tensor:
        return self._categoricals(self.prior_logits(deter))

    def _categoricals(self, logits: Tensor) -> Tensor:
        """Computes probabilities (..., S, K)."""
        shape = (self.size.categoricals, self.size.classes)
        return mixed_probs(logits.unflatten(-1, shape), _UNIFORM_SHARE)
