"""PPO's clipped objectives, and what they are made of.

The policy draws a = mean(o) + std * noise, and the environment gets tanh(a). The density of tanh(a)
is that of a, divided by the slope of tanh at a; the slope is the same under the old and the new
policy, so that it cancels in their ratio, and all that is computed here is of a. The KL divergence
does not see tanh either. The entropy does: the bonus is of a's.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dva.compute.distributed import ALONE, Group
from dva.learning.regression import Objective

__all__ = [
    "Samples",
    "clipped_objective",
    "clipped_value_loss",
    "divergence",
    "log_ratio",
    "normalize_advantages",
]


@dataclass(frozen=True)
class Samples:
    """What the policy did in M samples of a rollout, and how good it was."""

    actions: Tensor
    """(M, A), before tanh."""
    mean: Tensor
    """(M, A), mean of the policy that acted."""
    log_std: Tensor
    """(A,), its log standard deviation."""
    advantages: Tensor
    """(M,)."""
    values: Tensor
    """(M,), of the critic as it was."""
    targets: Tensor
    """(M,), of the critic."""

    def __getitem__(self, chosen: Tensor | slice) -> "Samples":
        """Picks samples, by their numbers (B,) or a range of them."""
        parts = {x.name: getattr(self, x.name) for x in dataclasses.fields(self)}
        shared = {"log_std": parts.pop("log_std")}
        return Samples(**shared, **{name: value[chosen] for name, value in parts.items()})


def normalize_advantages(samples: Samples, group: Group = ALONE) -> Samples:
    """Shifts and scales the advantages to mean 0 and standard deviation 1, those of all processes
    of a group together, as many in each."""
    every = group.gather(samples.advantages)
    centered = samples.advantages - every.mean()
    return dataclasses.replace(samples, advantages=centered / (every.std(correction=0) + 1e-8))


def log_ratio(mean: Tensor, log_std: Tensor, old: Samples) -> Tensor:
    """Computes log(p(a) / p_old(a)) (B,) of normal distributions of the actions before tanh.

    Args:
        mean: (B, A), with graph.
        log_std: (A,), with graph.
        old: gives actions, and the distribution that they were drawn from.
    """
    new_noise = (old.actions - mean) * torch.exp(-log_std)
    old_noise = (old.actions - old.mean) * torch.exp(-old.log_std)
    exponent = 0.5 * (old_noise.square() - new_noise.square())
    return (exponent + old.log_std - log_std).sum(-1)


def divergence(mean: Tensor, log_std: Tensor, old: Samples) -> Tensor:
    """Computes KL(old || new) (B,) of normal distributions of the actions before tanh."""
    spread = torch.exp(2.0 * (old.log_std - log_std))
    shift = ((mean - old.mean) * torch.exp(-log_std)).square()
    return (log_std - old.log_std + 0.5 * (spread + shift - 1.0)).sum(-1)


def clipped_objective(
    minibatch: Samples, clip: float, entropy_bonus: float, sums: dict[int, Tensor]
) -> Objective:
    """Returns the clipped objective of a minibatch, divided by its size B, as a loss.

    It is -(1/B) sum_i min(r_i A_i, clip(r_i, 1 - c, 1 + c) A_i) - w H: the ratio r_i of an action's
    new and old probability gets no gradient where it has moved by more than c in the direction that
    its advantage A_i asks for.

    Args:
        minibatch: B samples, with normalised advantages.
        clip: c.
        entropy_bonus: w, the weight of the entropy H of the actions before tanh.
        sums: takes for each piece, by its start, the sums of loss, KL divergence and clipped
            samples, divided by B: (3,).

    Source: Schulman et al. 2017, equations (7) and (9).
    """
    size = len(minibatch.advantages)

    def objective(mean: Tensor, log_std: Tensor, start: int, stop: int) -> Tensor:
        old = minibatch[start:stop]
        ratio = log_ratio(mean, log_std, old).exp()
        kept = ratio.clamp(1.0 - clip, 1.0 + clip)
        gain = torch.minimum(ratio * old.advantages, kept * old.advantages).sum()
        loss = -(gain + entropy_bonus * (stop - start) * log_std.sum()) / size
        with torch.no_grad():
            kl = divergence(mean, log_std, old).sum() / size
            outside = (ratio != kept).float().sum() / size
            sums[start] = torch.stack([loss, kl, outside])
        return loss

    return objective


def clipped_value_loss(
    old_values: Tensor, clip: float | None, values: Tensor, targets: Tensor, numbers: Tensor
) -> Tensor:
    """Averages the squared error of values (B,): ().

    With a clip c it is the larger of the errors of V and of V_old + clip(V - V_old, -c, c), so that
    a value that has moved by more than c towards its target gets no gradient.

    Args:
        old_values: (M,), as they were when the rollout was judged.
        clip: c, or None.
        values: (B,), with graph.
        targets: (B,).
        numbers: (B,), which of the M samples these are.
    """
    if clip is None:
        return F.mse_loss(values, targets)
    old = old_values[numbers]
    near = old + (values - old).clamp(-clip, clip)
    errors = torch.maximum((values - targets).square(), (near - targets).square())
    return errors.mean()
