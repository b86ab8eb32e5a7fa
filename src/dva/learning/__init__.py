"""Algorithms, one file each, and what they truly share.

Enters: a vector environment and a config. Leaves: a learner whose `iterate()` trains once and
returns metrics, and whose `act()` is the policy. `dva.py` reads like D.Va's pseudo-code; rollouts,
returns, the critic's fit and the regression are shared with the other algorithms. Add an algorithm
by adding its file and its entry in `ALGORITHMS`.
"""

from dva.envs.environment import Environment
from dva.learning.algorithms import ALGORITHMS, Algorithm
from dva.learning.first_order.action_gradient import ActionGradient, adjoint_action_gradient
from dva.learning.first_order.actor_critic import Learner
from dva.learning.first_order.config import DvaConfig, LearnerConfig, ShacConfig
from dva.learning.first_order.dva import DVA
from dva.learning.first_order.presets import PRESETS, preset
from dva.learning.first_order.shac import SHAC

__all__ = [
    "ALGORITHMS",
    "DVA",
    "PRESETS",
    "SHAC",
    "ActionGradient",
    "Algorithm",
    "DvaConfig",
    "Environment",
    "Learner",
    "LearnerConfig",
    "ShacConfig",
    "adjoint_action_gradient",
    "preset",
]
