"""The parts that this D.Va has from pixels and the published one has not, each with its switch."""

import dataclasses
from typing import Any

from dva.compute.arguments import require
from dva.runs import TrainConfig, default_config
from dva.studies.report import StudyConfig

__all__ = ["AS_PUBLISHED", "SWITCHED_OFF", "SWITCHED_ON", "PartsConfig"]

SWITCHED_ON: dict[str, Any] = {"center_features": True, "action_gradient_cap": 2.0, "guide": True}
"""The changes of `DvaConfig` that switch all parts on, which a preset does not for every task."""

SWITCHED_OFF: dict[str, dict[str, Any]] = {
    "center_features": {"center_features": False},
    "action_gradient_cap": {"action_gradient_cap": None},
    "guide": {"guide": False},
}
"""Each part with the changes of `DvaConfig` that switch it off."""
AS_PUBLISHED = {name: off for changes in SWITCHED_OFF.values() for name, off in changes.items()}
"""The changes that switch all of them off."""


@dataclasses.dataclass
class PartsConfig(StudyConfig):
    """Flags of a study that switches parts of D.Va off and on."""

    seeds: int | None = None
    """Number of seeds to train, from `seed` on; None: 1, with --full 3."""
    preset: str = "cpu"
    """Hyperparameters to start from: cpu, or fast for a GPU. All parts are on for every task."""
    num_envs: int | None = None
    """Environments; None: the preset's."""
    horizon: int | None = None
    """Steps of a rollout; None: the preset's."""
    image_size: int | None = None
    """Side of the images; None: the preset's."""

    def __post_init__(self) -> None:
        seeds = self.seeds
        require("seeds", seeds, seeds is None or seeds >= 1, "1 or more, or None")
        known = self.preset in ("cpu", "fast")
        require("preset", self.preset, known, "cpu or fast, which have the parts")

    @property
    def seeds_to_train(self) -> range:
        """The seeds themselves."""
        return range(self.seed, self.seed + (self.seeds or (3 if self.full else 1)))

    def configure(self, task: str, **changes: Any) -> TrainConfig:
        """Returns D.Va's configuration of a task from pixels, with changes of any of its fields.

        It has all parts unless they say otherwise.
        """
        sizes = {
            name: getattr(self, name)
            for name in ("num_envs", "horizon", "image_size")
            if getattr(self, name) is not None
        }
        return default_config(
            task, "dva", self.preset, observe="pixels", device=self.device,
            **{**SWITCHED_ON, **sizes, **changes},
        )  # fmt: skip
