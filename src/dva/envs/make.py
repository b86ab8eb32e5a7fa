"""Builds the environments of a task."""

import dataclasses
from collections.abc import Sequence

import torch

from dva.envs.vector_env import CameraName, VectorEnv
from dva.sim import StateStorage
from dva.tasks.protocols import CameraProtocol, SimulatorProtocol
from dva.tasks.registry import get
from dva.tasks.task import Task

__all__ = ["make"]


def make(
    task: str | Task,
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
    inertia: str | None = None,
) -> VectorEnv:
    """Makes an environment of `num_envs` robots from a task's name (or a `Task`).

    Args:
        task: a name that `dva.tasks.names()` lists, "MODULE:NAME" as in `get`, or a Task.
        num_envs: number of robots N, at least 1.
        device: "cpu", "cuda", or "auto" for CUDA where there is one.
        seed: of the starts; the same seed gives the same episodes.
        image_size: height and width of a frame in pixels, one number for a square.
        frame_stack: newest frames in one observation.
        pixels: False leaves the camera out; observations then have "state" only.
        stochastic_start: False begins every episode in the same state.
        final_pixels: also picture the last state of an episode that ends, which costs a second
            rendering pass in the steps that end one (and on CUDA a host synchronization every
            step, to know which those are).
        threads: CPU threads of simulator and camera; None lets them choose.
        simulator: stands in for `dva.sim.WarpSimulator`.
        camera: "hard" for `dva.sensors.Camera`, "differentiable" for
            `dva.sensors.DifferentiableCamera`, or one that stands in for them; must give frames of
            `image_size`.
        pixel_gradient: pixels are float32 in [0, 255] and carry the graph to the actions, through a
            camera that is differentiable; else uint8, without.
        state_storage: "full" keeps the intermediates of every step until its gradient is taken,
            "recompute" the state only: less memory, and each step is computed twice.
        capture: replay each control step and each picture as one graph (a CUDA graph on CUDA)
            instead of launching its kernels one by one; the results are the same.
        inertia: "physical" or "published" inertia tensors of the robot; None: as the task says.

    Returns:
        The environment; call `reset()` first.

    Raises:
        ValueError: an argument is not allowed; the message names it, what is, and the fix.
        TypeError: `task` is neither a name nor a Task.
    """
    if isinstance(task, str):
        task = get(task)
    if inertia is not None and isinstance(task, Task):
        task = dataclasses.replace(task, inertia=inertia)
    return VectorEnv(
        task,
        num_envs,
        device,
        seed,
        image_size,
        frame_stack,
        pixels,
        stochastic_start,
        final_pixels,
        threads,
        simulator,
        camera,
        pixel_gradient,
        state_storage,
        capture,
    )
