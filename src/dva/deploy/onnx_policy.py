"""An exported policy as a `Policy`: evaluated like any other, run by ONNX's runtime."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dva.deploy.contract import initial_memory, read_contract
from dva.deploy.runtime import open_session
from dva.envs.frames import newest
from dva.spec import ActionSpec, Observation, ObservationSpec, StateTensors

__all__ = ["OnnxPolicy"]


class OnnxPolicy:
    """Acts with an exported graph, on the CPU. See `Policy`.

    Args:
        path: what `export_run` wrote.

    Raises:
        UsageError: the file cannot be read, or holds no contract.
    """

    def __init__(self, path: str | Path) -> None:
        self.contract = read_contract(path)
        self._session = open_session(Path(path))
        fields = ("name", "kind", "shape", "dtype", "frame_stack", "units", "low", "high")
        self.observation_spec = ObservationSpec.from_dict(
            [
                {**{name: entry[name] for name in fields}, "shape": entry["shape"][1:]}
                for entry in self.contract["observation"]
            ]
        )
        driven = self.contract["command"]["actuators"]
        names = tuple(actuator["name"] for actuator in driven)
        self.action_spec = ActionSpec(names, self.contract["control_dt"])

    def initial_state(self, n: int) -> StateTensors:
        """Returns the memory of n robots at the start of their episodes."""
        memory = initial_memory(self.contract, n)
        return {name: torch.from_numpy(value) for name, value in memory.items()}

    def act(self, observation: Observation, state: StateTensors) -> tuple[Tensor, StateTensors]:
        """Chooses actions (n, A) in [-1, 1], and returns them with the new memory.

        Args:
            observation: at least the entries of `observation_spec`, (n, ...), of which the newest
                readings count.
            state: what `initial_state`, `act` or `reset` returned.

        Raises:
            ValueError: an entry is missing or of another shape.
        """
        self.observation_spec.check(observation)
        readings = {
            name: newest(observation[name], entry).to("cpu", entry.torch_dtype)
            for name, entry in self.observation_spec.items()
        }
        action, _, memory = self.run(readings, state)
        return action.to(next(iter(observation.values())).device), memory

    def run(
        self, readings: Observation, state: StateTensors
    ) -> tuple[Tensor, Tensor, StateTensors]:
        """Runs the graph on newest readings (n, ...): actions and commands (n, A), and the memory.
        """
        feed = feed_of(readings, state)
        action, command, *memory = map(torch.from_numpy, self._session.run(None, feed))
        names = [entry["name"] for entry in self.contract["memory"]]
        return action, command, dict(zip(names, memory, strict=True))

    def reset(self, state: StateTensors, done: Tensor) -> StateTensors:
        """Returns the memory, reset in the rows where `done`, bool (n,), is True."""
        done = done.cpu()
        start = self.initial_state(len(done))
        return {
            name: torch.where(done.view(-1, *[1] * (value.dim() - 1)), start[name], value)
            for name, value in state.items()
        }


def feed_of(readings: Observation, state: StateTensors) -> dict[str, np.ndarray]:
    """Returns what the runtime takes: contiguous arrays by the names of the graph's inputs."""
    return {
        name: np.ascontiguousarray(value.cpu().numpy())
        for name, value in {**readings, **state}.items()
    }
