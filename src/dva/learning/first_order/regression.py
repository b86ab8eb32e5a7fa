"""Block 3: the policy learns improved actions by regression."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from dva.compute.threads import run_side_by_side
from dva.policies import Actor

__all__ = ["set_policy_gradient"]


def set_policy_gradient(
    actor: Actor,
    inputs: Callable[[int, int], Mapping[str, Tensor]],
    noise: Tensor,
    action_gradient: Tensor,
    micro_batch: int,
    threads: int = 1,
) -> None:
    """Sets the actor's gradients to sum_i dL/da_i . da_i/dtheta.

    The actions a_i = mean(o_i) + std * noise_i are computed again, now with a graph. By Theorem 1
    the sum is the decoupled policy gradient. For any step size beta it is also, up to a constant
    factor, the gradient of the regression onto improved actions a - beta dL/da. Memory grows with
    the micro-batch, on which the gradient depends only by round-off; it does not depend on the
    number of threads.

    Args:
        actor: the policy.
        inputs: maps (start, stop) to what the actor saw in those samples, by name.
        noise: (M, A), the noise of the actions.
        action_gradient: (M, A), dL/da without graph.
        micro_batch: samples in one forward and backward pass.
        threads: number of passes that run at the same time.

    Source: D.Va, equations (4), (8) and Theorem 1.
    """
    samples = noise.shape[0]
    # The weights are cast once, not in every pass, and the cast ones are differentiated: a trunk
    # has millions.
    with torch.no_grad():
        weights = {
            name: [(w.detach(), b.detach()) for w, b in layers]
            for name, layers in actor.cast_weights().items()
        }
    leaves = [
        tensor.requires_grad_()
        for layers in weights.values()
        for pair in layers
        for tensor in pair
    ]
    for parameter in actor.parameters():
        parameter.grad = None
    scaled = actor.castable()
    known = {id(parameter) for parameter, _ in scaled}
    scaled += [(parameter, 1.0) for parameter in actor.parameters() if id(parameter) not in known]
    sources = [*leaves, *(parameter for parameter, _ in scaled[len(leaves) :])]
    sums = [torch.zeros_like(parameter) for parameter, _ in scaled]
    gradients: dict[int, tuple[Tensor, ...]] = {}

    def run(start: int) -> None:
        stop = min(start + micro_batch, samples)
        mean, log_std = actor(inputs(start, stop), weights)
        action = mean + log_std.exp() * noise[start:stop]
        objective = (action * action_gradient[start:stop]).sum()
        gradients[start] = torch.autograd.grad(objective, sources)

    starts = range(0, samples, micro_batch)
    for first in range(0, len(starts), threads):
        together = starts[first : first + threads]
        run_side_by_side([partial(run, start) for start in together])
        for start in together:  # in order, so that the sum is the same for any number of threads
            for total, gradient in zip(sums, gradients.pop(start), strict=True):
                total += gradient
    for (parameter, scale), total in zip(scaled, sums, strict=True):
        parameter.grad = total if scale == 1.0 else total * scale
