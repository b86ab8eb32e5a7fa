"""Saliency: how much each pixel of what a policy sees changes its action."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dva.envs.frames import newest, push, restart
from dva.learning.world_model.distributions import one_hot_mode
from dva.learning.world_model.policy import DreamerPolicy
from dva.learning.world_model.rssm import Latent
from dva.policies import ActorPolicy, Policy, RepeatingPolicy, normalize
from dva.spec import Observation, StateTensors

__all__ = ["saliency"]


def saliency(policy: Policy, observation: Observation, state: StateTensors) -> dict[str, Tensor]:
    """Differentiates the action of one robot by the pixels of its images.

    The map of an image is the norm of ∂a/∂pixel over all actions, colours and stacked frames, where
    a is in [-1, 1]. A policy that holds actions is asked what it would choose now; one with a
    memory is asked about the newest reading alone, since older ones are in its memory.

    Args:
        policy: of any algorithm.
        observation: of one robot, (1, ...) by name.
        state: the policy's memory of it, (1, ...).

    Returns:
        (H, W) for each image that the policy reads, by name; nothing where the policy's action has
        no gradient.
    """
    size = policy.action_spec.size
    # A copy for each action: one pass backward then gives the gradients of all.
    copies = {name: _copies(value, size) for name, value in observation.items()}
    images = {
        entry.name: copies[entry.name].float().requires_grad_()
        for entry in policy.observation_spec.images
    }
    if not images:
        return {}
    memory = {name: _copies(value, size) for name, value in state.items()}
    with torch.enable_grad():
        action = _choose(policy, {**copies, **images}, memory)
        if not action.requires_grad:
            return {}
        wanted = list(images.values())
        found = torch.autograd.grad(action.diagonal().sum(), wanted, allow_unused=True)
    gradients = dict(zip(images, found, strict=True))
    return {name: x.square().sum((0, 1)).sqrt() for name, x in gradients.items() if x is not None}


def _copies(value: Tensor, count: int) -> Tensor:
    return value.repeat(count, *[1] * (value.dim() - 1))


def _choose(policy: Policy, observation: Mapping[str, Tensor], state: StateTensors) -> Tensor:
    """Computes what `act` would choose (n, A), with its graph to the images."""
    names = policy.observation_spec
    if isinstance(policy, ActorPolicy):
        here = {name: observation[name].to(policy.device) for name in names}
        return torch.tanh(policy.actor(normalize(here, policy.normalizers))[0])
    if isinstance(policy, RepeatingPolicy):
        stacks = {}
        for name, entry in names.items():
            reading = newest(observation[name].to(policy.device), entry)
            stack = push(state[f"stack.{name}"].to(reading.dtype), reading)
            stacks[name] = restart(stack, reading, state["fresh"])
        return torch.tanh(policy.mean(policy.see(policy.center(stacks))))
    if isinstance(policy, DreamerPolicy):
        return _choose_by_model(policy, observation, state)
    return policy.act(dict(observation), state)[0]


def _choose_by_model(
    policy: DreamerPolicy, observation: Mapping[str, Tensor], state: StateTensors
) -> Tensor:
    """Computes what a `DreamerPolicy` would choose; its likeliest latent states, which jump, take
    the gradient of their probabilities, as sampled ones do in training."""
    rssm, model = policy.rssm, policy.model_spec
    readings = {name: newest(observation[name].to(policy.device), e) for name, e in model.items()}
    embedding = policy.encoder(policy.encoder.prepare(readings))
    before = Latent(state["deter"], state["stoch"])
    deter = rssm._advance(before, rssm.read_action(state["action"]))
    probs = rssm._posterior(deter, rssm.posterior_embedding(embedding))
    stoch = one_hot_mode(probs) + (probs - probs.detach())
    return policy.actor(Latent(deter, stoch.flatten(1)).features).mean.clamp(-1.0, 1.0)
