"""Steps environments with repeated actions, and fills a replay of single steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dva.compute.arguments import require
from dva.envs import Environment
from dva.envs.frames import newest
from dva.learning.steps import StepReplay
from dva.spec import Observation

__all__ = ["Collector", "StepsTaken"]


@dataclass(frozen=True)
class StepsTaken:
    """Holds what the steps of one action leave behind; see `Experience`. R is the action repeat."""

    done: Tensor
    """bool (R, N)."""
    episode_returns: Tensor
    """(R, N)."""
    episode_lengths: Tensor
    """(R, N)."""
    nonfinite: Tensor
    """bool (R, N)."""
    reward: Tensor
    """(N,), the sum that the replay got."""
    ended: Tensor
    """bool (N,), where the next observation is the first of an episode, so that memory is reset."""


class Collector:
    """Repeats each action in N environments, and adds what follows to a replay as one step.

    Where an episode ends before the action has been repeated R times, the new one waits for the
    other environments with actions of zero; its first observation is the one after that, and its
    rewards until then are not in the replay.

    The environments are reset, and the replay begins.

    Args:
        env: N environments that give the readings of final observations (`final_observations`).
        replay: gets the steps; it keeps entries of the environments' observations.
        action_repeat: R, 1 or more.

    Raises:
        ValueError: the action repeat is less than 1.
    """

    def __init__(self, env: Environment, replay: StepReplay, action_repeat: int) -> None:
        require("action_repeat", action_repeat, action_repeat >= 1, "1 or more")
        self.env, self.replay, self.action_repeat = env, replay, action_repeat
        replay.begin(env.reset())

    @property
    def observation(self) -> Observation:
        """The present observation (N, ...) by name. Its stacks are of what the replay keeps, which
        are the readings after each action, not those in between."""
        return self.replay.observation()

    @torch.no_grad()
    def step(self, action: Tensor) -> StepsTaken:
        """Takes actions (N, A) in [-1, 1].

        Raises:
            ValueError: the environments do not give the readings of final observations.
        """
        env = self.env
        ended = torch.zeros(env.num_envs, dtype=torch.bool, device=action.device)
        failed, reward = ended, torch.zeros(env.num_envs, device=action.device)
        final: Observation = {}
        rows: list[tuple[Tensor, ...]] = []
        for _ in range(self.action_repeat):
            taken = torch.where(ended[:, None], 0.0, action)
            _, earned, terminated, truncated, info = env.step(taken)
            reward = reward + torch.where(ended, 0.0, earned)
            failed = failed | (terminated & ~ended)
            for name, reading in self._final(info["final_observation"]).items():
                over = ended.view(-1, *[1] * (reading.dim() - 1))
                final[name] = torch.where(over, final[name], reading) if name in final else reading
            done = terminated | truncated
            ended = ended | done
            # Copies: an environment may go on writing into its own counters.
            returns, lengths = info["episode_return"].clone(), info["episode_length"].clone()
            rows.append((done, returns, lengths, info["nonfinite"]))
        present = {name: env.newest(name) for name in self.replay.spec}
        self.replay.add(action, reward, failed, ended & ~failed, final, present)
        done, returns, lengths, nonfinite = (
            torch.stack(column) for column in zip(*rows, strict=True)
        )
        return StepsTaken(done, returns, lengths, nonfinite, reward, ended)

    def _final(self, observation: Observation) -> Observation:
        """Picks the newest readings (N, ...) of what the replay keeps."""
        missing = [name for name in self.replay.spec if name not in observation]
        if missing:
            raise ValueError(
                f"The environment does not read {missing[0]!r} in final observations. Make it with "
                "final_observations=True."
            )
        entries = self.replay.spec.items()
        return {name: newest(observation[name].detach(), entry) for name, entry in entries}
