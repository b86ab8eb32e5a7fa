"""Algorithms that processes of a benchmark train in tests; found by commands as MODULE:NAME."""

import time

from own_algorithms import Config, Linear, Plain

from dva import learning
from dva.learning import AlgorithmEntry


class Slow(Plain):
    """Leaves a test the time to kill it."""

    def iterate(self):
        time.sleep(0.05)
        return super().iterate()


class Broken(Plain):
    """Fails in its second iteration."""

    def iterate(self):
        if self.env_steps:
            raise RuntimeError("it broke")
        return super().iterate()


learning.register(AlgorithmEntry("slow", "a test's", Config, Slow, Linear))
learning.register(AlgorithmEntry("broken", "a test's", Config, Broken, Linear))
