"""SHAC, and D.Va on states: the full gradient and its decoupled part."""

from typing import Any

import pytest
import torch
from point_mass import PointMass

import dva
from dva.learning import DVA, SHAC, DvaConfig, Learner, ShacConfig
from dva.learning.first_order.returns import horizon_loss
from dva.learning.first_order.rollout import Rollout

SMALL: dict[str, Any] = {
    "num_envs": 4, "horizon": 6, "iterations": 20, "actor_hidden": (16,), "critic_hidden": (16,),
    "critic_iterations": 2, "observe": "state",
}  # fmt: skip
BOTH: list[tuple[Any, Any]] = [(SHAC, ShacConfig), (DVA, DvaConfig)]


def parameter_gradient(learner: Learner) -> torch.Tensor:
    """The gradient of the last iteration, before it was clipped, as one direction."""
    gradients = [p.grad.flatten() for p in learner.actor.parameters() if p.grad is not None]
    return torch.cat(gradients)


def loss_of(learner: SHAC, rollout: Rollout) -> torch.Tensor:
    values = learner.target_value(rollout.next_states)
    ends = rollout.terminated, rollout.truncated
    return horizon_loss(rollout.rewards, values, *ends, learner.config.discount).sum()


def test_gradient_equals_finite_differences() -> None:
    learner = SHAC(PointMass(4), ShacConfig(**SMALL), seed=1)
    start = learner.state_dict()

    def loss() -> torch.Tensor:
        learner.load_state_dict(start)
        return loss_of(learner, learner.collect(learner._sample_action))

    gradient = torch.autograd.grad(loss(), learner.actor.mean.bias)[0]
    numeric = torch.empty_like(gradient)
    for index in range(len(gradient)):
        values = []
        for shift in (2e-3, -2e-3):
            start["actor.mean.bias"][index] += shift
            with torch.no_grad():
                values.append(loss())
            start["actor.mean.bias"][index] -= shift
        numeric[index] = (values[0] - values[1]) / 4e-3
    torch.testing.assert_close(gradient, numeric, rtol=5e-3, atol=2e-4)


def test_last_step_of_a_horizon_has_nothing_to_decouple() -> None:
    # With a horizon of one step no state of the rollout depends on the policy before it acts.
    configs = {"horizon": 1, "num_envs": 4, "observe": "state"}
    gradients = []
    for kind, config in BOTH:
        learner = kind(PointMass(4), config(**{**SMALL, **configs}), seed=3)
        learner.iterate()
        gradients.append(parameter_gradient(learner))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_full_gradient_differs_from_the_decoupled_one() -> None:
    gradients = []
    for kind, config in BOTH:
        learner = kind(PointMass(4), config(**SMALL), seed=3)
        learner.iterate()
        gradients.append(parameter_gradient(learner))
    similarity = torch.cosine_similarity(*gradients, dim=0)
    assert 0.3 < similarity < 0.9999


@pytest.mark.parametrize(("kind", "config"), BOTH)
def test_trains_on_the_simulator_without_a_camera(kind: Any, config: Any) -> None:
    env = dva.make("cartpole", num_envs=4, pixels=False, device="cpu")
    learner = kind(env, config(**SMALL), seed=0)
    before = learner.actor.mean.weight.clone()
    metrics = [learner.iterate() for _ in range(3)]
    assert all(row["nonfinite_count"] == 0 for row in metrics)
    assert not torch.equal(before, learner.actor.mean.weight)
    assert learner.act({"state": env.get_state()[0].new_zeros(7, 5)}).shape == (7, 1)


def test_resuming_equals_going_on() -> None:
    rows = []
    straight = SHAC(PointMass(4), ShacConfig(**SMALL), seed=2)
    for _ in range(6):
        rows.append(straight.iterate())
    first = SHAC(PointMass(4), ShacConfig(**SMALL), seed=2)
    for _ in range(3):
        first.iterate()
    second = SHAC(PointMass(4), ShacConfig(**SMALL), seed=9)
    second.load_state_dict(first.state_dict())
    for expected in rows[3:]:
        row = second.iterate()
        assert {k: v for k, v in row.items() if "seconds" not in k} == {
            k: v for k, v in expected.items() if "seconds" not in k
        }


def test_an_environment_with_nan_gradient_is_dropped_and_counted() -> None:
    broken = SHAC(PointMass(4), ShacConfig(**SMALL), seed=3)
    assert isinstance(broken.env, PointMass)
    broken.env.broken = 1
    before = broken.actor.mean.weight.clone()
    metrics = broken.iterate()
    assert metrics["nonfinite_count"] == 1
    assert all(torch.isfinite(value.double()).all() for value in broken.state_dict().values())
    assert not torch.equal(before, broken.actor.mean.weight)
    # The other environments teach exactly what they teach when nothing is broken.
    healthy = SHAC(PointMass(4), ShacConfig(**SMALL), seed=3)
    rollout = healthy.collect(healthy._sample_action)
    values = healthy.target_value(rollout.next_states)
    ends = rollout.terminated, rollout.truncated
    loss = horizon_loss(rollout.rewards, values, *ends, healthy.config.discount)
    (loss * torch.tensor([1.0, 0.0, 1.0, 1.0])).sum().backward()
    norm = torch.linalg.vector_norm(parameter_gradient(healthy)).item()
    assert metrics["actor_grad_norm"] == pytest.approx(norm, rel=1e-5)
    broken.env.broken = None
    assert broken.iterate()["nonfinite_count"] == 0


def test_a_policy_of_states_keeps_no_frames() -> None:
    learner = SHAC(PointMass(4), ShacConfig(**SMALL))
    rollout = learner.collect(learner._sample_action)
    assert rollout.frames is None
    assert set(rollout.last_observation) == {"state"}


def test_pixels_are_refused_with_the_reason() -> None:
    with pytest.raises(
        ValueError, match='carry a gradient.*Use the camera "differentiable", or observe "state"'
    ):
        SHAC(PointMass(4), ShacConfig(**{**SMALL, "observe": "pixels"}))


def test_unknown_observation() -> None:
    with pytest.raises(ValueError, match='observe is \'touch\'; it must be "pixels" or "state"'):
        ShacConfig(observe="touch")  # type: ignore[arg-type]
