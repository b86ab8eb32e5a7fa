"""The vector environment: many robots of one task, stepped, sensed and restarted together.

Enters: actions (N, A) in [-1, 1]. Leaves: observations by name, rewards with their gradient to the
actions, and the ends of episodes. `make` builds a task's simulator and sensors and puts them
together; `Environment` is the contract that algorithms rely on. Frames are stacked here and
nowhere else. Change here how episodes run; what a robot has to do is the task's business.
"""

from dva.envs.config import EnvConfig
from dva.envs.environment import Environment, Transition
from dva.envs.gymnasium_adapter import GymnasiumEnv, GymnasiumVectorEnv
from dva.envs.make import make
from dva.envs.vector_env import VectorEnv

__all__ = [
    "EnvConfig",
    "Environment",
    "GymnasiumEnv",
    "GymnasiumVectorEnv",
    "Transition",
    "VectorEnv",
    "make",
]
