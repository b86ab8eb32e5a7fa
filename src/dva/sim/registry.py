"""The list of simulators: a user's own file may put one here."""

from dva.compute.plugins import Registry
from dva.sim.simulator import SimulatorFactory
from dva.sim.warp.simulator import WarpSimulator

__all__ = ["find_simulator", "register_simulator"]

_SIMULATORS = Registry[SimulatorFactory](
    "simulator",
    "One of your own is made known with dva.sim.register_simulator(NAME, FACTORY), and found as "
    "MODULE:NAME.",
)
_SIMULATORS.add("warp", WarpSimulator.build)


def register_simulator(name: str, factory: SimulatorFactory) -> None:
    """Makes a simulator known by a name, for `EnvConfig.simulator` and `dva train --simulator`.

    Args:
        name: such as "bullet"; on the command line MODULE:NAME.
        factory: builds it from a `SimulatorRequest`.

    Raises:
        ValueError: the name is taken.
    """
    _SIMULATORS.add(name, factory)


def find_simulator(name: str) -> SimulatorFactory:
    """Finds a simulator by its name, or by MODULE:NAME if importing the module registers it.

    Raises:
        ValueError: there is none of that name, or the module cannot be imported.
    """
    return _SIMULATORS.get(name)
