"""The list of tasks, to which each file of this room adds its task, and users add their own."""

import importlib
import pkgutil
from collections.abc import Iterable

import gymnasium

from dva.compute.plugins import Registry
from dva.tasks.task import Task

__all__ = ["get", "import_task_files", "names", "register"]

_TASKS = Registry[Task](
    "task",
    "A task of your own is made known with dva.tasks.register(MyTask()), and found by commands as "
    "MODULE:NAME.",
)


def register(task: Task, replace: bool = False) -> Task:
    """Makes a task known by its name, to Gymnasium as well ("hopper" is "dva/Hopper-v0" there).

    Args:
        task: an instance of a `Task` subclass, or a variant of one:
            `dataclasses.replace(get("hopper"), name=...)`.
        replace: allow a name that is taken already.

    Returns:
        The task.

    Raises:
        TypeError: `task` is no Task instance.
        ValueError: the name is not made of lower-case words joined by hyphens, or is taken already.
    """
    if not isinstance(task, Task):
        raise TypeError(
            f"register() takes a Task instance, got {task!r}. Make one by calling the task's class."
        )
    words = task.name.split("-")
    if not all(word.isalnum() and word == word.lower() for word in words):
        raise ValueError(
            f"Task name {task.name!r} is not allowed. Use lower-case words of letters and digits "
            "joined by hyphens, for example 'hopper-backward'."
        )
    known = task.name in _TASKS.entries
    _TASKS.add(task.name, task, replace)
    if not known:
        gymnasium.register(
            id=f"dva/{''.join(word.capitalize() for word in words)}-v0",
            entry_point="dva.envs.gymnasium_adapter:make_single",
            vector_entry_point="dva.envs.gymnasium_adapter:make_vector",
            kwargs={"task": task.name},
        )
    return task


def get(name: str) -> Task:
    """Finds a task by its name.

    Args:
        name: name of a task, or "MODULE:NAME" for one that importing the module registers.

    Raises:
        ValueError: there is no task of that name (the message lists all and suggests the closest),
            or the module cannot be imported.
    """
    return _TASKS.get(name)


def names() -> list[str]:
    """Lists the names of all tasks in alphabetical order."""
    return _TASKS.names()


def import_task_files(folders: Iterable[str]) -> None:
    """Imports every file of this room, so that a new one is found without being listed anywhere."""
    for module in pkgutil.iter_modules(folders):
        importlib.import_module(f"dva.tasks.{module.name}")
