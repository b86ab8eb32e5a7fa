"""Tasks: what a robot has to do, and the vector environment in which it does it.

Enters: actions (N, A) in [-1, 1]. Leaves: observations {"pixels", "state"}, rewards with their
gradient to the actions, and the ends of episodes. A task is one file here (start, state
observation, reward, termination, camera) that ends in `register(...)`; it is found without being
listed anywhere. Add or change tasks freely; the environment knows none of them. Importing this room
also makes every task known to Gymnasium as "dva/<Name>-v0".
"""

from dva.tasks.registry import get, import_task_files, names, register
from dva.tasks.task import Task, uniform

__all__ = [
    "Task",
    "get",
    "names",
    "register",
    "uniform",
]

import_task_files(__path__)
