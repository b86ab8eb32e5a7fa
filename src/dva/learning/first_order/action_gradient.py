"""Block 2: how the actions of a rollout should have been different."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from dva.compute.distributed import ALONE, Group
from dva.compute.plugins import Registry
from dva.envs import Environment
from dva.learning.returns import horizon_loss
from dva.learning.rollout import Rollout

__all__ = [
    "ActionGradient",
    "AdjointActionGradient",
    "cap_environments",
    "drop_nonfinite",
    "find_action_gradient",
    "register_action_gradient",
]


class ActionGradient(Protocol):
    """Estimates dL/da of a rollout along its fixed actions: no images and no policy take part.

    `examples/perturbed_actions.py` is one, in one file: it steps copies of the physics.
    """

    @property
    def needs_graph(self) -> bool:
        """Whether it differentiates the rollout's graph, which only a differentiable simulator
        leaves; without, rollouts are made without one."""
        ...

    @property
    def recordable(self) -> bool:
        """Whether it is work on the device alone, so that a CUDA graph can hold it."""
        ...

    def __call__(
        self,
        rollout: Rollout,
        env: Environment,
        value: Callable[[Tensor], Tensor],
        discount: float,
    ) -> tuple[Tensor, Tensor]:
        """Returns dL/da (h, N, A) before tanh, and each environment's share of the loss L (N,).

        Args:
            rollout: h steps of N environments: physics states before each step, actions, rewards.
            env: has the simulator, and `transition`, which steps copies of physics states without
                moving the environment.
            value: maps states (..., O), not normalised, to values (...).
            discount: gamma.
        """
        ...


class AdjointActionGradient:
    """Differentiates the actor loss through a differentiable simulator. See `ActionGradient`.

    The actions are leaves of the graph, so this is the open-loop gradient: what changed actions
    would do to later rewards with later actions held fixed. It consumes the rollout's graph.

    Source: D.Va, equations (3) and (6).
    """

    needs_graph = True
    recordable = True

    def __call__(
        self,
        rollout: Rollout,
        env: Environment,
        value: Callable[[Tensor], Tensor],
        discount: float,
    ) -> tuple[Tensor, Tensor]:
        """Returns dL/da (h, N, A) and the loss (N,).

        Raises:
            RuntimeError: neither rewards nor values depend on the actions through torch's graph.
        """
        next_values = value(rollout.next_states)
        loss = horizon_loss(
            rollout.rewards, next_values, rollout.terminated, rollout.truncated, discount
        )
        if not loss.requires_grad:
            raise RuntimeError(
                "The environment's rewards and states carry no graph to the actions. Use a "
                "differentiable simulator, or an action_gradient that needs none."
            )
        gradients = torch.autograd.grad(
            loss.sum(), rollout.actions, allow_unused=True, materialize_grads=True
        )
        return torch.stack(gradients), loss.detach()


_ESTIMATORS = Registry[Callable[[], ActionGradient]](
    "action gradient",
    "One of your own is made known with register_action_gradient(NAME, CLASS), and found as "
    "MODULE:NAME.",
)
_ESTIMATORS.add("adjoint", AdjointActionGradient)


def register_action_gradient(name: str, make: Callable[[], ActionGradient]) -> None:
    """Makes an estimator known by a name, for `DvaConfig.action_gradient`.

    Args:
        name: such as "perturbed"; on the command line MODULE:NAME.
        make: builds it.

    Raises:
        ValueError: the name is taken.
    """
    _ESTIMATORS.add(name, make)


def find_action_gradient(name: str) -> ActionGradient:
    """Builds an estimator by its name, or by MODULE:NAME.

    Raises:
        ValueError: there is none of that name, or the module cannot be imported.
    """
    return _ESTIMATORS.get(name)()


def drop_nonfinite(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Zeroes the whole horizon of every environment with a non-finite entry.

    Args:
        gradient: (h, N, A).

    Returns:
        The gradient (h, N, A) without them, and which environments were dropped, bool (N,).
    """
    dropped = ~torch.isfinite(gradient).all(-1).all(0)
    return torch.where(dropped[None, :, None], 0.0, gradient), dropped


def cap_environments(gradient: Tensor, medians: float, group: Group = ALONE) -> Tensor:
    """Shortens the gradients of environments that are much longer than the others'.

    Contacts give them heavy tails: a few environments would decide the whole update.

    Args:
        gradient: (h, N, A); environments that are all zero were left out and do not count.
        medians: the longest norm of an environment's gradient (h, A) that stays as it is, in
            medians of the norms of all.
        group: the processes whose environments count, N in each.
    """
    norms = gradient.square().sum((0, 2)).sqrt()
    longest = medians * _median(group.gather(norms))
    return gradient * torch.where(norms > longest, longest / norms, 1.0)[None, :, None]


def _median(norms: Tensor) -> Tensor:
    """Returns the median (()) of those norms (N,) that are above 0; if there are none, inf."""
    ordered = torch.where(norms > 0.0, norms, torch.inf).sort().values
    last = ((norms > 0.0).sum() - 1).clamp(min=0)
    # By index_select, which neither waits for the device nor needs a size that is not known.
    middle = torch.stack([last // 2, (last + 1) // 2])
    return ordered.index_select(0, middle).mean()
