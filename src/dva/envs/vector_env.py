"""The vector environment: one task, N robots, stepped, filmed and restarted together, in torch."""

import time
from collections.abc import Sequence
from typing import Any, Literal

import torch

from dva.compute import arguments
from dva.compute.device import resolve_device
from dva.envs.nonfinite import MAX_ENTRY, is_nonfinite, stop_gradients
from dva.sensors import Camera, DifferentiableCamera
from dva.sim import StateStorage, WarpSimulator, load_model
from dva.tasks.protocols import CameraProtocol, SimulatorProtocol
from dva.tasks.task import Task, check_task

__all__ = ["CAMERAS", "MAX_ENTRY", "CameraName", "VectorEnv"]

Observation = dict[str, torch.Tensor]
CameraName = Literal["hard", "differentiable"]
CAMERAS: tuple[CameraName, ...] = ("hard", "differentiable")
"""Cameras by name: `dva.sensors.Camera` and `dva.sensors.DifferentiableCamera`."""


class VectorEnv:
    """Steps N robots of one task at once; episodes restart by themselves.

    Actions are float32 (N, action_size) in [-1, 1], on the environment's device; larger ones are
    clipped. Observations are dictionaries: "pixels" uint8 (N, 3 * frame_stack, H, W), oldest frame
    first, and "state" float32 (N, state_size). State and reward carry torch's graph back to the
    actions until `detach()` cuts it; no gradient crosses the end of an episode. Nothing is
    differentiated through the camera, unless `pixel_gradient` asks for it: pixels are then float32
    in [0, 255], with a graph.

    Attributes:
        task, num_envs, device, action_size, state_size, image_size (H, W), frame_stack,
        pixels_shape (3 * frame_stack, H, W), episode_length [control steps], stochastic_start,
        final_pixels, pixel_gradient: as they were made.
        model: the robot's `dva.sim.Model`.
        nan_guard: when True, a step with a non-finite state also gives info["nonfinite_state"].
        seconds: wall time spent in "rendering" and "simulation" since `pop_seconds()`; on CUDA that
        of the launches.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int = 64,
        device: str | torch.device = "auto",
        seed: int = 0,
        image_size: int | Sequence[int] = 84,
        frame_stack: int = 3,
        pixels: bool = True,
        stochastic_start: bool = True,
        final_pixels: bool = True,
        threads: int | None = None,
        simulator: SimulatorProtocol | None = None,
        camera: CameraProtocol | CameraName = "hard",
        pixel_gradient: bool = False,
        state_storage: StateStorage = "full",
        capture: bool = True,
    ) -> None:
        """Builds simulator and camera; arguments and errors as in `make`."""
        if not isinstance(task, Task):
            raise TypeError(
                f"task is {task!r}; pass a task's name to dva.make, or a Task instance."
            )
        self.task = task
        self.num_envs = arguments.at_least_one("num_envs", num_envs)
        self.device = resolve_device(device)
        self.image_size = arguments.image_size(image_size)
        self.frame_stack = arguments.at_least_one("frame_stack", frame_stack)
        self.pixels_shape = (3 * self.frame_stack, *self.image_size)
        self.episode_length = task.episode_length
        self.stochastic_start = stochastic_start
        self.final_pixels = final_pixels and pixels
        self.nan_guard = False
        self.model = load_model(task.mjcf, inertia=task.inertia)
        self.action_size = self.model.num_actions
        self.state_size = check_task(task, self.model, self.device)

        self._threads, self._capture = threads, capture
        self._simulator: SimulatorProtocol | None = simulator or WarpSimulator(
            self.model,
            self.num_envs,
            device=str(self.device),
            control_dt=task.control_dt,
            substeps=task.substeps,
            mass_matrix_interval=task.mass_matrix_interval,
            state_storage=state_storage,
            threads=threads,
            capture=capture,
        )
        self._own_parts = simulator is None and isinstance(camera, str)
        self.pixel_gradient = pixel_gradient and pixels
        _check_camera(camera, pixel_gradient)
        self._camera: CameraProtocol | None = None
        if pixels and not isinstance(camera, str):
            self._camera = camera
        elif pixels:
            kind = DifferentiableCamera if camera == "differentiable" else Camera
            self._camera = self._new_camera(self.num_envs, self.image_size, kind)
        self._video_cameras: dict[tuple[int, tuple[int, int]], CameraProtocol] = {}
        self._generator = torch.Generator(self.device).manual_seed(arguments.seed(seed))
        # On CUDA the host knows whether an episode has ended only if it waits for the device.
        self._may_look = self.device.type != "cuda" or self.final_pixels
        self._ready, self._closed = False, False
        self.seconds = {"rendering": 0.0, "simulation": 0.0}

    # ------------------------------------------------------------------ episodes

    def reset(self, seed: int | None = None) -> Observation:
        """Begins a new episode in every environment.

        Args:
            seed: restarts the random starts from this seed; None goes on with them.

        Returns:
            The first observation, whose stacked frames are all the first frame; it carries no
            gradient.
        """
        self._check_open()
        if seed is not None:
            self._generator.manual_seed(arguments.seed(seed))
        return self._begin(*self._start())

    def step(
        self, action: torch.Tensor
    ) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Applies one action for one control step, and restarts the episodes that it ends.

        An environment whose action, state or reward is non-finite (or has an entry above 1e6)
        terminates with reward 0 and passes no gradient.

        Args:
            action: float32 (N, action_size); clipped to [-1, 1].

        Returns:
            observation: after the restarts; where an episode ended, the first of the next one,
                without gradient.
            reward: (N,), differentiable in this and the earlier actions.
            terminated: bool (N,), the task failed.
            truncated: bool (N,), the time ran out and the task did not fail.
            info: "final_observation", before the restarts and with its graph: "state", and "pixels"
                if `final_pixels` (both equal the observation where no episode ended; the state is
                zero where it was non-finite); "nonfinite" bool (N,); "episode_return" float (N,)
                and "episode_length" int (N,), this step included; with `nan_guard`,
                "nonfinite_state": (joint_q, joint_qd, action) before a non-finite step.

        Raises:
            RuntimeError: before the first reset, or after close.
            TypeError, ValueError: the action is no tensor, or of the wrong shape, dtype or device.
        """
        self._check_ready()
        arguments.check_tensor("action", action, (self.num_envs, self.action_size), self.device)
        before_q, before_qd = self._joint_q, self._joint_qd
        clipped = action.nan_to_num(0.0, 0.0, 0.0).clamp(-1.0, 1.0)
        joint_q, joint_qd = self._simulate(clipped)

        nonfinite = is_nonfinite(joint_q, joint_qd, action)
        joint_q = torch.where(nonfinite[:, None], before_q.detach(), joint_q)
        joint_qd = torch.where(nonfinite[:, None], before_qd.detach(), joint_qd)
        reward = self.task.reward(joint_q, joint_qd, clipped)
        nonfinite = nonfinite | ~reward.detach().isfinite()
        reward = reward.masked_fill(nonfinite, 0.0)
        state = self.task.state_observation(joint_q, joint_qd, clipped)
        state = state.masked_fill(nonfinite[:, None], 0.0)
        stop_gradients(nonfinite, joint_q, joint_qd, clipped)

        terminated = self.task.terminated(joint_q.detach(), joint_qd.detach()) | nonfinite
        self._episode_step = self._episode_step + 1
        self._episode_return = self._episode_return + reward.detach()
        truncated = (self._episode_step >= self.episode_length) & ~terminated
        info: dict[str, Any] = {
            "final_observation": {"state": state},
            "nonfinite": nonfinite,
            "episode_return": self._episode_return,
            "episode_length": self._episode_step,
        }
        if self.nan_guard and bool(nonfinite.any()):
            info["nonfinite_state"] = tuple(
                x.detach().clone() for x in (before_q, before_qd, action)
            )
        self._joint_q, self._joint_qd, self._state = joint_q, joint_qd, state
        self._finish_step(terminated | truncated, info["final_observation"])
        return self.observation, reward, terminated, truncated, info

    def _finish_step(self, done: torch.Tensor, final_observation: Observation) -> None:
        """Pictures the new state, restarts what is done, and pictures what has restarted."""
        restart = bool(done.any()) if self._may_look else True
        if self._camera and (self.final_pixels or not restart):
            self._pixels = self._stacked(self._render())
            if self.final_pixels:
                final_observation["pixels"] = self._pixels
        if not restart:
            return
        self._restart(done)
        if self._camera:
            frame = self._render()
            if not self.final_pixels:
                self._pixels = self._stacked(frame)
            first = frame.repeat(1, self.frame_stack, 1, 1)
            self._pixels = torch.where(done[:, None, None, None], first, self._pixels)

    def _restart(self, done: torch.Tensor) -> None:
        """Puts new starts where `done`; `where` keeps every gradient on its own side."""
        start_q, start_qd = self._start()
        no_action = torch.zeros(self.num_envs, self.action_size, device=self.device)
        start_state = self.task.state_observation(start_q, start_qd, no_action)
        column = done[:, None]
        self._joint_q = torch.where(column, start_q, self._joint_q)
        self._joint_qd = torch.where(column, start_qd, self._joint_qd)
        self._state = torch.where(column, start_state, self._state)
        self._episode_step = self._episode_step.masked_fill(done, 0)
        self._episode_return = self._episode_return.masked_fill(done, 0.0)

    def detach(self) -> None:
        """Cuts the graph: what comes later has no gradient to the actions before this call."""
        self._check_ready()
        self._joint_q, self._joint_qd = self._joint_q.detach(), self._joint_qd.detach()
        self._state = self._state.detach()
        if self.pixel_gradient:
            self._pixels = self._pixels.detach()

    def close(self) -> None:
        """Lets go of simulator and cameras; the environment cannot be used afterwards."""
        self._closed = True
        self._simulator = self._camera = None
        self._video_cameras.clear()

    # ------------------------------------------------------------------ looking

    @property
    def observation(self) -> Observation:
        """The present observation, as the last reset, step or set_state returned it."""
        self._check_ready()
        if self._camera is None:
            return {"state": self._state}
        return {"pixels": self._pixels, "state": self._state}

    @property
    def has_camera(self) -> bool:
        """Whether observations have pixels."""
        return self._camera is not None

    @property
    def frame(self) -> torch.Tensor:
        """The newest frame (N, 3, H, W): the last three channels of the stacked pixels."""
        self._check_ready()
        if self._camera is None:
            raise RuntimeError("This environment has no camera. Make it with pixels=True.")
        return self._pixels[:, -3:]

    def render(
        self, image_size: int | Sequence[int] = 256, env_ids: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Pictures the present states from the task's view, for people.

        Args:
            image_size: height and width in pixels, one number for a square.
            env_ids: which environments, all by default. A camera is built once per size and number
                of environments.

        Returns:
            uint8 (len(env_ids), 3, H, W).

        Raises:
            ValueError: an environment does not exist, or the image size is not allowed.
        """
        self._check_ready()
        size = arguments.image_size(image_size)
        ids = arguments.env_ids(env_ids, self.num_envs)
        key = (len(ids), size)
        if key not in self._video_cameras:
            self._video_cameras[key] = self._new_camera(*key)
        joint_q = self._joint_q.detach()[torch.tensor(ids, device=self.device)]
        return self._video_cameras[key].render(joint_q)["rgb"].clone()

    def pop_seconds(self) -> dict[str, float]:
        """Gives `seconds` and starts counting anew."""
        seconds = self.seconds
        self.seconds = dict.fromkeys(seconds, 0.0)
        return seconds

    # ------------------------------------------------------------------ state

    def get_state(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives copies of joint_q (N, nq) and joint_qd (N, nd), without gradient."""
        self._check_ready()
        return self._joint_q.detach().clone(), self._joint_qd.detach().clone()

    def set_state(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> Observation:
        """Begins a new episode in every environment from given states.

        Args:
            joint_q: float32 (N, nq) [m, rad]; copied, a gradient that it asks for is kept.
            joint_qd: float32 (N, nd) [m/s, rad/s]; likewise.

        Returns:
            The first observation, as `reset` does.

        Raises:
            TypeError, ValueError: no tensor, or of the wrong shape, dtype or device, or not finite.
        """
        self._check_open()
        shapes = (self.num_envs, self.model.num_coords), (self.num_envs, self.model.num_dofs)
        for name, value, shape in zip(
            ("joint_q", "joint_qd"), (joint_q, joint_qd), shapes, strict=True
        ):
            arguments.check_tensor(name, value, shape, self.device)
            if not bool((value.detach().abs() <= MAX_ENTRY).all()):
                raise ValueError(
                    f"{name} has an entry that is not finite or above {MAX_ENTRY:g} in size. "
                    "Give finite states."
                )
        return self._begin(joint_q.clone(), joint_qd.clone())

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies everything that is needed to go on bit for bit, without gradients.

        Returns:
            "joint_q", "joint_qd", "state", "episode_step", "episode_return", "generator" and, with
            a camera, "pixels".
        """
        copies = {name: x.detach().clone() for name, x in self.tensors().items()}
        return {**copies, "generator": self._generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Goes on where another environment was; `observation` is its observation.

        Args:
            state_dict: from `state_dict()` of an environment of the same task, size and camera.

        Raises:
            ValueError: an entry is missing, unknown, or of another shape; nothing is changed then.
        """
        self._check_open()
        shapes = self._tensor_shapes()
        arguments.check_shapes(state_dict, shapes)
        for name in shapes:
            setattr(self, f"_{name}", state_dict[name].detach().to(self.device, copy=True))
        self._generator = torch.Generator(self.device)
        self._generator.set_state(state_dict["generator"].cpu())
        self._ready = True

    @property
    def recordable(self) -> bool:
        """Whether a step is work on the device alone, so that a CUDA graph can hold it."""
        return self._own_parts and not self._may_look and not self.nan_guard

    @property
    def generator(self) -> torch.Generator:
        """The random generator of the starts."""
        return self._generator

    def tensors(self) -> dict[str, torch.Tensor]:
        """Gives the tensors of `state_dict` themselves, no copies, without the generator."""
        self._check_ready()
        return {name: getattr(self, f"_{name}") for name in self._tensor_shapes()}

    def put_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Goes on from tensors as `tensors` gives them, no copies."""
        for name in self._tensor_shapes():
            setattr(self, f"_{name}", tensors[name])

    # ------------------------------------------------------------------ pieces

    def _begin(self, joint_q: torch.Tensor, joint_qd: torch.Tensor) -> Observation:
        self._joint_q, self._joint_qd = joint_q, joint_qd
        no_action = torch.zeros(self.num_envs, self.action_size, device=self.device)
        self._state = self.task.state_observation(joint_q, joint_qd, no_action)
        self._episode_step = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self._episode_return = torch.zeros(self.num_envs, device=self.device)
        if self._camera:
            self._pixels = self._render().repeat(1, self.frame_stack, 1, 1)
        self._ready = True
        return self.observation

    def _start(self) -> tuple[torch.Tensor, torch.Tensor]:
        # Always N of them: which ones are used is not known to the host on CUDA.
        return self.task.start(self.num_envs, self._generator, self.device, self.stochastic_start)

    def _simulate(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert self._simulator is not None
        began = time.perf_counter()
        joint_q, joint_qd = self._simulator.step(self._joint_q, self._joint_qd, action)
        self.seconds["simulation"] += time.perf_counter() - began
        return joint_q, joint_qd

    def _render(self) -> torch.Tensor:
        assert self._camera is not None
        began = time.perf_counter()
        joint_q = self._joint_q if self.pixel_gradient else self._joint_q.detach()
        frame = self._camera.render(joint_q)["rgb"]
        if frame.dtype != torch.uint8 and not self.pixel_gradient:
            frame = frame.round().to(torch.uint8)
        self.seconds["rendering"] += time.perf_counter() - began
        return frame

    def _stacked(self, frame: torch.Tensor) -> torch.Tensor:
        # Two copies into new memory take a third of the time of torch.cat on slices.
        pixels = torch.empty_like(self._pixels)
        pixels[:, :-3], pixels[:, -3:] = self._pixels[:, 3:], frame
        return pixels

    def _new_camera(
        self,
        num_envs: int,
        image_size: tuple[int, int],
        kind: type[Camera] | type[DifferentiableCamera] = Camera,
    ) -> CameraProtocol:
        return kind(
            self.model,
            self.task.view,
            self.task.scene,
            num_envs,
            image_size=image_size,
            device=str(self.device),
            threads=self._threads,
            capture=self._capture,
        )

    def _tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        n = self.num_envs
        shapes: dict[str, tuple[int, ...]] = {
            "joint_q": (n, self.model.num_coords),
            "joint_qd": (n, self.model.num_dofs),
            "state": (n, self.state_size),
            "episode_step": (n,),
            "episode_return": (n,),
        }
        return {**shapes, "pixels": (n, *self.pixels_shape)} if self._camera else shapes

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("This environment is closed. Make a new one with dva.make.")

    def _check_ready(self) -> None:
        self._check_open()
        if not self._ready:
            raise RuntimeError(
                "This environment has no state yet. Call reset() (or set_state) first."
            )


def _check_camera(camera: CameraProtocol | str, pixel_gradient: bool) -> None:
    if isinstance(camera, str) and camera not in CAMERAS:
        raise ValueError(f"camera is {camera!r}; allowed: {', '.join(CAMERAS)}, or a camera.")
    if pixel_gradient and camera == "hard":
        raise ValueError(
            'pixel_gradient is True, but no gradient passes the camera "hard": its pictures jump '
            'when an edge crosses a pixel. Use camera="differentiable".'
        )
