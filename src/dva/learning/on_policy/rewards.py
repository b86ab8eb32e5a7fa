"""Rewards in units of the spread of returns, so that one critic's learning rate fits every task."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dva.compute.distributed import ALONE, Group
from dva.policies import RunningNormalizer

__all__ = ["RewardScale"]


class RewardScale(nn.Module):
    """Divides rewards by the standard deviation of the discounted return so far.

    The return is summed up along each episode, sum_k gamma^k r_{t-k}, and the deviation is over all
    steps of all environments. Rewards are not shifted: that would change what an early end of an
    episode is worth.

    Args:
        num_envs: N.
        discount: gamma.
        group: the processes that train together, with N environments each. All learn the same
            deviation, and `state_dict` has the returns of all.

    Source: Engstrom et al., "Implementation Matters in Deep Policy Gradients", 2020, section 3.
    """

    running: Tensor

    def __init__(self, num_envs: int, discount: float, group: Group = ALONE) -> None:
        super().__init__()
        self.discount, self._group = discount, group
        self.register_buffer("running", torch.zeros(num_envs))
        self.statistics = RunningNormalizer(1)

    @torch.no_grad()
    def forward(self, rewards: Tensor, done: Tensor) -> Tensor:
        """Learns from the rewards of a rollout, and scales all of them alike.

        Args:
            rewards: (h, N).
            done: bool (h, N), where an episode ended.
        """
        returns = torch.empty_like(rewards)
        for t in range(len(rewards)):
            returns[t] = self.running * self.discount + rewards[t]
            self.running.copy_(torch.where(done[t], 0.0, returns[t]))
        self.statistics.update(returns[..., None], self._group)
        return rewards * torch.rsqrt(self.statistics.var + 1e-8).to(rewards.dtype)

    def state_dict(self, *arguments: Any, **options: Any) -> dict[str, Tensor]:
        """Returns the statistics, and the returns so far of all processes' environments."""
        state = super().state_dict(*arguments, **options)
        return {**state, "running": self._group.gather(self.running)}

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *arguments: Any) -> Any:
        """Restores what `state_dict` returned."""
        own = {**state_dict, "running": state_dict["running"][self._group.rows]}
        return super().load_state_dict(own, *arguments)
