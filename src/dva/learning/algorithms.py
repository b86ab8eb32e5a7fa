"""The list of algorithms."""

from dataclasses import dataclass

from dva.learning.first_order.actor_critic import Learner
from dva.learning.first_order.config import DvaConfig, LearnerConfig, ShacConfig
from dva.learning.first_order.dva import DVA
from dva.learning.first_order.shac import SHAC

__all__ = ["ALGORITHMS", "Algorithm"]


@dataclass(frozen=True)
class Algorithm:
    """One algorithm as the command line and the run manager see it."""

    name: str
    """Key in `ALGORITHMS` and in run directories."""
    description: str
    """One line for help texts."""
    config_class: type[LearnerConfig]
    """Dataclass of its hyperparameters."""
    learner_class: type[Learner]
    """Built as learner_class(env, config, seed, threads=...)."""


ALGORITHMS: dict[str, Algorithm] = {
    "dva": Algorithm(
        "dva",
        "D.Va: action gradients through physics, regressed onto a policy of pixels (or states).",
        DvaConfig,
        DVA,
    ),
    "shac": Algorithm(
        "shac",
        "SHAC: the full analytic gradient through physics and policy, from states (or pixels, "
        "through a differentiable camera).",
        ShacConfig,
        SHAC,
    ),
}
