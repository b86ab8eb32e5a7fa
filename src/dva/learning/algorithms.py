"""The list of algorithms."""

from dataclasses import dataclass

from dva.learning.config import DvaConfig
from dva.learning.dva import DVA

__all__ = ["ALGORITHMS", "Algorithm"]


@dataclass(frozen=True)
class Algorithm:
    """One algorithm as the command line and the run manager see it."""

    name: str
    """Key in `ALGORITHMS` and in run directories."""
    description: str
    """One line for help texts."""
    config_class: type[DvaConfig]
    """Dataclass of its hyperparameters."""
    learner_class: type[DVA]
    """Built as learner_class(env, config, seed)."""


ALGORITHMS: dict[str, Algorithm] = {
    "dva": Algorithm(
        "dva",
        "D.Va: action gradients through physics, regressed onto a policy from pixels.",
        DvaConfig,
        DVA,
    ),
}
