"""What algorithms of this package share: counting, metrics, recorded blocks, saving.

An algorithm need not be one; the contract is `Algorithm`.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from dva.compute.random_streams import stream_seed
from dva.compute.recording import Blocks, CudaRecorder, FixedState, Recorder
from dva.compute.timing import PhaseTimer
from dva.envs import Environment
from dva.learning.algorithm import LargeState, Metrics, TrainingContext
from dva.learning.episodes import EpisodeHistory
from dva.learning.optimizer import linear_learning_rate
from dva.learning.state import add_prefix, strip_prefix
from dva.policies import SavedPolicy

__all__ = ["Experience", "Learner"]

_WARM_UP = 3
"""Iterations before blocks are recorded: they compile kernels and allocate what is kept."""


class Experience(Protocol):
    """What a learner counts of the steps that its environments made; the first axis is time."""

    @property
    def done(self) -> Tensor:
        """bool (h, N), where an episode ended."""
        ...

    @property
    def episode_returns(self) -> Tensor:
        """(h, N) undiscounted return of the episode so far."""
        ...

    @property
    def episode_lengths(self) -> Tensor:
        """(h, N) steps of the episode so far."""
        ...

    @property
    def nonfinite(self) -> Tensor:
        """bool (h, N), where the environment reset itself because of a non-finite state."""
        ...


class Learner:
    """Runs iterations, counts, and saves what `parts` names. See `Algorithm`.

    A method is a subclass that sets `policy` and has `train_once` and `set_learning_rates`.

    Args:
        env: N environments; training runs on their device.
        context: planned steps, seed, threads, and whether blocks are recorded as CUDA graphs after
            a warm-up.
    """

    parts: tuple[str, ...] = ("env",)
    """Attributes that are saved beside the policy."""
    records_env = True
    """Whether the steps of the environment are in recorded blocks, inside `stepping`, as far as it
    allows that. If not, blocks hold updates only."""
    policy: SavedPolicy

    def __init__(self, env: Environment, context: TrainingContext) -> None:
        self.env, self.context = env, context
        self.threads, self.group = context.threads, context.group
        self.device = torch.device(env.device)
        self.iteration = 0
        """Finished iterations."""
        self.env_steps = 0
        """Finished steps, summed over environments."""
        self.generators: dict[str, torch.Generator] = {}
        """Sources of randomness by name; saved."""
        # As many as there are environments: those that end soonest are the worst of them.
        self.episodes = EpisodeHistory(max(64, env.num_envs * self.group.size), self.group)
        self.measured = slice(None)
        """Environments in which the policy acts: returns are of their episodes."""
        self.blocks = Blocks()
        """Runs the blocks of `train_once`."""
        on_cuda = self.device.type == "cuda" and context.threads is None
        self._cuda_graphs = context.cuda_graphs and on_cuda
        self._recorded = False
        self._fixed: FixedState | None = None
        self.collecting = False
        """Whether the present iteration only collects: blocks are not recorded before they run."""
        self._since_start = 0
        """Iterations since the algorithm was made or loaded, without those that only collected."""

    @property
    def large_state(self) -> LargeState | None:
        """None: its state is small."""
        return None

    # ------------------------------------------------------------------ an iteration

    def iterate(self) -> Metrics:
        """Runs one training iteration.

        Returns:
            Metrics by name. "return" and "episode_length" are means over the last finished
            episodes, None until one has finished; "nonfinite_count" counts environments reset or
            dropped and updates skipped because of non-finite numbers; a metric that is not finite
            itself is None; times are in seconds, None where a recorded block hides them.
        """
        timer = PhaseTimer(self.device)
        rate = self.set_learning_rates()
        if self._fixed is not None and self._fixed.left:
            self._forget_recording()
        if self._may_record and not self._recorded and self._since_start >= _WARM_UP:
            experience, metrics = self._record(timer)
        else:
            experience, metrics = self.train_once(timer)
        self._since_start += not self.collecting
        return self._finish_iteration(experience, metrics, timer, rate)

    def train_once(self, timer: PhaseTimer) -> tuple[Experience, dict[str, Tensor]]:
        """Runs the blocks of one iteration, through `self.blocks`, each in a phase of the timer.

        Returns:
            The steps that were made, and metrics on the device by name; among them
            "nonfinite_count", and "skipped_updates", which counts the policy's updates that were
            skipped or had a gradient of 0. "updates" is 1 where it is not given. Of several
            processes' metrics the mean is reported: what is a sum over environments must be
            summed over `self.group` before.
        """
        raise NotImplementedError

    def set_learning_rates(self) -> float | None:
        """Gives every optimizer its rate for the present iteration; returns the policy's, or None
        where only the device knows it and `train_once` has it among its metrics."""
        raise NotImplementedError

    def whole_episodes(self, experience: Experience) -> Tensor:
        """Tells where an episode ended that had all its time: bool (h, N)."""
        return experience.done

    def new_generator(self, stream: str) -> torch.Generator:
        """Makes a random generator on the device for a stream of its own."""
        seed = stream_seed(self.context.seed, stream)
        return torch.Generator(self.device).manual_seed(seed)

    def scheduled(self, first: float, final: float) -> float:
        """Interpolates a value from the first to the last planned step."""
        return linear_learning_rate(first, final, self.env_steps, self.context.env_steps)

    def _finish_iteration(
        self,
        experience: Experience,
        on_device: dict[str, Tensor],
        timer: PhaseTimer,
        rate: float | None,
    ) -> Metrics:
        """Counts the iteration; reads the device once and names all metrics."""
        self.iteration += 1
        self.env_steps += experience.done.numel() * self.group.size
        self.episodes.add(
            self.whole_episodes(experience)[:, self.measured],
            experience.episode_returns[:, self.measured],
            experience.episode_lengths[:, self.measured],
        )
        restarted = self.group.sum(experience.nonfinite.sum())
        on_device["nonfinite_count"] = on_device["nonfinite_count"] + restarted
        values = torch.stack([value.detach().double() for value in on_device.values()])
        numbers = self.group.mean(values).tolist()
        mean_return, mean_length = self.episodes.mean()
        metrics: Metrics = {
            "return": mean_return,
            "episode_length": mean_length,
            **{
                name: number if math.isfinite(number) else None
                for name, number in zip(on_device, numbers, strict=True)
            },
        }
        metrics.setdefault("updates", 1)
        metrics.setdefault("learning_rate", rate)
        metrics.update({f"seconds_{name}": value for name, value in timer.seconds().items()})
        for name, value in self.env.pop_seconds().items():
            metrics[f"seconds_{name}"] = None if self._fixed else value
        return metrics

    # ------------------------------------------------------------------ recording

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Surrounds all steps of the environment that lie in a recorded block: its state passes
        from one iteration to the next in fixed memory."""
        if self._fixed:
            self._fixed.leave()
        yield
        if self._fixed:
            self._fixed.keep()

    @property
    def _may_record(self) -> bool:
        return self._cuda_graphs and (self.env.recordable or not self.records_env)

    def _record(self, timer: PhaseTimer) -> tuple[Experience, dict[str, Tensor]]:
        """Runs an iteration and records its blocks; where that fails, goes on without graphs."""
        before = self.state_dict()
        if self.records_env:
            self._fixed = FixedState(self.env)
        failure = ""
        try:
            self.blocks = Blocks(self._new_recorder())
            self._recorded = True
            return self.train_once(timer)
        except RuntimeError as error:
            failure = " ".join(str(e) for e in (error.__context__, error) if e is not None)
        if self.group.size > 1:  # the others are in the middle of an exchange
            raise RuntimeError(
                f"CUDA graphs could not record an iteration ({failure}). --no-cuda-graphs trains "
                "without them, more slowly."
            )
        # Beyond the except block, which keeps what has failed and its memory.
        warnings.warn(
            f"CUDA graphs could not record an iteration ({failure}); training goes on without "
            "them, more slowly. --no-cuda-graphs avoids the attempt.",
            stacklevel=3,
        )
        self._cuda_graphs = False
        self.load_state_dict(before)
        return self.train_once(timer)

    def _forget_recording(self) -> None:
        self.blocks, self._fixed = Blocks(), None
        self._recorded, self._since_start = False, 0

    def _new_recorder(self) -> Recorder:
        generators = [*self.generators.values()]
        return CudaRecorder(
            self.device, [*generators, self.env.generator] if self.records_env else generators
        )

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that continuing bit for bit needs: tensors with dotted names."""
        state = add_prefix("policy", self.policy.state_dict())
        for name in self.parts:
            part: Any = getattr(self, name)
            state |= add_prefix(name, part.state_dict())
        return {
            **state,
            **{f"generator.{name}": x.get_state() for name, x in self.generators.items()},
            "episodes": self.episodes.state(),
            "iteration": torch.tensor(self.iteration),
            "env_steps": torch.tensor(self.env_steps),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned, for the same configuration."""
        self._forget_recording()  # it reads other memory
        self.policy.load_state_dict(strip_prefix("policy", state))
        for name in self.parts:
            getattr(self, name).load_state_dict(strip_prefix(name, state))
        # New ones: a recording that failed may leave a generator that is waiting for its end.
        for name in self.generators:
            self.generators[name] = torch.Generator(self.device)
            self.generators[name].set_state(state[f"generator.{name}"].cpu())
        self.episodes.load_state(state["episodes"])
        self.iteration = int(state["iteration"])
        self.env_steps = int(state["env_steps"])
