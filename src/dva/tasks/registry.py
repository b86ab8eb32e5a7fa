"""The list of tasks: every file of this room puts its task here, and so may a user's own file."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable

import gymnasium

from dva.tasks.task import Task

__all__ = ["get", "import_task_files", "names", "register"]

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
            entry_point="dva.envs.gymnasium_adapter:make_single",
            vector_entry_point="dva.envs.gymnasium_adapter:make_vector",
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
    except Exception as error:  # the module is the user's, and so is whatever goes wrong in it
        text = " ".join(str(error).split())
        raise ValueError(
            f"Task {name!r}: importing {module!r} fails with {type(error).__name__}: {text}"
        ) from error


def names() -> list[str]:
    """Lists the names of all tasks in alphabetical order."""
    return sorted(_TASKS)


def import_task_files(folders: Iterable[str]) -> None:
    """Imports every file of this room, so that a new one is found without being listed anywhere."""
    for module in pkgutil.iter_modules(folders):
        importlib.import_module(f"dva.tasks.{module.name}")
