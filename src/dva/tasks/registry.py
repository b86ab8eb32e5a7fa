"""The list of tasks: every file of this room puts its task here, and so may a user's own file."""

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Sequence

import gymnasium
import torch

from dva.sim import StateStorage
from dva.tasks.environment import CameraName, VectorEnv
from dva.tasks.protocols import CameraProtocol, SimulatorProtocol
from dva.tasks.task import Task

__all__ = ["get", "import_task_files", "make", "names", "register"]

_TASKS: dict[str, Task] = {}


def register(task: Task, replace: bool = False) -> Task:
    """Makes a task known by its name, to Gymnasium as well ("hopper" is "dva/Hopper-v0" there).

    Args:
        task: an instance of a `Task` subclass, or a variant of one:
            `dataclasses.replace(get("hopper"), name=...)`.
        replace: allow the name to be taken over.

    Returns:
        The task.

    Raises:
        TypeError: `task` is no Task instance.
        ValueError: the name is not made of lower case words joined by hyphens, or is already taken.
    """
    if not isinstance(task, Task):
        raise TypeError(
            f"register() takes a Task instance, got {task!r}. Make one by calling the task's class."
        )
    words = task.name.split("-")
    if not all(word.isalnum() and word == word.lower() for word in words):
        raise ValueError(
            f"Task name {task.name!r} is not allowed. Use lower case words of letters and digits "
            "joined by hyphens, for example 'hopper-backward'."
        )
    if task.name in _TASKS and not replace:
        raise ValueError(
            f"A task named {task.name!r} exists already. Choose another name, or pass replace=True "
            "to take it over."
        )
    if task.name not in _TASKS:
        gymnasium.register(
            id=f"dva/{''.join(word.capitalize() for word in words)}-v0",
            entry_point="dva.tasks.gymnasium_adapter:make_single",
            vector_entry_point="dva.tasks.gymnasium_adapter:make_vector",
            kwargs={"task": task.name},
        )
    _TASKS[task.name] = task
    return task


def get(name: str) -> Task:
    """Finds a task by its name.

    Args:
        name: of a task, or "MODULE:NAME" for one that importing the module registers.

    Raises:
        ValueError: there is no task of that name; the message lists all and suggests the closest.
            Or the module cannot be imported.
    """
    module, colon, own = str(name).rpartition(":")
    if colon:
        _import_module_of(name, module)
    if own in _TASKS:
        return _TASKS[own]
    close = difflib.get_close_matches(own, _TASKS, n=1)
    suggestion = f" Did you mean {module + colon + close[0]!r}?" if close else ""
    raise ValueError(
        f"Unknown task {name!r}.{suggestion} Tasks: {', '.join(names())}. A task of your own is "
        "made known with dva.tasks.register(MyTask()), and found by commands as MODULE:NAME."
    )


def _import_module_of(name: str, module: str) -> None:
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(
            f"Task {name!r} does not begin with the name of a module. Write MODULE:NAME, where "
            "MODULE is the name of a file without its .py, in the folder you work in."
        )
    try:
        importlib.import_module(module)
    except SyntaxError as error:
        raise ValueError(f"Task {name!r}: {module!r} cannot be imported: {error}.") from error
    except ImportError as error:
        missing = f"{module}.".startswith(f"{error.name}.")
        hint = " Is its file in the folder you work in?" if missing else ""
        raise ValueError(
            f"Task {name!r} asks for the module {module!r}, which cannot be imported: {error}."
            f"{hint}"
        ) from error


def names() -> list[str]:
    """Lists the names of all tasks in alphabetical order."""
    return sorted(_TASKS)


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
        simulator: stands in for `dva.sim.Simulator`.
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


def import_task_files(folders: Iterable[str]) -> None:
    """Imports every file of this room, so that a new one is found without being listed anywhere."""
    for module in pkgutil.iter_modules(folders):
        importlib.import_module(f"dva.tasks.{module.name}")
