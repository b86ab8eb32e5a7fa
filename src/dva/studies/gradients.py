"""Policy gradients of one rollout by several routes, from the same start with the same noise."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call

from dva.learning.first_order.actor_critic import FirstOrderAlgorithm
from dva.learning.rollout import Rollout, collect_rollout
from dva.spec import Observation

__all__ = [
    "Start",
    "control_regularization",
    "cosine",
    "decoupled_gradient",
    "flat",
    "full_gradient",
    "open_loop_gradient",
]


class Start:
    """Where a rollout begins, and the noise of its actions.

    Args:
        algorithm: its environments stay where they are; the noise has a generator of its own.
        seed: of the noise.
        horizon: steps of the rollout; None: the algorithm's.
    """

    def __init__(
        self, algorithm: FirstOrderAlgorithm, seed: int, horizon: int | None = None
    ) -> None:
        env = algorithm.env
        self.env_state = env.state_dict()
        generator = torch.Generator(algorithm.device).manual_seed(seed)
        shape = (horizon or algorithm.config.horizon, env.num_envs, env.action_spec.size)
        self.noise = torch.randn(shape, generator=generator, device=algorithm.device)


def roll_out(
    algorithm: FirstOrderAlgorithm, start: Start, act: Callable[[Observation, Tensor], Tensor]
) -> tuple[Rollout, Tensor]:
    """Collects a rollout; returns it and the actor loss, equation (3).

    The environments begin at the start and are put back there. The algorithm's normalisers are
    frozen as they are now, as at the start of a training iteration.

    Args:
        algorithm: has the environments, the critic and the normalisers.
        start: where the rollout begins, and its noise.
        act: maps the actor's inputs and the noise of a step to actions before tanh.
    """
    noises = iter(start.noise)
    env = algorithm.env
    algorithm.horizon_normalizers = algorithm.frozen_normalizers()

    def sample(seen: Observation) -> tuple[Tensor, Tensor]:
        noise = next(noises)
        action = act(algorithm.policy_input(seen), noise)
        return (action if action.requires_grad else action.requires_grad_()), noise

    env.load_state_dict(start.env_state)
    rollout = collect_rollout(env, sample, len(start.noise), env.image_gradient)
    env.load_state_dict(start.env_state)
    return rollout, algorithm.actor_loss(rollout).sum()


def full_gradient(algorithm: FirstOrderAlgorithm, start: Start) -> list[Tensor]:
    """Differentiates the loss through one graph, observations included: equations (1) and (2)."""
    return _one_graph(algorithm, start, connected=True)


def decoupled_gradient(algorithm: FirstOrderAlgorithm, start: Start) -> list[Tensor]:
    """Differentiates the loss through one graph in which observations are cut: equation (4)."""
    return _one_graph(algorithm, start, connected=False)


def _one_graph(algorithm: FirstOrderAlgorithm, start: Start, connected: bool) -> list[Tensor]:
    def act(inputs: Observation, noise: Tensor) -> Tensor:
        if not connected:
            inputs = {name: value.detach() for name, value in inputs.items()}
        mean, log_std = algorithm.actor(inputs)
        return mean + log_std.exp() * noise

    _, loss = roll_out(algorithm, start, act)
    return list(torch.autograd.grad(loss, list(algorithm.actor.parameters())))


def open_loop_gradient(
    algorithm: FirstOrderAlgorithm, start: Start
) -> tuple[Rollout, list[Tensor]]:
    """Differentiates the loss by the actions, held fixed: equation (6)."""

    def act(inputs: Observation, noise: Tensor) -> Tensor:
        with torch.no_grad():
            mean, log_std = algorithm.actor(inputs)
            return mean + log_std.exp() * noise

    rollout, loss = roll_out(algorithm, start, act)
    return rollout, list(torch.autograd.grad(loss, rollout.actions))


def control_regularization(algorithm: FirstOrderAlgorithm, start: Start) -> list[Tensor]:
    """Computes what the decoupled gradient leaves out, on its own: equations (5) and (14).

    With g_t the open-loop gradient, it is sum_t g_t . da_t/do_t . do_t/ds_t . ds_t/dtheta: in a
    rollout whose actions depend on theta in full, each action is computed a second time with fixed
    parameters, so that theta reaches it through the observation alone.
    """
    _, open_loop = open_loop_gradient(algorithm, start)
    fixed = {name: value.detach() for name, value in algorithm.actor.named_parameters()}
    through_observation: list[Tensor] = []

    def act(inputs: Observation, noise: Tensor) -> Tensor:
        mean, log_std = functional_call(algorithm.actor, fixed, (inputs,))
        through_observation.append(mean + log_std.exp() * noise)
        mean, log_std = algorithm.actor(inputs)
        return mean + log_std.exp() * noise

    roll_out(algorithm, start, act)
    total = sum(
        (gradient * action).sum()
        for gradient, action in zip(open_loop, through_observation, strict=True)
    )
    assert isinstance(total, Tensor)
    return list(
        torch.autograd.grad(
            total, list(algorithm.actor.parameters()), allow_unused=True, materialize_grads=True
        )
    )


def flat(gradient: list[Tensor]) -> Tensor:
    """Joins a gradient to one vector, float64 on the CPU."""
    return torch.cat([part.detach().flatten() for part in gradient]).double().cpu()


def cosine(one: Tensor, other: Tensor) -> float:
    """Returns the cosine of the angle between two vectors."""
    return float(torch.dot(one, other) / (one.norm() * other.norm()).clamp(min=1e-300))
