"""Learning algorithms, in folders by family; each is one file with its configuration and presets.

Enters: an environment, a configuration, and how long training is planned to last. Leaves: an
`Algorithm`, whose `iterate()` trains a little and returns metrics, and whose `policy` acts. Runs,
evaluation and studies know nothing else of it. Add an algorithm by writing its file and calling
`register`; what algorithms of one family share lies beside them, what all share in this folder.
"""

from dva.learning.algorithm import (
    Algorithm,
    AlgorithmEntry,
    LargeState,
    Metrics,
    Preset,
    TrainingContext,
)
from dva.learning.first_order.dva import DVA, DvaConfig
from dva.learning.first_order.shac import SHAC, ShacConfig
from dva.learning.imitation.dagger import DAgger, DaggerConfig
from dva.learning.off_policy.curl import CURL, CurlConfig
from dva.learning.off_policy.drqv2 import DrQV2, DrqV2Config
from dva.learning.on_policy.ppo import PPO, PpoConfig
from dva.learning.registry import get, names, register
from dva.learning.world_model.config import DreamerV3Config
from dva.learning.world_model.dreamerv3 import DreamerV3

__all__ = [
    "DAgger",
    "DVA",
    "PPO",
    "SHAC",
    "Algorithm",
    "AlgorithmEntry",
    "DaggerConfig",
    "DreamerV3",
    "DreamerV3Config",
    "CURL",
    "CurlConfig",
    "DrQV2",
    "DrqV2Config",
    "DvaConfig",
    "LargeState",
    "Metrics",
    "PpoConfig",
    "Preset",
    "ShacConfig",
    "TrainingContext",
    "get",
    "names",
    "register",
]
