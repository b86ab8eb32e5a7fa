"""Compares a task's functions with its robot before anything is stepped."""

import torch

from dva.sim import Skeleton
from dva.tasks.task import Task

__all__ = ["check_task"]

_ROWS = 2
"""Robots with which a task is tried: with one, (1, 2) and (2,) could pass for each other."""


def check_task(task: Task, model: Skeleton, device: torch.device) -> int:
    """Calls every function of a task once and checks what it returns.

    Args:
        task: the task.
        model: its robot.
        device: where to try it.

    Returns:
        The length O of the task's state observation.

    Raises:
        ValueError: a function returns something of another shape or dtype than a task must; the
            text names function, shape and the one expected.
    """
    n = _ROWS
    start = task.start(n, torch.Generator(device), device, False)
    if not isinstance(start, tuple) or len(start) != 2:
        raise ValueError(
            f"start() of task {task.name!r} returns {type(start).__name__}; return the pair "
            "(joint_q, joint_qd)."
        )
    joint_q, joint_qd = start
    _check(task, "start", "joint_q", joint_q, (n, model.num_coords))
    _check(task, "start", "joint_qd", joint_qd, (n, model.num_dofs))
    action = torch.zeros(n, model.num_actions, device=device)
    observation = task.state_observation(joint_q, joint_qd, action)
    _check(task, "state_observation", "the observation", observation, (n, None))
    reward = task.reward(joint_q, joint_qd, action)
    _check(task, "reward", "the reward", reward, (n,))
    terminated = task.terminated(joint_q, joint_qd)
    _check(task, "terminated", "the flag", terminated, (n,), torch.bool)
    return observation.shape[1]


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
