"""The vector environment: many robots of one task, stepped, sensed and restarted together."""

from dva.envs.gymnasium_adapter import GymnasiumEnv, GymnasiumVectorEnv
from dva.envs.make import make
from dva.envs.vector_env import VectorEnv

__all__ = ["GymnasiumEnv", "GymnasiumVectorEnv", "VectorEnv", "make"]
