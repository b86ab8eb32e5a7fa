"""A guide: a policy of the state that learns the action gradients, for one of images to imitate.

What an action gradient says depends on the state, and a small network of the state learns it at
once. A policy of images would have to learn at the same time what to look at, from a target that is
as noisy as the exploration. So with a guide the regression has two parts. Improved actions are
regressed onto the guide, as D.Va does from states; and the policy imitates the guide's actions,
which are free of noise and defined for every state, so that images of many past rollouts teach it.

The guide acts in environments of its own and learns there: nothing is rendered in them, so that
there can be many. Its later actions answer to the state, which an earlier action changes; in a
closed loop the action gradient includes that, and the sum that is regressed onto the guide is then
the gradient of SHAC, which no image is part of either. In the other environments the policy acts,
and the guide's actions in the states that it reaches are what it imitates (as in DAgger). Where the
guide has no environments, it learns from what the policy does. It is not needed after training.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from dva.compute.distributed import ALONE, Group
from dva.envs import Environment
from dva.learning.first_order.config import FirstOrderConfig
from dva.learning.muon import Muon
from dva.learning.optimizer import ClippedAdam
from dva.learning.regression import (
    decoupled_objective,
    set_imitation_gradient,
    set_policy_gradient,
)
from dva.learning.replay import RolloutReplay
from dva.learning.rollout import Rollout
from dva.learning.state import add_prefix, strip_prefix
from dva.policies import Actor, normalize
from dva.policies.actor_policy import Normalizers
from dva.spec import STATE

__all__ = ["Guide"]


class Guide:
    """Learns from action gradients, and teaches.

    Args:
        env: N environments; what their policy sees is not the state alone.
        config: hyperparameters; the guide's network is as the policy's behind its images.
        pupil: the network of the policy that is taught.
        pupil_optimizer: its optimizer.
        replay_images: number of samples that the replay holds, rounded to whole rollouts.
        average: share of itself that the average keeps in an update.
        device: where it trains.
        group: the processes that train together; each teaches from its own rollouts.
    """

    def __init__(
        self,
        env: Environment,
        config: FirstOrderConfig,
        pupil: Actor,
        pupil_optimizer: Muon,
        replay_images: int,
        average: float,
        device: torch.device,
        group: Group = ALONE,
    ) -> None:
        spec = env.observation_spec.select((STATE,))
        self.actor = Actor(spec, env.action_spec.size, 1, config.actor_hidden, config.log_std_init)
        self.actor.to(device)
        self.optimizer = ClippedAdam(
            self.actor.parameters(), config.adam_betas, config.max_grad_norm, group
        )
        self.average = copy.deepcopy(self.actor).requires_grad_(False)
        """Running average of the guide's parameters: what is imitated. The guide itself moves far
        in an update and back in the next, and a network of images could not follow."""
        self._keep = average
        self._pupil, self._pupil_optimizer = pupil, pupil_optimizer
        self._blind, self._group = env.blind_envs, group
        seeing = env.num_envs - env.blind_envs
        samples = seeing * config.horizon * group.size
        self.replay = RolloutReplay(
            env.policy_spec, spec[STATE].channels, seeing, config.horizon,
            max(1, replay_images // samples), device, group,
        )  # fmt: skip

    def learn(
        self,
        rollout: Rollout,
        action_gradient: Tensor,
        taught: slice,
        normalizers: Normalizers,
    ) -> tuple[Tensor, Tensor]:
        """Regresses improved actions onto the guide, and hands its exploration to the policy.

        Args:
            rollout: gives states and noise; it is added to the replay.
            action_gradient: dL/da (h, n, A).
            taught: which n of the N environments that is.
            normalizers: those of the rollout; with one for the state.

        Returns:
            The norm of the guide's gradient, and 1.0 if the update was skipped, else 0.0.
        """
        self.replay.add(rollout.frames, rollout.vectors, rollout.states[:, self._blind :])
        states = normalizers[STATE](rollout.states[:, taught]).flatten(0, 1)
        set_policy_gradient(
            self.actor,
            lambda start, stop: {STATE: states[start:stop]},
            decoupled_objective(rollout.noise[:, taught], action_gradient),
            len(states),
            len(states),
        )
        found = self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.actor.parameters(), strict=True):
                slow.lerp_(fast, 1.0 - self._keep)
            self._pupil.log_std.copy_(self.actor.log_std)
        return found

    def teach(
        self,
        steps: int,
        batch: int,
        generator: torch.Generator,
        normalizers: Normalizers,
        micro_batch: int,
        threads: int,
    ) -> tuple[Tensor, Tensor]:
        """Lets the policy imitate the guide: squared error of the actions, after tanh.

        Every second batch is of the newest rollout, the others are of all that are kept.

        Args:
            steps: updates of the policy.
            batch: samples in each, over all processes.
            generator: draws them.
            normalizers: of the vectors and the state, by name.
            micro_batch, threads: as for `set_policy_gradient`.

        Returns:
            The squared error as a share of the variance of the guide's actions, mean over steps;
            and the number of updates that were skipped.
        """
        errors, skips = [], []
        own = -(-batch // self._group.size)
        for step in range(steps):
            seen, states = self.replay.sample(own, generator, newest=step % 2 == 0)
            inputs = normalize({**seen, STATE: states}, normalizers)
            with torch.no_grad():
                target = torch.tanh(self.average(inputs)[0])
            error = set_imitation_gradient(self._pupil, inputs, target, micro_batch, threads)
            errors.append(error / target.var(0, correction=0).mean().clamp(min=1e-12))
            skips.append(self._pupil_optimizer.step()[1])
        return torch.stack(errors).mean(), torch.stack(skips).sum()

    def state_dict(self) -> dict[str, Tensor]:
        """Returns network, optimizer, and how much the replay has seen; its rollouts are apart."""
        return {
            **add_prefix("actor", self.actor.state_dict()),
            **add_prefix("average", self.average.state_dict()),
            **add_prefix("optimizer", self.optimizer.state_dict()),
            "seen": self.replay.count.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        self.actor.load_state_dict(strip_prefix("actor", state))
        self.average.load_state_dict(strip_prefix("average", state))
        self.optimizer.load_state_dict(strip_prefix("optimizer", state))
        self.replay.count.copy_(state["seen"])
