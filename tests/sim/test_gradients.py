"""Gradients equal finite differences in float64."""

import dataclasses
from functools import partial
from typing import Any

import pytest
import torch

from dva import robots
from dva.sim import Model, WarpSimulator, load_model

from .robots import assert_central_differences, random_state, step, write_crawler


@pytest.fixture(params=("cartpole", "hopper", "crawler"))
def model(request, tmp_path) -> Model:
    if request.param == "crawler":
        return load_model(write_crawler(tmp_path))
    return load_model(robots.mjcf_path(request.param))


def loss(sim: WarpSimulator, steps: int, weights, joint_q, joint_qd, action) -> torch.Tensor:
    for _ in range(steps):
        joint_q, joint_qd = step(sim, joint_q, joint_qd, action)
    return (weights[0] * joint_q + 0.5 * joint_q**2).sum(1) + (weights[1] * joint_qd).sum(1)


def touching_state(model: Model, num_envs: int):
    """Low enough that contacts are active in some environments."""
    joint_q, joint_qd, action = random_state(model, num_envs, seed=3)
    if model.num_contacts:
        height = 2 if model.num_coords > model.num_dofs else 1
        joint_q[:, height] -= torch.linspace(0.2, 0.45, num_envs, dtype=joint_q.dtype)
    return joint_q, joint_qd, action


@pytest.mark.parametrize("interval", (1, 5, 12))
def test_against_central_differences(model: Model, interval: int):
    num_envs, steps = 6, 2
    sim = WarpSimulator(
        model, num_envs, dtype=torch.float64, substeps=12, mass_matrix_interval=interval
    )
    inputs = [value.requires_grad_() for value in touching_state(model, num_envs)]
    weights = random_state(model, num_envs, seed=4)
    assert_central_differences(partial(loss, sim, steps, weights), inputs)


def test_contacts_are_active_in_the_gradient_test(tmp_path):
    model = load_model(write_crawler(tmp_path))
    state = touching_state(model, 6)
    fall = WarpSimulator(model, 6, dtype=torch.float64, substeps=6)
    free = WarpSimulator(_without_contacts(model), 6, dtype=torch.float64, substeps=6)
    difference = (step(fall, *state)[1] - step(free, *state)[1]).abs().amax(1)
    assert (difference > 1e-3).sum() >= 2


def _without_contacts(model: Model) -> Model:
    names = ("contact_link", "contact_point", "contact_radius", "contact_material")
    return dataclasses.replace(model, **{name: getattr(model, name)[:0] for name in names})


@pytest.mark.parametrize(
    "option",
    [
        {"state_storage": "recompute"},
        {"capture": False},
        {"threads": 3},
        {"threads": 3, "state_storage": "recompute"},
    ],
)
def test_options_do_not_change_results(option: dict[str, Any]):
    model = load_model(robots.mjcf_path("hopper"))
    joint_q, joint_qd, action = random_state(model, 7, seed=0, dtype=torch.float32)
    results = []
    choices: list[dict[str, Any]] = [{"threads": 1}, {"threads": 1} | option]
    for options in choices:
        sim = WarpSimulator(model, 7, **options)
        inputs = [value.clone().requires_grad_() for value in (joint_q, joint_qd, action)]
        value = loss(sim, 5, (joint_q, joint_qd), *inputs)
        gradients = torch.autograd.grad(value.sum(), inputs)
        results.append((value.detach(), *gradients))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_backward_can_be_repeated():
    model = load_model(robots.mjcf_path("hopper"))
    inputs = [value.requires_grad_() for value in random_state(model, 4, 1, torch.float32)]
    sim = WarpSimulator(model, 4)
    value = loss(sim, 3, inputs, *inputs).sum()
    first = torch.autograd.grad(value, inputs, retain_graph=True)
    step(sim, *(v.detach() for v in inputs))
    second = torch.autograd.grad(value, inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_nonfinite_environment_passes_no_gradient():
    model = load_model(robots.mjcf_path("hopper"))
    joint_q, joint_qd, action = random_state(model, 3, 1, torch.float32)
    joint_qd[1] = 1e30
    inputs = [value.requires_grad_() for value in (joint_q, joint_qd, action)]
    sim = WarpSimulator(model, 3)
    next_q, next_qd = step(sim, *inputs)
    assert not next_q[1].isfinite().all()
    gradients = torch.autograd.grad((next_q + next_qd).nan_to_num().sum(), inputs)
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert (gradient[1] == 0).all() and (gradient[0] != 0).any()
