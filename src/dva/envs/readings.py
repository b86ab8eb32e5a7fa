"""The sensors of an environment and their stacked readings."""

import time
from collections.abc import Mapping, Sequence

import torch

from dva.envs.frames import first_stack, newest, push, restart
from dva.sensors import Sensor
from dva.sim import State
from dva.spec import Entry, Observation

__all__ = ["Readings"]


class Readings:
    """Reads every sensor once a step and keeps the stacks.

    Args:
        sensors: the sensors to read, in order.

    Attributes:
        entries: of the sensors, in order.
        stacks: the present observation, (N, k C, ...) by name, once `begin` was called.
        seconds: wall time spent reading since it was last set to 0.
    """

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        self._sensors = {sensor.entry.name: sensor for sensor in sensors}
        self.entries: tuple[Entry, ...] = tuple(sensor.entry for sensor in sensors)
        self.stacks: Observation = {}
        self.seconds = 0.0

    def __bool__(self) -> bool:
        return bool(self._sensors)

    @property
    def images_with_gradient(self) -> tuple[str, ...]:
        """Names of the images that pass gradients to the state."""
        sensors = self._sensors.items()
        return tuple(n for n, x in sensors if x.differentiable and x.entry.kind == "image")

    @property
    def recordable(self) -> bool:
        """Whether every sensor reads on the device alone."""
        return all(sensor.recordable for sensor in self._sensors.values())

    def begin(self, state: State) -> None:
        """Reads the first states of episodes and fills every stack with them.

        Raises:
            ValueError: a sensor returns something other than its entry says.
        """
        readings = self._read(state)
        for name, sensor in self._sensors.items():
            _check_reading(sensor, readings[name], state)
        self.stacks = {
            entry.name: first_stack(readings[entry.name], entry.frame_stack)
            for entry in self.entries
        }

    def push(self, state: State) -> None:
        """Reads states and adds the readings to the stacks."""
        for name, reading in self._read(state).items():
            self.stacks[name] = push(self.stacks[name], reading)

    def restart(self, state: State, mask: torch.Tensor, pushed: bool) -> None:
        """Reads states after restarts, and refills the stacks where `mask`, bool (N,), is True.

        Args:
            pushed: whether `push` has been called in this step; if not, the readings of robots that
                were not restarted are added to their stacks.
        """
        for name, reading in self._read(state).items():
            stack = self.stacks[name] if pushed else push(self.stacks[name], reading)
            self.stacks[name] = restart(stack, reading, mask)

    def newest(self, entry: Entry) -> torch.Tensor:
        """Returns a view of the newest reading (N, C, ...) of an entry."""
        return newest(self.stacks[entry.name], entry)

    def put(self, stacks: Mapping[str, torch.Tensor]) -> None:
        """Continues from other stacks, without copying them."""
        self.stacks = dict(stacks)

    def detach(self) -> None:
        """Cuts the graph of the stacks."""
        self.stacks = {name: stack.detach() for name, stack in self.stacks.items()}

    def close(self) -> None:
        """Releases the sensors."""
        self._sensors.clear()

    def _read(self, state: State) -> Observation:
        began = time.perf_counter()
        readings = {name: sensor.read(state) for name, sensor in self._sensors.items()}
        self.seconds += time.perf_counter() - began
        return readings


def _check_reading(sensor: Sensor, reading: object, state: State) -> None:
    """Compares a reading with its sensor's entry.

    Raises:
        ValueError: it is no tensor, or its shape, dtype or device is wrong.
    """
    entry, device = sensor.entry, state.joint_q.device
    shape = (state.num_envs, *entry.shape)
    if isinstance(reading, torch.Tensor):
        # A gradient flows through float32 images only.
        gradient = sensor.differentiable and entry.kind == "image"
        dtypes = (entry.torch_dtype, torch.float32) if gradient else (entry.torch_dtype,)
        fits = tuple(reading.shape) == shape and reading.dtype in dtypes
        if fits and reading.device == device:
            return
        found = f"{reading.dtype} {tuple(reading.shape)} on {reading.device}"
    else:
        found = type(reading).__name__
    raise ValueError(
        f"Sensor {entry.name!r} returns {found}; expected {entry.torch_dtype} {shape} on {device}, "
        f"one row for each of {state.num_envs} robots. Change its read(), or its entry."
    )
