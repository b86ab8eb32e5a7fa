"""A policy as one graph: newest readings and memory in, commands and the next memory out."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dva.envs.frames import first_stack, newest
from dva.learning.world_model.policy import DreamerPolicy
from dva.policies import Policy, RepeatingPolicy
from dva.spec import Entry

__all__ = ["FIRST", "PolicyGraph", "frames_name"]

_OWN = "memory_"
"""Begins the names of what the policy itself remembers, which may else be those of outputs."""
FIRST = "first"
"""Name of the memory that is True at the start of an episode."""
_REMEMBER = (RepeatingPolicy, DreamerPolicy)
"""Policies that read the newest of a stack alone, since they remember what they saw."""


def frames_name(name: str) -> str:
    """Names the memory that holds the last readings of an entry."""
    return f"frames_{name}"


class PolicyGraph(nn.Module):
    """Does everything between a robot's sensors and its actuators.

    It stacks readings, which an environment does in training, lets the policy act, and scales the
    actions. The stacks are part of the memory, beside what the policy itself remembers.

    Args:
        policy: on the CPU.
        scale: (A,) command at action 1, less the offset.
        offset: (A,) command at action 0.
    """

    policy: Policy
    scale: Tensor
    offset: Tensor

    def __init__(self, policy: Policy, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.policy = policy
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)
        kept = () if isinstance(policy, _REMEMBER) else policy.observation_spec.values()
        self.stacked: tuple[Entry, ...] = tuple(entry for entry in kept if entry.frame_stack > 1)
        """The entries whose readings are kept."""

    def initial_memory(self, n: int) -> dict[str, Tensor]:
        """Returns the memory (n, ...) at the start of an episode, by name."""
        memory = {_OWN + name: x for name, x in self.policy.initial_state(n).items()}
        if self.stacked:
            memory[FIRST] = torch.ones(n, dtype=torch.bool)
        for entry in self.stacked:
            shape = (n, *entry.stacked_shape)
            memory[frames_name(entry.name)] = torch.zeros(shape, dtype=entry.torch_dtype)
        return memory

    def forward(
        self, readings: Mapping[str, Tensor], memory: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Computes actions (n, A) in [-1, 1], commands (n, A), and the next memory.

        Args:
            readings: of each entry the newest one, (n, ...), by name.
            memory: what `initial_memory` or the last call returned.
        """
        observation, kept = {}, {}
        for name, entry in self.policy.observation_spec.items():
            reading = readings[name]
            stack = first_stack(reading, entry.frame_stack)
            if entry in self.stacked:
                before = memory[frames_name(name)]
                rows = memory[FIRST].view(-1, *[1] * (before.dim() - 1))
                stack = torch.where(
                    rows, stack, torch.cat([before[:, entry.channels :], reading], 1)
                )
                kept[frames_name(name)] = stack
            observation[name] = stack
        own = {name.removeprefix(_OWN): x for name, x in memory.items() if name.startswith(_OWN)}
        action, after = self.policy.act(observation, own)
        action = action.clamp(-1.0, 1.0)
        following = {_OWN + name: after[name] for name in own}
        if self.stacked:
            following[FIRST] = torch.zeros_like(memory[FIRST])
        return action, action * self.scale + self.offset, {**following, **kept}

    def readings(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the newest readings in an environment's observation, by name."""
        spec = self.policy.observation_spec
        return {
            name: newest(observation[name], entry).to(entry.torch_dtype)
            for name, entry in spec.items()
        }
