"""Runs: training on disk, from the configuration to the evaluated policy.

Enters: a `TrainConfig` (what to train, how long, on what). Leaves: a folder with the configuration,
metrics, TensorBoard events, checkpoints, videos, a learning curve and an evaluation; `Run` opens it
again and `load_policy` brings the policy back. `matrix` makes many of them. Nothing is pickled, and
no run overwrites another's files. What is written, when it is saved and how a policy is evaluated
may be changed here; what is learned may not.
"""

from dva.compute.errors import UsageError
from dva.runs.build import build
from dva.runs.config import RunConfig, TrainConfig, default_config
from dva.runs.evaluate_run import evaluate_run, make_env
from dva.runs.evaluation import Evaluation, evaluate
from dva.runs.policy import load_policy
from dva.runs.pretrained import pretrained_about, pretrained_names, unpack_pretrained
from dva.runs.run import Run
from dva.runs.training import Outcome, Update, follow, train

__all__ = [
    "Evaluation",
    "Outcome",
    "Run",
    "RunConfig",
    "TrainConfig",
    "Update",
    "UsageError",
    "build",
    "default_config",
    "evaluate",
    "evaluate_run",
    "follow",
    "load_policy",
    "make_env",
    "pretrained_about",
    "pretrained_names",
    "train",
    "unpack_pretrained",
]
