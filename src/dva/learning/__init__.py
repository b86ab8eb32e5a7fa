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
from dva.learning.off_policy.curl import Curl, CurlConfig
from dva.learning.off_policy.drqv2 import DrqV2, DrqV2Config
from dva.learning.registry import get, names, register

__all__ = [
    "DVA",
    "SHAC",
    "Algorithm",
    "AlgorithmEntry",
    "Curl",
    "CurlConfig",
    "DrqV2",
    "DrqV2Config",
    "DvaConfig",
    "LargeState",
    "Metrics",
    "Preset",
    "ShacConfig",
    "TrainingContext",
    "get",
    "names",
    "register",
]
