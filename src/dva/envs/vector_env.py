"""The vector environment: one task, N robots, stepped, sensed and restarted together, in torch."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from dva.compute import arguments
from dva.compute.distributed import ALONE, Group
from dva.envs.environment import Transition
from dva.envs.nonfinite import check_coordinates, is_nonfinite, stop_gradients
from dva.envs.readings import Readings
from dva.envs.spectator import Spectator
from dva.envs.task_check import check_rows, check_task
from dva.sensors import Sensor
from dva.sim import Simulator, State
from dva.spec import STATE, ActionSpec, Entry, Observation, ObservationSpec
from dva.tasks.task import Task

__all__ = ["VectorEnv"]

_GOLDEN_RATIO = 0.6180339887498949
"""Its multiples spread evenly over the unit interval, however many are taken."""


class VectorEnv:
    """Steps N robots of one task at once; episodes restart by themselves. See `Environment`.

    Actions are float32 (N, A) in [-1, 1], on the environment's device; larger ones are clipped.
    Observations are dictionaries: the readings of the sensors, stacked, and "state" float32 (N, O).
    State and reward carry torch's graph back to the actions until `detach()` cuts it; no gradient
    crosses the end of an episode. Nothing is differentiated through a camera unless the environment
    was made with `image_gradient`; images are then float32 and have a graph.

    `dva.make` builds the parts and puts them together.

    Args:
        task: what the robots have to do.
        simulator: steps their physics.
        sensors: what they perceive beside "state".
        observe: names of the entries that a policy may see; the others are for critics.
        seed: seed of the starts; the same seed gives the same episodes.
        stochastic_start: False begins every episode in the same state.
        final_observations: also read the sensors in the last state of an episode that ends, which
            costs a second reading in the steps that end one (and on CUDA a host synchronisation
            every step, to know which those are).
        spectator: renders the robots for people; None: `render` raises an error.
        blind_envs: number of robots, the first ones, whose sensors are not read, for learners that
            need no more than "state" there. Sensors are for the others, N - blind_envs.
        group: processes with as many environments each: starts are those that one process with all
            of them would draw, and `state_dict` is of all.
        make_simulator: makes the same simulator for another number of environments, for
            `without_sensors`; None: there is no other number.

    Raises:
        ValueError: task and robot do not fit, or two sensors have the same name.

    Attributes:
        task: as given, and so are simulator, num_envs, blind_envs, device, action_spec,
            observation_spec, policy_spec, episode_length [control steps], stochastic_start and
            final_observations.
        on_nonfinite: None, or called after a step with non-finite environments: with the state
            before it, the action (N, A) and which environments those are, bool (N,).
    """

    def __init__(
        self,
        task: Task,
        simulator: Simulator,
        sensors: Sequence[Sensor] = (),
        observe: Sequence[str] = (STATE,),
        seed: int = 0,
        stochastic_start: bool = True,
        final_observations: bool = True,
        spectator: Spectator | None = None,
        blind_envs: int = 0,
        group: Group = ALONE,
        make_simulator: Callable[[int], Simulator] | None = None,
    ) -> None:
        self.task, self.simulator = task, simulator
        self.num_envs, self.device = simulator.num_envs, simulator.device
        self.blind_envs = blind_envs
        self._sensed = torch.arange(blind_envs, self.num_envs, device=self.device)
        self.episode_length, self.stochastic_start = task.episode_length, stochastic_start
        self.final_observations = final_observations and bool(sensors)
        self.on_nonfinite: Callable[[State, torch.Tensor, torch.Tensor], None] | None = None
        state = Entry(STATE, "vector", (check_task(task, simulator.model, simulator.device),))
        self._readings = Readings(sensors)
        self.observation_spec = ObservationSpec((*self._readings.entries, state))
        self.policy_spec = self.observation_spec.select(observe)
        self.action_spec = ActionSpec(tuple(simulator.model.action_names), task.control_dt)
        self._spectator, self._group = spectator, group
        self._make_simulator = make_simulator
        self._generator = torch.Generator(self.device).manual_seed(arguments.seed(seed))
        # On CUDA the host knows whether an episode has ended only if it waits for the device.
        self._may_look = self.device.type != "cuda" or self.final_observations
        self._ready, self._closed, self._simulation_seconds = False, False, 0.0

    @property
    def action_size(self) -> int:
        """Number of actuators A."""
        return self.action_spec.size

    @property
    def state_size(self) -> int:
        """Length of the state observation O."""
        return self.observation_spec[STATE].channels

    @property
    def images_with_gradient(self) -> tuple[str, ...]:
        """The images that are float32 and carry the graph to the actions, by name."""
        return self._readings.images_with_gradient

    @property
    def image_gradient(self) -> bool:
        """Whether the policy sees images, and all of these carry the graph to the actions."""
        images = {entry.name for entry in self.policy_spec.images}
        return bool(images) and images <= {*self.images_with_gradient}

    @property
    def recordable(self) -> bool:
        """Whether a step works on the device alone, so that a CUDA graph can hold it."""
        self._check_open()
        parts = self.simulator.recordable and self._readings.recordable
        return parts and not self._may_look and self.on_nonfinite is None

    def reset(self, seed: int | None = None) -> Observation:
        """Begins a new episode in every environment.

        Args:
            seed: restarts the random starts from this seed; None continues them.

        Returns:
            The first observation, without gradient; its stacks repeat the first reading.
        """
        self._check_open()
        if seed is not None:
            self._generator.manual_seed(arguments.seed(seed))
        return self._begin(self._start())

    def step(
        self, action: torch.Tensor
    ) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Applies an action for one control step, and restarts the episodes that end.

        An environment whose action, state or reward is non-finite (or whose state has an entry
        above 1e6 in size) terminates with reward 0 and passes no gradient.

        Args:
            action: float32 (N, A); clipped to [-1, 1].

        Returns:
            observation: after the restarts; where an episode ended, the first of the next one,
                without gradient.
            reward: (N,), differentiable in this and the earlier actions.
            terminated: bool (N,): the task failed.
            truncated: bool (N,): the time ran out and the task did not fail.
            info: "final_observation", before the restarts and with its graph: "state" (zero where
                it was non-finite), and all other entries if `final_observations`; "nonfinite" bool
                (N,); "episode_return" float (N,) and "episode_length" int (N,), this step included.

        Raises:
            RuntimeError: before the first reset, or after close.
            TypeError, ValueError: the action is no tensor, or its shape, dtype or device is wrong.
        """
        self._check_ready()
        arguments.check_tensor("action", action, (self.num_envs, self.action_size), self.device)
        before = self._state
        after = self.transition(before, action)
        nonfinite = after.nonfinite
        self._episode_step = self._episode_step + 1
        self._episode_return = self._episode_return + after.reward.detach()
        truncated = (self._episode_step >= self._time_limit) & ~after.terminated
        info: dict[str, Any] = {
            "final_observation": {STATE: after.observation},
            "nonfinite": nonfinite,
            "episode_return": self._episode_return,
            "episode_length": self._episode_step,
        }
        if self.on_nonfinite is not None and bool(nonfinite.any()):
            self.on_nonfinite(before.detach(), action.detach(), nonfinite)
        self._state, self._described = after.state, after.observation
        self._finish_step(after.terminated | truncated, info["final_observation"])
        return self.observation, after.reward, after.terminated, truncated, info

    def transition(self, state: State, action: torch.Tensor) -> Transition:
        """Computes one control step of any states, and leaves the environment as it is.

        Args:
            state: state of N robots.
            action: float32 (N, A); clipped to [-1, 1].

        Raises:
            RuntimeError: after close.
            ValueError: a function of the task returns another shape than for two robots.
        """
        self._check_open()
        clipped = action.nan_to_num(0.0, 0.0, 0.0).clamp(-1.0, 1.0)
        began = time.perf_counter()
        after = self.simulator.step(state, clipped)
        self._simulation_seconds += time.perf_counter() - began
        nonfinite = is_nonfinite(after, action)
        after = after.where(nonfinite, state.detach())
        reward = self.task.reward(after.joint_q, after.joint_qd, clipped)
        check_rows(self.task, "reward", reward, (state.num_envs,))
        nonfinite = nonfinite | ~reward.detach().isfinite()
        reward = reward.masked_fill(nonfinite, 0.0)
        described = self.task.state_observation(after.joint_q, after.joint_qd, clipped)
        check_rows(self.task, "state_observation", described, (state.num_envs, self.state_size))
        described = described.masked_fill(nonfinite[:, None], 0.0)
        stop_gradients(nonfinite, *after.tensors().values(), clipped)
        failed = self.task.terminated(after.joint_q.detach(), after.joint_qd.detach())
        check_rows(self.task, "terminated", failed, (state.num_envs,))
        return Transition(after, reward, described, failed | nonfinite, nonfinite)

    def _finish_step(self, done: torch.Tensor, final_observation: Observation) -> None:
        """Reads the sensors, restarts finished episodes, and reads their first states."""
        # Any, of all processes': starts are drawn for all.
        begins = self._group.any(bool(done.any())) if self._may_look else True
        if self.final_observations or not begins:
            self._readings.push(self._seen_state())
            if self.final_observations:
                final_observation.update(self._readings.stacks)
        if begins:
            self._restart(done)
            self._readings.restart(
                self._seen_state(), done[self.blind_envs :], pushed=self.final_observations
            )

    def _seen_state(self) -> State:
        """Picks the robots whose sensors are read."""
        return self._state.select(self._sensed) if self.blind_envs else self._state

    def _restart(self, done: torch.Tensor) -> None:
        """Begins new episodes where `done`; `where` lets no gradient cross."""
        start = self._start()
        described = self._describe(start)
        self._state = self._state.where(done, start)
        self._described = torch.where(done[:, None], described, self._described)
        self._episode_step = self._episode_step.masked_fill(done, 0)
        self._episode_return = self._episode_return.masked_fill(done, 0.0)
        self._time_limit = self._time_limit.masked_fill(done, self.episode_length)

    def without_sensors(self, seed: int, num_envs: int | None = None) -> "VectorEnv":
        """Makes environments of the same robot and task, whose policies see the state alone: no
        sensor is read, and starts come from this seed. Only the simulator is shared, if they are as
        many as these.

        Args:
            seed: of the starts.
            num_envs: number of environments; None: as many as these are.

        Raises:
            ValueError: another number is asked for, and this environment was made of parts, so that
                it cannot make another simulator.
        """
        self._check_open()
        simulator = self.simulator
        if num_envs is not None and num_envs != self.num_envs:
            if self._make_simulator is None:
                raise ValueError(
                    f"num_envs is {num_envs}; it must be {self.num_envs}, as the simulator has it. "
                    "An environment of dva.make can also make others."
                )
            simulator = self._make_simulator(num_envs)
        return VectorEnv(
            self.task, simulator, (), (STATE,), seed, self.stochastic_start,
            make_simulator=self._make_simulator,
        )  # fmt: skip

    def detach(self) -> None:
        """Cuts the graph: what comes later has no gradient to actions before this call."""
        self._check_ready()
        self._state, self._described = self._state.detach(), self._described.detach()
        self._readings.detach()

    def begin_at(self, robots: torch.Tensor, others: torch.Tensor) -> None:
        """Begins new episodes of robots without sensors in the states in which others are.

        Args:
            robots: int64 (n,), all different and below `blind_envs`: sensors are not read anew.
            others: int64 (n,); their graph is not followed.
        """
        self._check_ready()
        there = self._state.detach().select(others)
        self._state = self._state.replace(robots, there)
        self._described = self._described.index_copy(0, robots, self._described.detach()[others])
        self._episode_step = self._episode_step.index_fill(0, robots, 0)
        self._episode_return = self._episode_return.index_fill(0, robots, 0.0)
        self._time_limit = self._time_limit.index_fill(0, robots, self.episode_length)

    def stagger(self) -> None:
        """Lets the time of the present episodes run out one after another, evenly over the length
        of an episode, so that the environments do not restart in step from then on.

        Environments that are neighbours end far apart, so that any few of them are spread too.
        """
        self._check_ready()
        every = torch.arange(1, self.num_envs * self._group.size + 1, dtype=torch.float64)
        share = every[self._group.rows] * _GOLDEN_RATIO % 1.0
        limit = (share * self.episode_length).ceil().long().clamp(1, self.episode_length)
        self._time_limit = self._episode_step + limit.to(self.device)

    def close(self) -> None:
        """Lets go of simulator and sensors, once; the environment cannot be used afterwards."""
        if self._closed:
            return
        self._closed = True
        self._readings.close()
        self._spectator = self._make_simulator = None
        del self.simulator

    @property
    def observation(self) -> Observation:
        """The present observation, as the last reset, step or set_state returned it."""
        self._check_ready()
        return {**self._readings.stacks, STATE: self._described}

    def newest(self, name: str) -> torch.Tensor:
        """Returns the newest reading (N, C, ...) of a sensor, as a view of its stack."""
        self._check_ready()
        entry = self.observation_spec.select((name,))[name]
        return self._described if name == STATE else self._readings.newest(entry)

    def render(
        self, image_size: int | Sequence[int] = 256, env_ids: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Renders the present states from the task's view, for people.

        Args:
            image_size: (height, width), or one number for a square [pixels].
            env_ids: which environments; None: all. Each size and number of environments gets a
                camera of its own, built once.

        Returns:
            uint8 (len(env_ids), 3, H, W).

        Raises:
            RuntimeError: the environment has no spectator.
            ValueError: an environment does not exist, or the image size is not allowed.
        """
        self._check_ready()
        if self._spectator is None:
            raise RuntimeError("This environment has no spectator. Make it with dva.make.")
        ids = arguments.env_ids(env_ids, self.num_envs)
        return self._spectator.render(
            self._state.select(torch.tensor(ids, device=self.device)), image_size
        )

    def pop_seconds(self) -> dict[str, float]:
        """Returns the wall time spent in "rendering" (all sensors) and "simulation" since the last
        call; on CUDA the time of the launches."""
        seconds = {"rendering": self._readings.seconds, "simulation": self._simulation_seconds}
        self._readings.seconds = self._simulation_seconds = 0.0
        return seconds

    @property
    def state(self) -> State:
        """The present physics state, with its graph; `clone()` it to keep it."""
        self._check_ready()
        return self._state

    def set_state(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> Observation:
        """Begins a new episode in every environment from given coordinates.

        Args:
            joint_q: float32 (N, nq) [m, rad]; copied with its graph.
            joint_qd: float32 (N, nd) [m/s, rad/s]; copied with its graph.

        Returns:
            The first observation, as `reset` does.

        Raises:
            TypeError, ValueError: an argument is no tensor, is not finite, or has the wrong shape,
                dtype or device.
        """
        self._check_open()
        model, n = self.simulator.model, self.num_envs
        check_coordinates("joint_q", joint_q, (n, model.num_coords), self.device)
        check_coordinates("joint_qd", joint_qd, (n, model.num_dofs), self.device)
        return self._begin(self.simulator.new_state(joint_q.clone(), joint_qd.clone()))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies everything needed to continue bit for bit, without gradients.

        Returns:
            "physics.joint_q" and whatever else the state carries, "observed.<name>" of every entry,
            "episode.step", "episode.return", "episode.limit" and "generator".
        """
        tensors = self.tensors().items()
        copies = {name: self._group.gather(x.detach()).clone() for name, x in tensors}
        return {**copies, "generator": self._generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Continues where another environment stopped, with the same observation.

        Args:
            state_dict: from `state_dict()` of an environment of the same task, size and sensors.

        Raises:
            ValueError: an entry is missing, unknown, or of another shape or type; nothing has
                changed then.
        """
        self._check_open()
        expected = self._layout()
        arguments.check_state(state_dict, expected)
        own = {name: state_dict[name].detach()[self._group.rows] for name in expected}
        loaded = {name: x.contiguous().to(self.device, copy=True) for name, x in own.items()}
        generator = torch.Generator(self.device)
        try:
            generator.set_state(state_dict["generator"].cpu())
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"Entry 'generator' is no state of a random generator on {self.device}: {error}"
            ) from error
        self.put_tensors(loaded)
        self._generator, self._ready = generator, True

    def _layout(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Returns the shape, over all processes, and the type of every tensor of the state."""
        size = self._group.size
        if self._ready:
            tensors = self.tensors()
        else:  # a first episode has them, and leaves no trace
            draws = self._generator.get_state()
            try:
                self._begin(self._start())
                tensors = self.tensors()
            finally:
                self._generator.set_state(draws)
                self._ready = False
        return {name: ((len(x) * size, *x.shape[1:]), x.dtype) for name, x in tensors.items()}

    @property
    def generator(self) -> torch.Generator:
        """The random generator from which starts are drawn."""
        return self._generator

    def tensors(self) -> dict[str, torch.Tensor]:
        """Returns the tensors of `state_dict` themselves, not copies, without the generator."""
        self._check_ready()
        return {
            **{f"physics.{name}": x for name, x in self._state.tensors().items()},
            **{f"observed.{name}": x for name, x in self.observation.items()},
            "episode.step": self._episode_step,
            "episode.return": self._episode_return,
            "episode.limit": self._time_limit,
        }

    def put_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Continues from tensors such as `tensors` returns, without copying them."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}

        self._state = State.from_tensors(part("physics."))
        observed = part("observed.")
        self._described = observed.pop(STATE)
        self._readings.put(observed)
        self._episode_step = tensors["episode.step"]
        self._episode_return = tensors["episode.return"]
        self._time_limit = tensors["episode.limit"]

    def _begin(self, state: State) -> Observation:
        self._state = state
        self._described = self._describe(state)
        self._episode_step = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self._episode_return = torch.zeros(self.num_envs, device=self.device)
        self._time_limit = torch.full_like(self._episode_step, self.episode_length)
        self._readings.begin(self._seen_state())
        self._ready = True
        return self.observation

    def _start(self) -> State:
        # Always N starts: on CUDA the host does not know which ones are used.
        every, own = self.num_envs * self._group.size, self._group.rows
        joint_q, joint_qd = self.task.start(
            every, self._generator, self.device, self.stochastic_start
        )
        model = self.simulator.model
        check_rows(self.task, "start", joint_q, (every, model.num_coords))
        check_rows(self.task, "start", joint_qd, (every, model.num_dofs))
        return self.simulator.new_state(joint_q[own].contiguous(), joint_qd[own].contiguous())

    def _describe(self, start: State) -> torch.Tensor:
        """Computes the task's observation (N, O) of states that no action has led to."""
        no_action = torch.zeros(self.num_envs, self.action_size, device=self.device)
        described = self.task.state_observation(start.joint_q, start.joint_qd, no_action)
        check_rows(self.task, "state_observation", described, (self.num_envs, self.state_size))
        return described

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("This environment is closed. Make a new one with dva.make.")

    def _check_ready(self) -> None:
        self._check_open()
        if not self._ready:
            raise RuntimeError(
                "This environment has no state yet. Call reset() (or set_state) first."
            )
