"""SHAC, and D.Va on states: the full gradient and its decoupled part."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small import parameter_gradient, small_dva, small_shac, without_times

import dva
from dva.learning.first_order.actor_critic import FirstOrderAlgorithm


def point_mass() -> PointMass:
    return PointMass(4, observe=("state",))


BOTH: list[Callable[..., FirstOrderAlgorithm]] = [
    small_shac, lambda env=None, **changes: small_dva(env, **{"horizon": 6, **changes}),
]  # fmt: skip


def test_gradient_equals_finite_differences() -> None:
    algorithm = small_shac(seed=1)
    start = algorithm.state_dict()

    def loss() -> torch.Tensor:
        algorithm.load_state_dict(start)
        return algorithm.actor_loss(algorithm.collect(algorithm._sample_action)).sum()

    gradient = torch.autograd.grad(loss(), algorithm.actor.mean.bias)[0]
    numeric = torch.empty_like(gradient)
    for index in range(len(gradient)):
        values = []
        for shift in (2e-3, -2e-3):
            start["policy.actor.mean.bias"][index] += shift
            with torch.no_grad():
                values.append(loss())
            start["policy.actor.mean.bias"][index] -= shift
        numeric[index] = (values[0] - values[1]) / 4e-3
    torch.testing.assert_close(gradient, numeric, rtol=5e-3, atol=2e-4)


def test_last_step_of_a_horizon_has_nothing_to_decouple() -> None:
    # With a horizon of one step no state of the rollout depends on the policy before it acts.
    gradients = []
    for make in BOTH:
        algorithm = make(point_mass(), seed=3, horizon=1)
        algorithm.iterate()
        gradients.append(parameter_gradient(algorithm))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_full_gradient_differs_from_the_decoupled_one() -> None:
    gradients = []
    for make in BOTH:
        algorithm = make(point_mass(), seed=3)
        algorithm.iterate()
        gradients.append(parameter_gradient(algorithm))
    similarity = torch.cosine_similarity(*gradients, dim=0)
    assert 0.3 < similarity < 0.9999


@pytest.mark.parametrize("make", BOTH)
def test_trains_on_the_simulator_without_a_camera(make: Any) -> None:
    env = dva.make("cartpole", num_envs=4, observe="state", device="cpu")
    algorithm = make(env)
    before = algorithm.actor.mean.weight.clone()
    metrics = [algorithm.iterate() for _ in range(3)]
    assert all(row["nonfinite_count"] == 0 for row in metrics)
    assert not torch.equal(before, algorithm.actor.mean.weight)
    assert algorithm.policy.act({"state": torch.zeros(7, 5)}, {})[0].shape == (7, 1)


def test_resuming_equals_going_on() -> None:
    straight = small_shac(seed=2)
    rows = [straight.iterate() for _ in range(6)]
    first = small_shac(seed=2)
    for _ in range(3):
        first.iterate()
    second = small_shac(seed=9)
    second.load_state_dict(first.state_dict())
    for expected in rows[3:]:
        assert without_times(second.iterate()) == without_times(expected)


def test_an_environment_with_nan_gradient_is_dropped_and_counted() -> None:
    env = point_mass()
    broken = small_shac(env, seed=3)
    env.broken = 1
    before = broken.actor.mean.weight.clone()
    metrics = broken.iterate()
    assert metrics["nonfinite_count"] == 1
    assert all(torch.isfinite(value.double()).all() for value in broken.state_dict().values())
    assert not torch.equal(before, broken.actor.mean.weight)
    # The other environments teach exactly what they teach when nothing is broken.
    healthy = small_shac(seed=3)
    loss = healthy.actor_loss(healthy.collect(healthy._sample_action))
    (loss * torch.tensor([1.0, 0.0, 1.0, 1.0])).sum().backward()
    norm = torch.linalg.vector_norm(parameter_gradient(healthy)).item()
    assert metrics["actor_grad_norm"] == pytest.approx(norm, rel=1e-5)
    env.broken = None
    assert broken.iterate()["nonfinite_count"] == 0


def test_a_policy_of_states_keeps_no_frames() -> None:
    algorithm = small_shac()
    rollout = algorithm.collect(algorithm._sample_action)
    assert rollout.frames == {}
    assert set(rollout.vectors) == {"state"}
    assert torch.equal(rollout.vectors["state"], rollout.states)


def test_pixels_are_refused_with_the_reason() -> None:
    with pytest.raises(
        ValueError, match='carry a gradient.*Use the camera "differentiable", or observe "state"'
    ):
        small_shac(PointMass(4))


def test_a_simulator_without_gradients_is_refused() -> None:
    env = point_mass()
    env.simulator = SimpleNamespace(differentiable=False)
    with pytest.raises(ValueError, match="SHAC needs a differentiable simulator"):
        small_shac(env)
