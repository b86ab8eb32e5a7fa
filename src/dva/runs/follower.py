"""What the processes of a run do beside the first one: they follow its orders.

Process 0 holds the run: its `Session` writes, prints, films, and decides how long training lasts.
Before each thing that takes all processes it says what comes. So no process waits for what the
others do not do, whatever process 0 decides by its own clock.
"""

from enum import IntEnum
from pathlib import Path

from dva.compute.distributed import Group
from dva.runs.build import Built
from dva.runs.config import TrainConfig
from dva.runs.interrupt import Interrupt
from dva.runs.learner import collect_tensors, require_agreement, restore_learner
from dva.runs.run import Run

__all__ = ["Order", "give_order", "obey"]


class Order(IntEnum):
    """What comes next."""

    ITERATE = 1
    SAVE = 2
    STOP = 3


def give_order(group: Group, order: Order, env_steps: int = 0) -> None:
    """Says, in process 0, what comes next.

    Args:
        group: the processes of the run.
        order: what.
        env_steps: planned environment steps of an iteration.
    """
    group.numbers_of_first(order, env_steps)


def obey(config: TrainConfig, built: Built, resume: Run | None) -> int | None:
    """Trains with process 0 until that stops; returns the signal that came to any process.

    Args:
        config: the run's configuration.
        built: environment and algorithm of this process.
        resume: a run to continue.
    """
    algorithm, context, group = built.algorithm, built.context, built.context.group
    if resume is not None:
        restore_learner(resume, algorithm, config.algo, built.env.device)
    with Interrupt() as interrupt:
        while True:
            order, env_steps = group.numbers_of_first(0, 0)
            if order == Order.STOP:
                return interrupt.signal
            if order == Order.ITERATE:
                context.env_steps = env_steps
                algorithm.iterate()
                interrupt.agree(group)
            else:
                if algorithm.large_state is not None:
                    algorithm.large_state.save(Path(), ())
                require_agreement(collect_tensors(algorithm, built.env.device), group)
