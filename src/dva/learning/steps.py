"""A replay of single steps: each reading is kept once, stacks and returns are put together later.

Every environment has a ring of slots. A slot holds the newest readings of one observation and what
led to it: reward, age in the episode, and whether the episode ended there. The action that was
taken there follows with the next step. The end of an episode takes two slots, the final
observation, in which nothing is done, and the first one of the next episode; so the rings move at
paces of their own, and slots have numbers that only grow, of which the ring keeps the last ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dva.compute.arguments import require
from dva.compute.errors import require_known
from dva.envs.frames import newest
from dva.learning.step_files import StepFiles
from dva.spec import Observation, ObservationSpec

__all__ = ["Memory", "Sequences", "StepReplay", "Transitions", "bytes_per_step"]

Memory = Literal["device", "host"]
"""Where a replay lies: with the networks, or in the host's memory, which is larger and slower."""
MEMORIES = ("device", "host")


@dataclass(frozen=True)
class Transitions:
    """Holds B transitions of n steps, or fewer where the episode ends or nothing newer is known."""

    observation: Observation
    """(B, ...) by name, stacked."""
    action: Tensor
    """(B, A)."""
    reward: Tensor
    """(B,), the discounted sum of the rewards."""
    discount: Tensor
    """(B,), what the value of the next observation is multiplied by: gamma^k after k steps, 0 where
    the episode terminated."""
    next_observation: Observation
    """(B, ...) by name, stacked."""


@dataclass(frozen=True)
class Sequences:
    """Holds B sequences of L slots one after the other, which may cross into the next episode."""

    observation: Observation
    """(B, L, ...) by name: single readings, not stacked."""
    action: Tensor
    """(B, L, A) that was taken in the slot; 0 in the last one of an episode."""
    reward: Tensor
    """(B, L) that led to the slot; 0 in the first one of an episode."""
    first: Tensor
    """bool (B, L), where an episode begins."""
    last: Tensor
    """bool (B, L), where an episode ends: its final observation."""
    terminated: Tensor
    """bool (B, L), where it ends because the task failed."""


