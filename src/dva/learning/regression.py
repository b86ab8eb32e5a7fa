"""Block 3: the policy learns improved actions by regression."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from dva.sim import run_side_by_side

__all__ = ["accumulate_policy_gradient"]


def accumulate_policy_gradient(
    actor: nn.Module,
    observations: Callable[[int, int], Tensor],
    noise: Tensor,
    action_gradient: Tensor,
    micro_batch: int,
    threads: int = 1,
) -> None:
    """Adds sum_i dL/da_i . da_i/dtheta to the actor's gradients.

    The actions a_i = mean(o_i) + std * noise_i are computed anew, now with a graph. By Theorem 1
    the sum is the decoupled policy gradient, and up to sign and for any step size beta the gradient
    of the regression onto improved actions a - beta dL/da. Memory grows with the micro-batch; the
    gradient depends on it by round-off only, and not on the number of threads.

    Args:
        actor: maps observations to mean (B, A) and log standard deviation (A,).
        observations: maps (start, stop) to the observations of those samples.
        noise: (M, A), the draws with which the actions were made.
        action_gradient: (M, A), dL/da without graph.
        micro_batch: samples in one forward and backward pass.
        threads: passes that run side by side.

    Source: D.Va, equations (4), (8) and Theorem 1.
    """
    samples = noise.shape[0]
    parameters = list(actor.parameters())
    gradients: dict[int, tuple[Tensor, ...]] = {}

    def run(start: int) -> None:
        stop = min(start + micro_batch, samples)
        mean, log_std = actor(observations(start, stop))
        action = mean + log_std.exp() * noise[start:stop]
        objective = (action * action_gradient[start:stop]).sum()
        gradients[start] = torch.autograd.grad(objective, parameters)

    starts = range(0, samples, micro_batch)
    for first in range(0, len(starts), threads):
        together = starts[first : first + threads]
        run_side_by_side([partial(run, start) for start in together])
        for start in together:  # in order, so that the sum is the same for any number of threads
            for parameter, gradient in zip(parameters, gradients.pop(start), strict=True):
                if parameter.grad is None:
                    # a copy in the parameter's own layout, which the optimizer relies on
                    parameter.grad = torch.empty_like(parameter).copy_(gradient)
                else:
                    parameter.grad += gradient
