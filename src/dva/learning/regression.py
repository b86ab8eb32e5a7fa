"""Block 3: the policy learns improved actions by regression."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from dva.compute.threads import run_side_by_side
from dva.learning.config import RegressionConfig
from dva.policies import Actor

__all__ = [
    "IMITATION_PIECES",
    "Objective",
    "choose_micro_batch",
    "decoupled_objective",
    "set_imitation_gradient",
    "set_policy_gradient",
]

PIECE_MEMORY = {"cpu": 32.0, "cuda": 2048.0}
"""Memory for the activations of one piece of the regression by kind of device, MB. Smaller pieces
pay more overhead; much larger ones fall out of a CPU's caches."""
IMITATION_PIECES = {"cpu": 4, "cuda": 1}
"""Pieces of an imitation's batch by kind of device, for a CPU's threads to share; more of them
where the memory for one asks for it."""

Objective = Callable[[Tensor, Tensor, int, int], Tensor]
"""Maps the actor's mean (B, A) and log standard deviation (A,) for samples start..stop, and these
two numbers, to a sum over the samples, ()."""


def decoupled_objective(noise: Tensor, action_gradient: Tensor) -> Objective:
    """Returns sum_i dL/da_i . a_i, whose gradient is the decoupled policy gradient.

    The actions a_i = mean(o_i) + std * noise_i are computed again, now with a graph. By Theorem 1
    the gradient is, for any step size beta and up to a constant factor, also that of the regression
    onto improved actions a - beta dL/da.

    Args:
        noise: (h, N, A), the noise of the actions.
        action_gradient: (h, N, A), dL/da without graph.

    Source: D.Va, equations (4), (8) and Theorem 1.
    """
    noise, action_gradient = noise.flatten(0, 1), action_gradient.flatten(0, 1)

    def objective(mean: Tensor, log_std: Tensor, start: int, stop: int) -> Tensor:
        action = mean + log_std.exp() * noise[start:stop]
        return (action * action_gradient[start:stop]).sum()

    return objective


def choose_micro_batch(
    config: RegressionConfig, actor: Actor, samples: int, device: torch.device, threads: int
) -> int:
    """Chooses the number of samples in one pass of the regression.

    It is what the configuration asks for. Or else the samples are divided into equal pieces, as
    large as memory allows, and without a budget in the same way for any number of threads.

    Args:
        config: micro-batch and budget of memory.
        actor: its images need the memory.
        samples: M.
        device: where it trains.
        threads: passes at the same time.
    """
    each = actor.activation_bytes
    if config.micro_batch is not None or each == 0:
        return config.micro_batch or samples
    memory = PIECE_MEMORY[device.type]
    if config.memory_budget is not None:
        memory = config.memory_budget / threads
    largest = max(1, int(memory * 2**20 / each))
    pieces = -(-samples // largest)
    return -(-samples // pieces)


def set_policy_gradient(
    actor: Actor,
    inputs: Callable[[int, int], Mapping[str, Tensor]],
    objective: Objective,
    samples: int,
    micro_batch: int,
    threads: int = 1,
) -> None:
    """Sets the actor's gradients to those of an objective that is a sum over samples.

    Memory grows with the micro-batch, on which the gradient depends only by round-off; it does not
    depend on the number of threads.

    Args:
        actor: the policy.
        inputs: maps (start, stop) to what the actor saw in those samples, by name.
        objective: what is differentiated.
        samples: M.
        micro_batch: samples in one forward and backward pass.
        threads: number of passes that run at the same time.
    """
    # The weights are cast once, not in every pass, and the cast ones are differentiated: a trunk
    # has millions.
    with torch.no_grad():
        weights = {
            name: [(w.detach(), b.detach()) for w, b in layers]
            for name, layers in actor.cast_weights().items()
        }
    leaves = [
        tensor.requires_grad_() for layers in weights.values() for pair in layers for tensor in pair
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
        part = objective(mean, log_std, start, stop)
        gradients[start] = torch.autograd.grad(
            part, sources, allow_unused=True, materialize_grads=True
        )

    starts = range(0, samples, micro_batch)
    for first in range(0, len(starts), threads):
        together = starts[first : first + threads]
        run_side_by_side([partial(run, start) for start in together])
        for start in together:  # in order, so that the sum is the same for any number of threads
            for total, gradient in zip(sums, gradients.pop(start), strict=True):
                total += gradient
    for (parameter, scale), total in zip(scaled, sums, strict=True):
        parameter.grad = total if scale == 1.0 else total * scale


def set_imitation_gradient(
    actor: Actor,
    inputs: Mapping[str, Tensor],
    target: Tensor,
    micro_batch: int,
    threads: int = 1,
) -> Tensor:
    """Sets the actor's gradients to those of the mean of (tanh(mean) - target)^2.

    The error is of actions as the robot gets them, after tanh: before it, those of a teacher whose
    actions reach the limits lie at infinity, and differences there that no robot would feel would
    count most.

    Args:
        actor: the policy.
        inputs: images and normalised vectors (B, ...) by name.
        target: (B, A), in [-1, 1].
        micro_batch, threads: as for `set_policy_gradient`.

    Returns:
        That error, the mean over samples and actions: ().
    """
    errors: dict[int, Tensor] = {}

    def objective(mean: Tensor, log_std: Tensor, start: int, stop: int) -> Tensor:
        error = (torch.tanh(mean) - target[start:stop]).square().sum() / target.numel()
        errors[start] = error.detach()
        return error

    set_policy_gradient(
        actor,
        lambda start, stop: {name: inputs[name][start:stop] for name in actor.spec},
        objective,
        len(target),
        micro_batch,
        threads,
    )
    return torch.stack([errors[start] for start in sorted(errors)]).sum()