class StepReplay:
    """Keeps the last steps of N environments. See `LargeState`.

    All of it lies in fixed memory, the places to write to as well, and sampling has fixed shapes:
    with memory "device" both can be recorded as CUDA graphs.

    Args:
        spec: what is kept.
        action_size: A.
        num_envs: N.
        capacity: number of slots of all environments together.
        device: where samples are wanted, and random numbers are drawn.
        memory: "device", or "host" to keep the slots in the host's memory and move samples.

    Raises:
        ValueError: the memory is neither, or the capacity is too small for its frame stacks.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        action_size: int,
        num_envs: int,
        capacity: int,
        device: torch.device,
        memory: Memory = "device",
    ) -> None:
        require_known("memory", memory, MEMORIES)
        self.spec, self.num_envs, self.device = spec, num_envs, device
        self.slots = capacity // num_envs
        """Slots of one environment."""
        self._stack = max(entry.frame_stack for entry in spec.values())
        smallest = num_envs * (self._stack + 2)
        allowed = f"at least {smallest:,}, for {num_envs:,} environments"
        require("capacity", capacity, capacity >= smallest, allowed)
        home = device if memory == "device" else torch.device("cpu")
        self._moves = home != device
        rows = num_envs * self.slots
        # Not zeros: memory of a CPU is then taken as it fills.
        readings = {
            _reading(name): torch.empty((rows, *entry.shape), dtype=entry.torch_dtype, device=home)
            for name, entry in spec.items()
        }
        self._held = {
            **readings,
            "action": torch.zeros(rows, action_size, device=home),
            "reward": torch.zeros(rows, device=home),
            "age": torch.zeros(rows, dtype=torch.int32, device=home),
            "last": torch.zeros(rows, dtype=torch.bool, device=home),
            "terminated": torch.zeros(rows, dtype=torch.bool, device=home),
        }
        """What each slot holds, slots of one environment one after the other."""
        self._first_row = torch.arange(num_envs, device=home) * self.slots
        self._count = torch.zeros(num_envs, dtype=torch.int64, device=home)
        """(N,) slots filled so far; the newest one has no action yet."""
        # Last slots are no start of a transition, and a draw may not be repeated: so transitions
        # have numbers too, of which each step adds the same one in all environments.
        self._start = torch.zeros(rows, dtype=torch.int64, device=home)
        """Slot where a transition starts, in rings such as those of the slots."""
        self._added = torch.zeros(1, dtype=torch.int64, device=home)
        """(1,) steps added so far, so the number of the next transition."""
        self._oldest = torch.zeros(num_envs, dtype=torch.int64, device=home)
        """(N,) the first transition whose stack is still complete."""
        self.added = 0
        """Steps added to each environment so far."""
        self._files = StepFiles(self._held, self._first_row, self.slots)

    # ------------------------------------------------------------------ adding

    @torch.no_grad()
    def begin(self, observation: Mapping[str, Tensor]) -> None:
        """Forgets everything, and begins an episode in every environment.

        Args:
            observation: the first one, (N, ...) by name: stacked, or the readings alone.
        """
        for counter in (self._count, self._added, self._oldest):
            counter.zero_()
        self.added = 0
        self._files.forget()
        no = torch.zeros_like(self._count)
        self._write(self._count, observation, no.float(), no, no.bool(), no.bool())
        self._count += 1

    @torch.no_grad()
    def add(
        self,
        action: Tensor,
        reward: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        final_observation: Mapping[str, Tensor],
        observation: Mapping[str, Tensor],
    ) -> None:
        """Adds a step of every environment.

        Args:
            action: (N, A) that was taken.
            reward: (N,) that followed.
            terminated: bool (N,), where the episode ended because the task failed.
            truncated: bool (N,), where it ended for another reason.
            final_observation: what followed before any restart, (N, ...) by name: stacked, or the
                readings alone.
            observation: the same after the restarts.
        """
        action, reward, terminated = self._keep(action), self._keep(reward), self._keep(terminated)
        done = terminated | self._keep(truncated)
        newest_rows = self._rows(self._count - 1)
        self._held["action"][newest_rows] = action
        self._start[self._first_row + self._added % self.slots] = self._count - 1
        age = self._held["age"][newest_rows].long() + 1
        self._write(self._count, final_observation, reward, age, done, terminated)
        # In the next slot where a new episode begins, in the same one elsewhere.
        self._write(
            self._count + done,
            observation,
            reward.masked_fill(done, 0.0),
            age.masked_fill(done, 0),
            torch.zeros_like(done),
            torch.zeros_like(done),
        )
        self._count += 1 + done.long()
        self._added += 1
        self.added += 1
        self._let_go()

    def _write(
        self,
        slots: Tensor,
        observation: Mapping[str, Tensor],
        reward: Tensor,
        age: Tensor,
        last: Tensor,
        terminated: Tensor,
    ) -> None:
        """Fills a slot (N,) of every environment; its action is 0 until one is taken."""
        rows = self._rows(slots)
        for name, entry in self.spec.items():
            reading = newest(observation[name].detach(), entry)
            self._held[_reading(name)][rows] = self._keep(reading).to(entry.torch_dtype)
        self._held["action"][rows] = 0.0
        self._held["reward"][rows] = reward
        self._held["age"][rows] = age.to(torch.int32)
        self._held["last"][rows] = last
        self._held["terminated"][rows] = terminated

    def _let_go(self) -> None:
        """Counts on past transitions whose stack has lost a reading.

        Of one step these are at most as many as share the first reading of an episode, and one.
        """
        ahead = torch.arange(self._stack + 1, device=self._added.device)
        number = self._oldest[:, None] + ahead
        start = self._start[self._first_row[:, None] + number % self.slots]
        age = self._held["age"][self._first_row[:, None] + start % self.slots]
        needed = start - age.clamp(max=self._stack - 1)
        lost = (needed < (self._count - self.slots)[:, None]) & (number < self._added)
        self._oldest += lost.sum(1)

    # ------------------------------------------------------------------ sampling

    def observation(self) -> Observation:
        """Returns the present observation of every environment, (N, ...) by name, stacked."""
        env = torch.arange(self.num_envs, device=self._count.device)
        return self._stacks(env, self._count - 1)

    @torch.no_grad()
    def transitions(
        self, size: int, n_step: int, discount: float, generator: torch.Generator
    ) -> Transitions:
        """Draws transitions uniformly, with replacement, from all whose stacks are complete.

        Args:
            size: B.
            n_step: number of steps after which the next observation is taken; it is taken sooner at
                the end of the episode or at the newest slot.
            discount: gamma, of one step.
            generator: draws them, on the device.

        Raises:
            RuntimeError: no step has been added yet.
        """
        self._require_steps(1)
        env, rank = self._draw(self._added - self._oldest, size, generator)
        offset = self._first_row[env]
        start = self._start[offset + (self._oldest[env] + rank) % self.slots]
        newest_slot = self._count[env] - 1
        slot, alive = start, torch.ones_like(start, dtype=torch.bool)
        total = torch.zeros(size, device=start.device)
        factor = torch.ones_like(total)
        for _ in range(n_step):
            slot = slot + alive
            rows = offset + slot % self.slots
            total = total + torch.where(alive, factor * self._held["reward"][rows], 0.0)
            factor = torch.where(alive, factor * discount, factor)
            factor = factor.masked_fill(self._held["terminated"][rows], 0.0)
            alive = alive & ~self._held["last"][rows] & (slot < newest_slot)
        return Transitions(
            observation=self._stacks(env, start),
            action=self._give(self._held["action"][offset + start % self.slots]),
            reward=self._give(total),
            discount=self._give(factor),
            next_observation=self._stacks(env, slot),
        )

    @torch.no_grad()
    def sequences(self, size: int, length: int, generator: torch.Generator) -> Sequences:
        """Draws sequences uniformly, with replacement, from all of whose slots are complete.

        Args:
            size: B.
            length: L.
            generator: draws them, on the device.

        Raises:
            RuntimeError: fewer than L steps have been added.
            ValueError: no ring is that long.
        """
        allowed = f"below {self.slots:,}, which is what the replay keeps of each environment"
        require("length", length, 1 <= length < self.slots, allowed)
        self._require_steps(length)
        oldest = (self._count - self.slots).clamp(min=0)
        env, rank = self._draw((self._count - length - oldest).clamp(min=0), size, generator)
        slots = (oldest[env] + rank)[:, None] + torch.arange(length, device=env.device)
        rows = (self._first_row[env, None] + slots % self.slots).flatten()

        def gather(name: str) -> Tensor:
            found = self._held[name].index_select(0, rows)
            return self._give(found.unflatten(0, (size, length)))

        return Sequences(
            observation={name: gather(_reading(name)) for name in self.spec},
            action=gather("action"),
            reward=gather("reward"),
            first=gather("age") == 0,
            last=gather("last"),
            terminated=gather("terminated"),
        )

    def _draw(
        self, choices: Tensor, size: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draws from `choices`, (N,) of each environment: the environment and which of them."""
        # float64, in which each of millions is as likely as the others.
        uniform = torch.rand(size, generator=generator, device=self.device, dtype=torch.float64)
        up_to = choices.cumsum(0)
        drawn = (self._keep(uniform) * up_to[-1]).long()
        env = torch.searchsorted(up_to, drawn, right=True)
        return env, drawn - (up_to - choices)[env]

    def _stacks(self, env: Tensor, slots: Tensor) -> Observation:
        """Assembles the observations of slots (B,), by the rule of `dva.envs.frames`."""
        offset = self._first_row[env]
        age = self._held["age"][offset + slots % self.slots]
        found = {}
        for name, entry in self.spec.items():
            back = torch.arange(entry.frame_stack - 1, -1, -1, device=slots.device)
            before = torch.minimum(age[:, None], back)
            rows = offset[:, None] + (slots[:, None] - before) % self.slots
            readings = self._held[_reading(name)].index_select(0, rows.flatten())
            found[name] = self._give(readings.view(len(slots), *entry.stacked_shape))
        return found

    def _rows(self, slots: Tensor) -> Tensor:
        """Finds slots (N,), one of each environment, in memory."""
        return self._first_row + slots % self.slots

    def _require_steps(self, steps: int) -> None:
        if self.added < steps:
            raise RuntimeError(
                f"The replay has {self.added} steps of each environment, and sampling needs "
                f"{steps}. Add more first."
            )

    def _keep(self, value: Tensor) -> Tensor:
        return value.to(self._count.device) if self._moves else value

    def _give(self, value: Tensor) -> Tensor:
        return value.to(self.device) if self._moves else value

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Tensor]:
        """Returns how much it has seen; what it has seen is apart."""
        return {"count": self._count, "oldest": self._oldest, "added": self._added}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes back to an earlier moment: steps added since are forgotten.

        Where they took the place of older ones, these are missing until as many are added again.
        """
        for name, counter in self.state_dict().items():
            counter.copy_(state[name])
        self.added = int(state["added"])

    def save(self, folder: Path, live: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Writes the slots filled since the last call; see `LargeState.save`."""
        counts = self._count.tolist()
        return {"added": self.added, "counts": counts, **self._files.save(folder, live, counts)}

    def load(self, folder: Path, marker: Mapping[str, Any]) -> None:
        """Restores the slots of a marker; see `LargeState.load`."""
        counts = [int(count) for count in marker["counts"]]
        if len(counts) != self.num_envs:
            raise ValueError(
                f"the replay is of {len(counts)} environments, and these are {self.num_envs}"
            )
        self._files.load(folder, [int(number) for number in marker["pieces"]], counts)
        self._count.copy_(torch.tensor(counts))
        self.added = int(marker["added"])
        self._added.fill_(self.added)
        for env, count in enumerate(counts):
            self._number_transitions(env, count)

    def _number_transitions(self, env: int, count: int) -> None:
        """Finds where the transitions of an environment start, from its last slots."""
        oldest = max(0, count - self.slots)
        slots = torch.arange(oldest, count - 1, device=self._count.device)
        rows = env * self.slots + slots % self.slots
        starts = ~self._held["last"][rows]
        slots, age = slots[starts], self._held["age"][rows][starts]
        numbers = self.added - len(slots) + torch.arange(len(slots), device=slots.device)
        self._start[env * self.slots + numbers % self.slots] = slots
        lost = (slots - age.clamp(max=self._stack - 1) < count - self.slots).sum()
        self._oldest[env] = self.added - len(slots) + lost


def bytes_per_step(spec: ObservationSpec, action_size: int) -> int:
    """Counts the bytes that a replay needs for a slot: readings, action, and 18 for the rest."""
    readings = [math.prod(entry.shape) * entry.torch_dtype.itemsize for entry in spec.values()]
    return sum(readings) + 4 * action_size + 18


def _reading(name: str) -> str:
    return f"reading.{name}"
