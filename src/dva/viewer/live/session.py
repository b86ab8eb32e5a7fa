"""What happens in a viewer, without a browser: environments, what drives them, and controls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dva.compute import arguments
from dva.compute.errors import UsageError, require_known, usage_errors
from dva.policies import NO_MEMORY, Policy, RandomPolicy, ZeroPolicy
from dva.spec import STATE, Entry, StateTensors
from dva.viewer.live.push import pushable, velocity_change
from dva.viewer.live.saliency import saliency
from dva.viewer.live.source import Loaded, Source
from dva.viewer.live.trace import Trace

__all__ = ["POSE", "SPEEDS", "Episode", "Session"]

POLICY, ZERO, RANDOM, SLIDERS, POSE = "policy", "zero", "random", "action sliders", "joint sliders"
SPEEDS = (0.05, 4.0)
"""Slowest and fastest, in simulated seconds a second."""


@dataclass(frozen=True)
class Episode:
    """One that has ended."""

    robot: int
    total: float
    """Its return."""
    length: int
    """Control steps."""
    failed: bool
    """Whether the task said so; otherwise the time ran out."""


class Session:
    """Lets robots act, and does what the controls ask for.

    It knows neither time nor browser: `step` is one control step. Use it from one thread.

    Args:
        source: the run or task.
        num_envs: number of robots N.

    Attributes:
        source, env: as given, and its environments.
        driver: what chooses actions, of `drivers`.
        loaded: the policy of the run, and which checkpoint it is of; None without a run.
        actions: (A,) in [-1, 1], those of the driver "action sliders", for all robots.
        playing, speed: whether time passes, and how fast [simulated seconds a second].
        follows_training: whether the policy is to be loaded anew whenever training saves one.
        robot: whose images, plots and numbers are shown, and which one a push moves.
        trace: rewards and actions since the last reset.
        episodes: those that have ended since the policy was chosen, newest last, at most 100.

    Raises:
        UsageError: task, device or number of robots is not allowed, or the run has no checkpoint.
    """

    def __init__(self, source: Source, num_envs: int = 1) -> None:
        with usage_errors():
            arguments.count("num_envs", num_envs)
        self.source = source
        self.loaded: Loaded | None = source.load("latest") if source.run is not None else None
        self.env = source.make_env(num_envs)
        specs = self.env.policy_spec, self.env.action_spec
        self._policies: dict[str, Policy] = {
            ZERO: ZeroPolicy(*specs), RANDOM: RandomPolicy(*specs, source.seed),
        }  # fmt: skip
        if self.loaded is not None:
            self._policies[POLICY] = self.loaded.policy
        self.driver = POLICY if self.loaded is not None else RANDOM
        self.actions = torch.zeros(self.env.action_size)
        self.playing, self.speed, self.robot = True, 1.0, 0
        self.follows_training = False
        self.trace = Trace(self.env.task.control_dt)
        self.episodes: list[Episode] = []
        self._starts = source.seed
        self._last_action = torch.zeros(num_envs, self.env.action_size, device=self.env.device)
        self.bodies = pushable(self.env.simulator.model)
        """The bodies that can be pushed, by name, the base first."""
        self._begin()

    # ------------------------------------------------------------------ time

    @torch.no_grad()
    def step(self) -> None:
        """Lets all robots act for one control step; joint sliders hold them where they are."""
        if self.driver == POSE:
            return
        action = self._choose()
        _, reward, terminated, truncated, info = self.env.step(action)
        done = terminated | truncated
        if self.driver in self._policies:
            self._memory = self._policies[self.driver].reset(self._memory, done)
        self._last_action = torch.where(done[:, None], 0.0, action.clamp(-1.0, 1.0))
        self.trace.add(reward, action.clamp(-1.0, 1.0))
        for robot in done.nonzero().flatten().tolist():
            total, length = info["episode_return"][robot], info["episode_length"][robot]
            ended = Episode(robot, float(total), int(length), bool(terminated[robot]))
            self.episodes = [*self.episodes, ended][-100:]

    def _choose(self) -> torch.Tensor:
        if self.driver == SLIDERS:
            return self.actions.to(self.env.device).expand(self.env.num_envs, -1).contiguous()
        policy = self._policies[self.driver]
        action, self._memory = policy.act(self.env.observation, self._memory)
        return action.to(self.env.device)

    def reset(self, again: bool = False) -> None:
        """Begins new episodes.

        Args:
            again: from the same starts as last time.
        """
        self._starts += 0 if again else 1
        self._begin()

    def _begin(self) -> None:
        observation = self.env.reset(seed=self._starts)
        if self.loaded is not None:
            with usage_errors():
                self.loaded.policy.observation_spec.check(observation)
        self._forget()

    def _forget(self) -> None:
        """Lets memory and trace begin anew."""
        policy = self._policies.get(self.driver)
        self._memory: StateTensors = (
            NO_MEMORY if policy is None else policy.initial_state(self.env.num_envs)
        )
        self._last_action = torch.zeros_like(self._last_action)
        self.trace.clear()

    # ------------------------------------------------------------------ controls

    @property
    def drivers(self) -> list[str]:
        """What can choose actions."""
        known = [POLICY] if self.loaded is not None else []
        return [*known, ZERO, RANDOM, SLIDERS, POSE]

    def drive(self, driver: str) -> None:
        """Lets something else choose actions, from here on; a policy begins without memory.

        Raises:
            UsageError: it is not known.
        """
        self.driver = require_known("driver", driver, self.drivers)
        if driver == POSE:
            self._stand(self.env.state.joint_q)
        policy = self._policies.get(driver)
        self._memory = NO_MEMORY if policy is None else policy.initial_state(self.env.num_envs)

    def choose_checkpoint(self, checkpoint: str) -> None:
        """Loads a checkpoint of the run anew; episodes begin again from the same starts.

        Raises:
            UsageError: there is none of that name, it cannot be read, or there is no run; the
                policy before it stays.
        """
        self.loaded = self.source.load(checkpoint)
        self._policies[POLICY] = self.loaded.policy
        self.driver = POLICY
        self.episodes = []
        self.reset(again=True)

    def is_outdated(self) -> bool:
        """Tells whether training has saved the chosen checkpoint anew since it was loaded."""
        if self.loaded is None:
            return False
        try:
            newest = self.source.newest(self.loaded.checkpoint)
        except UsageError:  # damaged: the one that is loaded will do
            return False
        return newest is not None and newest != self.loaded.path

    def choose_robot(self, robot: int) -> None:
        """Shows another robot.

        Raises:
            UsageError: there is no such robot.
        """
        self.robot = self._require_robot(robot)

    def choose_speed(self, speed: float) -> None:
        """Lets time pass faster or slower.

        Raises:
            UsageError: it is outside `SPEEDS`.
        """
        low, high = SPEEDS
        if not low <= speed <= high:
            raise UsageError(f"speed is {speed}; it must be from {low:g} to {high:g}.")
        self.speed = float(speed)

    def set_action(self, index: int, value: float) -> None:
        """Sets the action of one actuator, for the driver "action sliders"; clipped to [-1, 1]."""
        self.actions[index] = min(max(float(value), -1.0), 1.0)

    def set_joint(self, coordinate: int, value: float) -> None:
        """Moves a joint of all robots, which then stand still, in new episodes.

        Args:
            coordinate: number of a hinge's or slide's coordinate in `joint_q`; of a free joint,
                those of the position.
            value: the coordinate [rad or m].

        Raises:
            UsageError: the driver is not "joint sliders".
        """
        if self.driver != POSE:
            raise UsageError(f"The driver is {self.driver!r}; joints are moved by {POSE!r}.")
        joint_q = self.env.state.joint_q.clone()
        joint_q[:, coordinate] = float(value)
        self._stand(joint_q)

    def _stand(self, joint_q: torch.Tensor) -> None:
        """Lets all robots stand where the shown one is."""
        same = joint_q[self.robot].detach().expand(self.env.num_envs, -1)
        velocities = torch.zeros_like(self.env.state.joint_qd.detach())
        self.env.set_state(same.contiguous(), velocities)
        self._forget()

    def push(
        self, impulse: Sequence[float], body: str | None = None, robot: int | None = None
    ) -> None:
        """Pushes a robot: an impulse adds to its velocities what `velocity_change` computes.

        It acts at once, between two control steps, at the body's centre of mass. The episode goes
        on; stacked images stay, and "state" is computed anew.

        Args:
            impulse: (3,) in world axes [N s].
            body: one of `bodies`; None: the base.
            robot: which; None: the one that is shown.

        Raises:
            UsageError: there is no such body or robot, or the impulse is not three finite numbers.
        """
        row = self._require_robot(self.robot if robot is None else robot)
        if len(impulse) != 3 or not np.all(np.isfinite(impulse)):
            raise UsageError(f"impulse is {impulse!r}; give three finite numbers in N s.")
        if not self.bodies:
            raise UsageError(f"Nothing of {self.source.name} can be pushed: no body has mass.")
        name = next(iter(self.bodies)) if body is None else body
        number = self.bodies[require_known("body", name, self.bodies)]
        tensors = self.env.tensors()
        joint_q, joint_qd = (tensors[f"physics.{x}"].detach() for x in ("joint_q", "joint_qd"))
        model = self.env.simulator.model
        change = velocity_change(model, joint_q[row].cpu().numpy(), number, impulse)
        pushed = joint_qd.clone()
        pushed[row] += torch.as_tensor(change).to(pushed)
        with torch.no_grad():
            described = self.env.task.state_observation(joint_q, pushed, self._last_action)
        known = tensors[f"observed.{STATE}"].detach().clone()
        known[row] = described[row]
        self.env.put_tensors({**tensors, "physics.joint_qd": pushed, f"observed.{STATE}": known})

    def _require_robot(self, robot: int) -> int:
        if not 0 <= robot < self.env.num_envs:
            raise UsageError(f"robot is {robot}; it must be from 0 to {self.env.num_envs - 1}.")
        return robot

    # ------------------------------------------------------------------ what there is to see

    @property
    def policy(self) -> Policy | None:
        """The policy of the run, if there is one, whether or not it drives."""
        return None if self.loaded is None else self.loaded.policy

    @property
    def images(self) -> tuple[Entry, ...]:
        """The images that the policy reads; of a task, those that are observed."""
        spec = self.env.policy_spec if self.policy is None else self.policy.observation_spec
        return spec.images

    def observed(self, name: str) -> torch.Tensor:
        """Returns what is observed of the shown robot under a name, (1, k C, ...)."""
        return self.env.observation[name][self.robot : self.robot + 1].detach()

    def saliency(self) -> dict[str, torch.Tensor]:
        """Returns how much each pixel matters to the policy's next action for the shown robot, by
        image; nothing while something else drives."""
        if self.driver != POLICY or self.policy is None:
            return {}
        rows = slice(self.robot, self.robot + 1)
        observation = {name: x[rows].detach() for name, x in self.env.observation.items()}
        return saliency(
            self.policy, observation, {name: x[rows] for name, x in self._memory.items()}
        )

    def episode_step(self) -> int:
        """Returns how many control steps old the shown robot's episode is."""
        return int(self.env.tensors()["episode.step"][self.robot])

    def episode_return(self) -> float:
        """Returns the return of the shown robot's episode so far."""
        return float(self.env.tensors()["episode.return"][self.robot])

    def close(self) -> None:
        """Lets go of the environments."""
        self.env.close()
