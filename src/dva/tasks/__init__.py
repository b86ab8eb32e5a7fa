"""Tasks: what a robot has to do.

Enters: joint positions, velocities and actions of N robots. Leaves: starts, state observations,
rewards with their gradient, and failures, besides the robot, view and sensors of the task. A task
is one file here that ends in `register(...)`; it is found without being listed anywhere. Add or
change tasks freely; the environment knows none of them. Importing this room also makes every task
known to Gymnasium as "dva/<Name>-v0".
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
