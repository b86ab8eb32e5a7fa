"""Builds the environment of a task: its simulator, its sensors, and the loop around them."""

import dataclasses
from collections.abc import Sequence

import torch

from dva.compute import arguments
from dva.compute.device import resolve_device
from dva.compute.distributed import ALONE, Group
from dva.compute.errors import closest_match
from dva.envs.config import EnvConfig
from dva.envs.spectator import Spectator
from dva.envs.vector_env import VectorEnv
from dva.sensors import (
    CAMERA_KINDS,
    STANDARD_SENSORS,
    CameraKind,
    Sensor,
    SensorMaker,
    SensorRequest,
)
from dva.sim import SimulatorFactory, SimulatorRequest, StateStorage, find_simulator
from dva.spec import STATE
from dva.tasks.registry import get
from dva.tasks.task import Task, check_sensor_names

__all__ = ["choose_sensors", "make"]


def make(
    task: str | Task,
    num_envs: int = EnvConfig.num_envs,
    device: str | torch.device = "auto",
    seed: int = 0,
    observe: str | Sequence[str] = EnvConfig.observe,
    image_size: int | Sequence[int] = EnvConfig.image_size,
    frame_stack: int = EnvConfig.frame_stack,
    camera: CameraKind = EnvConfig.camera,
    image_gradient: bool = False,
    stochastic_start: bool = True,
    final_observations: bool = True,
    state_storage: StateStorage = EnvConfig.state_storage,
    threads: int | None = None,
    capture: bool = True,
    inertia: str | None = None,
    simulator: str | SimulatorFactory = EnvConfig.simulator,
    sensors: Sequence[SensorMaker] = (),
    blind_envs: int = 0,
    group: Group = ALONE,
) -> VectorEnv:
    """Makes an environment of `num_envs` robots from a task's name (or a `Task`).

    Args:
        task: a name that `dva.tasks.names()` lists, "MODULE:NAME" as in `get`, or a Task.
        num_envs: number of robots N, 1 to 1,000,000.
        device: "cpu", "cuda", or "auto" for CUDA where there is one.
        seed: seed of the starts; the same seed gives the same episodes.
        observe: what a policy sees, one name or several: standard sensors ("pixels", "depth",
            "segmentation", "joint_angles"), the task's own, and "state", which observations always
            hold; each once. No other sensor is built.
        image_size: (height, width) of images, or one number for a square [pixels].
        frame_stack: number of images in one observation, the newest ones.
        camera: "hard" for `dva.sensors.Camera`, "differentiable" for
            `dva.sensors.DifferentiableCamera`.
        image_gradient: True makes colour images float32 in [0, 255] with a graph to the actions,
            which needs the differentiable camera; False makes them uint8 without a graph.
        stochastic_start: False begins every episode in the same state.
        final_observations: also read the sensors in the last state of an episode that ends, which
            costs a second reading in the steps that end one (and on CUDA a host synchronisation
            every step, to know which those are).
        state_storage: "full" keeps the intermediates of every step until its gradient is taken;
            "recompute" keeps only the state, which takes less memory and computes each step twice.
        threads: CPU threads of simulator and sensors; None lets them choose.
        capture: replay each control step and each picture as one graph (a CUDA graph on CUDA)
            instead of launching its kernels one by one; the results are the same.
        inertia: "physical" or "published" inertia tensors of the robot; None: the task's choice.
        simulator: name of a simulator ("warp" is `dva.sim.WarpSimulator`, MODULE:NAME one of your
            own), or a function that builds one.
        sensors: more sensors that `observe` may name.
        blind_envs: number of robots beside `num_envs`, the first ones, whose sensors are not read.
        group: processes that each make `num_envs` of the environments of one training.

    Returns:
        The environment; call `reset()` first.

    Raises:
        ValueError: an argument is not allowed; the message names it, what is allowed and the fix.
        TypeError: `task` is neither a name nor a Task.
    """
    task = get(task) if isinstance(task, str) else task
    if not isinstance(task, Task):
        raise TypeError(f"task is {task!r}; pass a task's name, or a Task instance.")
    if inertia is not None:
        task = dataclasses.replace(task, inertia=inertia)
    observe = (observe,) if isinstance(observe, str) else tuple(observe)
    makers = choose_sensors(task, observe, sensors)
    _check_camera(camera, image_gradient)
    num_envs = arguments.count("num_envs", num_envs)
    size = arguments.image_size(image_size)
    frame_stack = arguments.count("frame_stack", frame_stack)
    found = resolve_device(device)
    factory = find_simulator(simulator) if isinstance(simulator, str) else simulator
    asked = SimulatorRequest(
        robot=str(task.mjcf),
        inertia=task.inertia,
        ignore=task.ignore,
        num_envs=num_envs + blind_envs,
        device=found,
        control_dt=task.control_dt,
        substeps=task.substeps,
        mass_matrix_interval=task.mass_matrix_interval,
        threads=threads,
        state_storage=state_storage,
        capture=capture,
    )
    built = factory(asked)
    request = SensorRequest(
        model=built.model,
        num_envs=num_envs,
        device=found,
        view=task.view,
        scene=task.scene,
        image_size=size,
        frame_stack=frame_stack,
        camera=camera,
        image_gradient=image_gradient,
        threads=threads,
        capture=capture,
    )
    parts = [_build_sensor(maker, request) for maker in makers]
    return VectorEnv(
        task,
        built,
        parts,
        observe,
        seed,
        stochastic_start,
        final_observations,
        Spectator(built.model, task.view, task.scene, found, threads, capture),
        blind_envs,
        group,
        lambda count: factory(dataclasses.replace(asked, num_envs=count)),
    )


def choose_sensors(
    task: Task, observe: tuple[str, ...], more: Sequence[SensorMaker]
) -> list[SensorMaker]:
    """Finds the makers of the sensors observed; of one name, the last maker counts."""
    if not observe or len(set(observe)) < len(observe):
        raise ValueError(
            f'observe is {observe!r}; give one name or more, such as "state", each once.'
        )
    check_sensor_names("make()", more)
    offered = {maker.name: maker for maker in (*STANDARD_SENSORS, *task.sensors, *more)}
    known = [*offered, STATE]
    for name in observe:
        if name not in known:
            raise ValueError(
                f"observe names {name!r}, which task {task.name!r} does not offer."
                f"{closest_match(name, known)} It offers: {', '.join(known)}. A sensor of your own "
                "goes into the task's `sensors`."
            )
    return [maker for name, maker in offered.items() if name in observe]


def _build_sensor(maker: SensorMaker, request: SensorRequest) -> Sensor:
    sensor = maker.build(request)
    if sensor.entry.name != maker.name:
        raise ValueError(
            f"The maker {maker.name!r} builds a sensor whose entry is named {sensor.entry.name!r}. "
            "Give both one name."
        )
    return sensor


def _check_camera(camera: str, image_gradient: bool) -> None:
    if camera not in CAMERA_KINDS:
        raise ValueError(f"camera is {camera!r}; allowed: {', '.join(CAMERA_KINDS)}.")
    if image_gradient and camera == "hard":
        raise ValueError(
            'image_gradient is True, but the camera "hard" passes no gradient: its pictures jump '
            'when an edge crosses a pixel. Use camera="differentiable".'
        )
