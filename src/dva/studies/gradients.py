"""Policy gradients of one rollout by several routes, from the same start with the same noise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from dva.envs.environment import Observation
from dva.learning import Learner
from dva.learning.first_order.returns import horizon_loss
from dva.learning.first_order.rollout import Rollout, collect_rollout

__all__ = [
    "Start",
    "control_regularization",
    "cosine",
    "decoupled_gradient",
    "flat",
    "full_gradient",
    "open_loop_gradient",
    "same_rollout",
]


class Start:
    """Where a rollout begins, and the noise of its actions.

    Args:
        learner: its environments stay where they are; noise is drawn from a generator of its own.
        seed: of the noise.
    """

    def __init__(self, learner: Learner, seed: int) -> None:
        env: Any = learner.env
        self.env_state = env.state_dict()
        generator = torch.Generator(learner.device).manual_seed(seed)
        shape = (learner.config.horizon, env.num_envs, env.action_size)
        self.noise = torch.randn(shape, generator=generator, device=learner.device)


@contextmanager
def same_rollout(learner: Learner, start: Start) -> Iterator[Observation]:
    """Puts the environments at the start, gives the observation there, and puts them back."""
    env: Any = learner.env
    env.load_state_dict(start.env_state)
    yield env.observation
    env.load_state_dict(start.env_state)


def roll_out(
    learner: Learner,
    start: Start,
    observation: Observation,
    act: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Rollout, Tensor]:
    """Collects a rollout; returns it and the actor loss, equation (3).

    Args:
        act: maps the actor's input and the noise of a step to actions before tanh.
    """
    noises = iter(start.noise)
    normalizer = learner.normalizer.frozen()

    def sample(seen: Observation) -> tuple[Tensor, Tensor]:
        noise = next(noises)
        action = act(learner.policy_input(seen, normalizer), noise)
        return (action if action.requires_grad else action.requires_grad_()), noise

    rollout = collect_rollout(
        learner.env,
        observation,
        sample,
        learner.config.horizon,
        learner.config.pixels,
        getattr(learner.env, "pixel_gradient", False),
    )
    values = learner.target_critic(normalizer(rollout.next_states))
    loss = horizon_loss(
        rollout.rewards, values, rollout.terminated, rollout.truncated, learner.config.discount
    )
    return rollout, loss.sum()


def full_gradient(learner: Learner, start: Start) -> list[Tensor]:
    """Differentiates the loss through one graph, observations included: equations (1) and (2)."""
    return _one_graph(learner, start, connected=True)


def decoupled_gradient(learner: Learner, start: Start) -> list[Tensor]:
    """Differentiates the loss through one graph in which observations are cut: equation (4)."""
    return _one_graph(learner, start, connected=False)


def _one_graph(learner: Learner, start: Start, connected: bool) -> list[Tensor]:
    def act(inputs: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = learner.actor(inputs if connected else inputs.detach())
        return mean + log_std.exp() * noise

    with same_rollout(learner, start) as observation:
        _, loss = roll_out(learner, start, observation, act)
    return list(torch.autograd.grad(loss, list(learner.actor.parameters())))


def open_loop_gradient(learner: Learner, start: Start) -> tuple[Rollout, list[Tensor]]:
    """Differentiates the loss by the actions, held fixed: equation (6)."""

    def act(inputs: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            mean, log_std = learner.actor(inputs)
            return mean + log_std.exp() * noise

    with same_rollout(learner, start) as observation:
        rollout, loss = roll_out(learner, start, observation, act)
    return rollout, list(torch.autograd.grad(loss, rollout.actions))


def control_regularization(learner: Learner, start: Start) -> list[Tensor]:
    """Computes what the decoupled gradient leaves out, on its own: equations (5) and (14).

    With g_t the open-loop gradient, it is sum_t g_t . da_t/do_t . do_t/ds_t . ds_t/dtheta: in a
    rollout whose actions depend on theta in full, each action is computed a second time with fixed
    parameters, so that theta reaches it through the observation alone.
    """
    _, open_loop = open_loop_gradient(learner, start)
    fixed = {name: value.detach() for name, value in learner.actor.named_parameters()}
    through_observation: list[Tensor] = []

    def act(inputs: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = functional_call(learner.actor, fixed, (inputs,))
        through_observation.append(mean + log_std.exp() * noise)
        mean, log_std = learner.actor(inputs)
        return mean + log_std.exp() * noise

    with same_rollout(learner, start) as observation:
        roll_out(learner, start, observation, act)
    total = sum(
        (gradient * action).sum()
        for gradient, action in zip(open_loop, through_observation, strict=True)
    )
    assert isinstance(total, Tensor)
    return list(
        torch.autograd.grad(
            total, list(learner.actor.parameters()), allow_unused=True, materialize_grads=True
        )
    )


def flat(gradient: list[Tensor]) -> Tensor:
    """Joins a gradient to one vector, float64 on the CPU."""
    return torch.cat([part.detach().flatten() for part in gradient]).double().cpu()


def cosine(one: Tensor, other: Tensor) -> float:
    """Returns the cosine of the angle between two vectors."""
    return float(torch.dot(one, other) / (one.norm() * other.norm()).clamp(min=1e-300))
