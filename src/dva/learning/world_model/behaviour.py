"""How the policy learns: actor and critic, from trajectories that the world model imagines."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dva.learning.world_model.distributions import (
    BINS,
    BoundedNormal,
    expected_value,
    two_hot_loss,
    value_bins,
)
from dva.learning.world_model.networks import dense, mlp
from dva.learning.world_model.rssm import Latent, Rssm

__all__ = [
    "DreamerActor",
    "DreamerCritic",
    "Imagined",
    "ReturnRange",
    "actor_loss",
    "critic_loss",
    "imagine",
    "lambda_returns",
    "trajectory_weights",
]

_LAYERS = 3


class DreamerActor(nn.Module):
    """Maps features of latent states to distributions of actions.

    Args:
        features: F.
        action_size: A.
        units: width of its three hidden layers.
    """

    def __init__(self, features: int, action_size: int, units: int) -> None:
        super().__init__()
        # Small outputs: the first actions are spread evenly.
        self.layers = nn.Sequential(
            mlp(features, units, _LAYERS), dense(units, 2 * action_size, 0.01)
        )

    def forward(self, features: Tensor) -> BoundedNormal:
        """Maps (..., F) to distributions of actions (..., A)."""
        return BoundedNormal.from_outputs(self.layers(features))


class DreamerCritic(nn.Module):
    """Maps features of latent states to distributions of returns. An untrained one says 0.

    Args:
        features: F.
        units: width of its three hidden layers.
    """

    bins: Tensor

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(mlp(features, units, _LAYERS), dense(units, BINS, 0.0))
        self.register_buffer("bins", value_bins(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (..., F) to logits (..., 255) of a two-hot distribution."""
        return self.layers(features)

    def value(self, logits: Tensor) -> Tensor:
        """Computes the mean return (...) of such a distribution."""
        return expected_value(logits, self.bins)


class Imagined(NamedTuple):
    """Holds imagined trajectories without graph, time first."""

    features: Tensor
    """(H + 1, M, F)."""
    actions: Tensor
    """(H, M, A), not clipped."""


@torch.no_grad()
def imagine(
    rssm: Rssm, actor: DreamerActor, start: Latent, uniform: Tensor, normal: Tensor
) -> Imagined:
    """Lets the actor act in the model for H steps.

    Args:
        rssm: foresees latent states.
        actor: chooses actions, which the model sees clipped to [-1, 1].
        start: (M, ...).
        uniform: (H, M, S) from [0, 1), for latent states.
        normal: (H, M, A), for actions.
    """
    state, features, actions = start, [start.features], []
    for t in range(len(normal)):
        action = actor(features[-1]).sample(normal[t])
        state = rssm.imagine(state, action.clamp(-1.0, 1.0), uniform[t])
        actions.append(action)
        features.append(state.features)
    return Imagined(torch.stack(features), torch.stack(actions))


def lambda_returns(
    rewards: Tensor, continues: Tensor, values: Tensor, discount: float, td_lambda: float
) -> Tensor:
    """Computes lambda-returns by backward recursion.

    R_t = r_{t+1} + discount c_{t+1} ((1 - lambda) v_{t+1} + lambda R_{t+1}), with R_H = v_H.

    Args:
        rewards: (H, M), r_1 to r_H: those that lead to a state.
        continues: (H, M), c_1 to c_H: whether the episode goes on there, from 0 to 1.
        values: (H + 1, M), v_0 to v_H.
        discount: of one step.
        td_lambda: lambda.

    Returns:
        (H, M), R_0 to R_{H-1}.

    Source: DreamerV3, bootstrapped lambda-returns.
    """
    returns, following = [], values[-1]
    for t in reversed(range(len(rewards))):
        mixed = (1.0 - td_lambda) * values[t + 1] + td_lambda * following
        following = rewards[t] + discount * continues[t] * mixed
        returns.append(following)
    return torch.stack(returns[::-1])


def trajectory_weights(start: Tensor, continues: Tensor, discount: float) -> Tensor:
    """Computes how much each imagined step counts: (H, M).

    Args:
        start: (M,), 0 where a trajectory starts at a terminated state, else 1.
        continues: (H, M), c_1 to c_H.
        discount: of one step.

    Returns:
        The product of the start and of discount c up to each step, for steps 0 to H - 1.
    """
    return torch.cumprod(torch.cat([start[None], discount * continues[:-1]]), 0)


class ReturnRange(nn.Module):
    """Follows the range of returns, from their 5th to their 95th percentile.

    Args:
        decay: share of itself that an update keeps.

    Source: DreamerV3, return normalisation; decay of D.Va, Table 6.
    """

    low: Tensor
    high: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def update(self, returns: Tensor) -> Tensor:
        """Takes in returns, any shape; returns what they are to be divided by, 1 or more: ().

        Small returns are not blown up. Returns that are not finite change nothing.
        """
        ordered = returns.flatten().sort().values
        last = len(ordered) - 1
        low, high = (ordered[round(share * last)] for share in (0.05, 0.95))
        finite = torch.isfinite(ordered[-1]) & torch.isfinite(ordered[0])
        for kept, new in ((self.low, low), (self.high, high)):
            kept.copy_(torch.where(finite, kept * self.decay + new * (1.0 - self.decay), kept))
        return (self.high - self.low).clamp(min=1.0)


def actor_loss(
    distribution: BoundedNormal,
    actions: Tensor,
    advantages: Tensor,
    weights: Tensor,
    entropy_scale: float,
) -> Tensor:
    """Computes the policy gradient loss () with a bonus for entropy.

    Args:
        distribution: of the actions, (H, M, A), with graph.
        actions: (H, M, A) that were taken.
        advantages: (H, M), normalised returns less values, constants.
        weights: (H, M), constants.
        entropy_scale: weight of the entropy.

    Source: DreamerV3, the actor's loss: Reinforce, for continuous actions too.
    """
    gain = distribution.log_prob(actions) * advantages + entropy_scale * distribution.entropy()
    return -(weights * gain).mean()


def critic_loss(
    logits: Tensor, returns: Tensor, slow_values: Tensor, weights: Tensor, bins: Tensor
) -> Tensor:
    """Computes the critic's loss (): it learns the returns, and to stay near its slow copy.

    Args:
        logits: (H, M, 255).
        returns: (H, M), constants.
        slow_values: (H, M), values of the slow copy, constants.
        weights: (H, M), constants.
        bins: (255,).

    Source: DreamerV3, the critic's loss and its regulariser.
    """
    loss = two_hot_loss(logits, returns, bins) + two_hot_loss(logits, slow_values, bins)
    return (weights * loss).mean()
