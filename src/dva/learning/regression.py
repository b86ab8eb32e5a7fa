"""Block 3: the policy learns improved actions by regression."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["accumulate_policy_gradient", "default_micro_batch"]


def default_micro_batch(device: torch.device) -> int:
    """Returns the micro-batch that suits a device: 128 on CPU, for its caches, 2048 on CUDA."""
    return 2048 if device.type == "cuda" else 128


def accumulate_policy_gradient(
    actor: nn.Module,
    observations: Callable[[int, int], Tensor],
    noise: Tensor,
    action_gradient: Tensor,
    micro_batch: int,
) -> None:
    """Adds sum_i dL/da_i . da_i/dtheta to the actor's gradients.

    The actions a_i = mean(o_i) + std * noise_i are computed anew, now with a graph. By Theorem 1
    the sum is the decoupled policy gradient, and up to sign and for any step size beta the gradient
    of the regression onto improved actions a - beta dL/da. Memory grows with the micro-batch; the
    gradient does not depend on it.

    Args:
        actor: maps observations to mean (B, A) and log standard deviation (A,).
        observations: maps (start, stop) to the observations of those samples.
        noise: (M, A), the draws with which the actions were made.
        action_gradient: (M, A), dL/da without graph.
        micro_batch: samples in one forward and backward pass.

    Source: D.Va, equations (4), (8) and Theorem 1.
    """
    samples = noise.shape[0]
    for start in range(0, samples, micro_batch):
        stop = min(start + micro_batch, samples)
        mean, log_std = actor(observations(start, stop))
        action = mean + log_std.exp() * noise[start:stop]
        (action * action_gradient[start:stop]).sum().backward()
