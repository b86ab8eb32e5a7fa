"""A task whose functions do not fit is refused when an environment is made, in one line."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dva import tasks
from dva.tasks.cartpole import Cartpole


def with_function(name: str, function: Callable[..., Any]) -> tasks.Task:
    """Cartpole with another function, which gets the number of rows and the arguments."""
    kind = type("Changed", (Cartpole,), {name: lambda self, *arguments: function(*arguments)})
    return replace(kind(), name="changed")


CASES: list[tuple[str, Callable[..., Any], str]] = [
    ("start", lambda n, *_: (torch.zeros(n, 3), torch.zeros(n, 2)), r"joint_q as .* \(2, 3\)"),
    ("start", lambda n, *_: (torch.zeros(n, 2), torch.zeros(n)), r"joint_qd as .* \(2,\) for"),
    ("start", lambda n, *_: (torch.zeros(2), torch.zeros(n, 2)), r"expected torch.float32 \(2, 2"),
    ("start", lambda n, *_: (torch.zeros(n, 2).double(),) * 2, "joint_q as torch.float64"),
    ("start", lambda n, *_: torch.zeros(n, 2), "returns Tensor; return the pair"),
    ("start", lambda n, *_: (torch.zeros(n, 2),), r"return the pair \(joint_q, joint_qd\)"),
    ("start", lambda n, *_: ([0.0], torch.zeros(n, 2)), "joint_q as list, expected a tensor"),
    ("reward", lambda q, *_: q.sum(), r"reward\(\) .* the reward as torch.float32 \(\) for 2"),
    ("reward", lambda q, *_: q, r"the reward as torch.float32 \(2, 2\) .*expected .* \(2,\)"),
    ("reward", lambda q, *_: q[:, :1], r"the reward as torch.float32 \(2, 1\)"),
    ("reward", lambda q, *_: q[:, 0] > 0, "the reward as torch.bool"),
    ("reward", lambda q, *_: 1.0, "the reward as float, expected a tensor"),
    ("reward", lambda q, *_: None, "the reward as NoneType"),
    ("state_observation", lambda q, *_: q[:, 0], r"the observation .* \(2,\) .*\(2, O\)"),
    ("state_observation", lambda q, *_: q.long(), "the observation as torch.int64"),
    ("terminated", lambda q, *_: q[:, 0], "the flag as torch.float32 .*expected torch.bool"),
    ("terminated", lambda q, *_: q > 0, r"the flag as torch.bool \(2, 2\)"),
    ("terminated", lambda q, *_: False, "the flag as bool, expected a tensor torch.bool"),
]


@pytest.mark.parametrize(("name", "function", "message"), CASES)
@pytest.mark.parametrize("num_envs", [1, 3])
def test_what_does_not_fit_is_named_in_one_line(make, name, function, message, num_envs):
    with pytest.raises(ValueError, match=message) as caught:
        make(with_function(name, function), num_envs=num_envs)
    text = str(caught.value)
    assert text.startswith(f"{name}() of task 'changed' returns ")
    assert "\n" not in text and caught.value.__cause__ is None


def test_what_fits_passes(make):
    env = make(with_function("state_observation", lambda q, qd, action: torch.cat([q, action], 1)))
    assert env.state_size == 3 and env.reset()["state"].shape == (3, 3)


def fail(*_: object) -> torch.Tensor:
    return torch.zeros(2, 3)[:, 5]


@pytest.mark.parametrize("name", ["start", "state_observation", "reward", "terminated"])
def test_a_function_that_fails_is_named_in_one_line(make, name):
    message = rf"^{name}\(\) of task 'changed' fails with IndexError for 2 robots: index 5 is out"
    with pytest.raises(ValueError, match=message) as caught:
        make(with_function(name, fail))
    assert isinstance(caught.value.__cause__, IndexError) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("start", lambda n, *_: (torch.zeros(2, 2),) * 2, r"returns \(2, 2\) for 3 robots"),
        ("reward", lambda q, *_: q[:2, 0], r"returns \(2,\) for 3 robots, expected \(3,\)"),
        ("reward", lambda q, *_: q[:1, 0] if len(q) > 2 else q[:, 0], r"\(1,\) for 3 robots"),
        ("state_observation", lambda q, *_: q[:2], r"\(2, 2\) for 3 robots, expected \(3, 2\)"),
        ("terminated", lambda q, *_: q[:1, 0].expand(2) > 0, r"\(2,\) for 3 robots"),
    ],
)
def test_a_shape_that_depends_on_the_number_of_robots_is_named(make, name, function, message):
    env = make(with_function(name, function))
    with pytest.raises(ValueError, match=message) as caught:
        env.reset()
        env.step(torch.zeros(3, 1))
    assert str(caught.value).startswith(f"{name}() of task 'changed' ")
