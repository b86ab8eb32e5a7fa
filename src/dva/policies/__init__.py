"""Policies: the `Policy` contract, and the networks of actors and critics as plain torch modules.

Enters: observations by name (stacked images, vectors). Leaves: actions in [-1, 1], means and log
standard deviations of actions before tanh, values of states. Nothing here knows an environment or
an algorithm: a saved policy is rebuilt here from its description, without a simulator or a camera.
Change a network's architecture here, and its training in `dva.learning`.
"""

from dva.policies.actor import Actor
from dva.policies.actor_policy import ActorPolicy, normalize
from dva.policies.critic import Critic
from dva.policies.encoder import Encoder
from dva.policies.layers import mlp
from dva.policies.normalizer import RunningNormalizer
from dva.policies.policy import NO_MEMORY, Policy, RandomPolicy, SavedPolicy, ZeroPolicy
from dva.policies.repeating_policy import RepeatingPolicy

__all__ = [
    "NO_MEMORY",
    "Actor",
    "ActorPolicy",
    "Critic",
    "Encoder",
    "Policy",
    "RandomPolicy",
    "RepeatingPolicy",
    "RunningNormalizer",
    "SavedPolicy",
    "ZeroPolicy",
    "mlp",
    "normalize",
]
