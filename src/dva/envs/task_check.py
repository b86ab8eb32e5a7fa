"""Checks a task's functions against its robot before the first step."""

from collections.abc import Callable
from typing import Any

import torch

from dva.compute.errors import one_line
from dva.sim import Skeleton
from dva.tasks.task import Task

__all__ = ["check_rows", "check_task"]

_ROWS = 2
"""Number of robots in the check: with one, a shape (1, 2) could pass for (2,)."""


def check_task(task: Task, model: Skeleton, device: torch.device) -> int:
    """Calls every function of a task once and checks what it returns.

    Args:
        task: the task.
        model: its robot.
        device: where to try it.

    Returns:
        The length O of the task's state observation.

    Raises:
        ValueError: a function fails, or returns something of another shape or dtype than a task
            must; the text names the function, the shape and the one expected.
    """
    n = _ROWS
    start = _call(task, "start", n, torch.Generator(device), device, False)
    if not isinstance(start, tuple) or len(start) != 2:
        raise ValueError(
            f"start() of task {task.name!r} returns {type(start).__name__}; return the pair "
            "(joint_q, joint_qd)."
        )
    joint_q, joint_qd = start
    _check(task, "start", "joint_q", joint_q, (n, model.num_coords))
    _check(task, "start", "joint_qd", joint_qd, (n, model.num_dofs))
    action = torch.zeros(n, model.num_actions, device=device)
    observation = _call(task, "state_observation", joint_q, joint_qd, action)
    _check(task, "state_observation", "the observation", observation, (n, None))
    reward = _call(task, "reward", joint_q, joint_qd, action)
    _check(task, "reward", "the reward", reward, (n,))
    terminated = _call(task, "terminated", joint_q, joint_qd)
    _check(task, "terminated", "the flag", terminated, (n,), torch.bool)
    return observation.shape[1]


def check_rows(task: Task, function: str, value: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Compares the shape of what a function returns for all robots: some depend on their number.

    Args:
        task: the task.
        function: name of the function.
        value: what it returned.
        shape: what is expected, (N, ...).

    Raises:
        ValueError: the shape is another one.
    """
    if value.shape != shape:
        raise ValueError(
            f"{function}() of task {task.name!r} returns {tuple(value.shape)} for {shape[0]} "
            f"robots, expected {shape}; for {_ROWS} robots it fits. Change {function}()."
        )


def _call(task: Task, function: str, *arguments: Any) -> Any:
    call: Callable[..., Any] = getattr(task, function)
    try:
        return call(*arguments)
    except Exception as error:  # the function is the user's
        raise ValueError(
            f"{function}() of task {task.name!r} fails with {type(error).__name__} for {_ROWS} "
            f"robots: {one_line(error)}. Change {function}(), or the robot ({task.robot!r})."
        ) from error


def _check(
    task: Task,
    function: str,
    what: str,
    value: object,
    shape: tuple[int | None, ...],
    dtype: torch.dtype = torch.float32,
) -> None:
    expected = f"{dtype} {str(shape).replace('None', 'O')}"
    where = f"{function}() of task {task.name!r}"
    if not isinstance(value, torch.Tensor):
        raise ValueError(
            f"{where} returns {what} as {type(value).__name__}, expected a tensor {expected} for "
            f"{_ROWS} robots. Change {function}()."
        )
    found = tuple(value.shape)
    fits = len(found) == len(shape) and all(
        wanted in (None, side) for wanted, side in zip(shape, found, strict=True)
    )
    if not fits or value.dtype != dtype:
        raise ValueError(
            f"{where} returns {what} as {value.dtype} {found} for {_ROWS} robots, expected "
            f"{expected}. Change {function}(), or the robot ({task.robot!r})."
        )
