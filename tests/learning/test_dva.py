import math
from typing import Any

import pytest
import torch
from point_mass import PointMass

from dva.learning import DVA, DvaConfig

METRICS = {
    "iteration", "env_steps", "return", "episode_length", "actor_loss", "critic_loss",
    "actor_grad_norm", "critic_grad_norm", "action_gradient_norm", "learning_rate",
    "nonfinite_count", "seconds_rollout", "seconds_rendering", "seconds_simulation",
    "seconds_action_gradient", "seconds_regression", "seconds_critic",
}  # fmt: skip


def small_config(**changes: Any) -> DvaConfig:
    values: dict[str, Any] = {
        "num_envs": 6, "horizon": 5, "iterations": 20, "image_size": 16, "trunk_size": 16,
        "actor_hidden": (16,), "critic_hidden": (16,), "critic_iterations": 2,
        "precision": "float32",
    }  # fmt: skip
    return DvaConfig(**{**values, **changes})


def small_learner(seed: int = 0, **changes: Any) -> DVA:
    config = small_config(**changes)
    return DVA(PointMass(config.num_envs), config, seed=seed)


def without_times(metrics: dict[str, float | None]) -> dict[str, float | None]:
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


def test_iterate_returns_every_metric() -> None:
    learner = small_learner(horizon=2)
    metrics = learner.iterate()
    assert set(metrics) == METRICS
    assert metrics["iteration"] == 1 and metrics["env_steps"] == 12
    assert metrics["learning_rate"] == learner.config.actor_learning_rate
    assert metrics["nonfinite_count"] == 0


def test_return_is_none_until_an_episode_has_finished_then_the_mean_of_the_last() -> None:
    env = PointMass(6, episode_length=12)
    learner = DVA(env, small_config(horizon=2))
    learner.state_dict()
    env.steps = torch.zeros(6, dtype=torch.int64)
    env.state = torch.zeros(6, 4)
    returns, lengths = [], []
    step = env.step

    def watched_step(action: torch.Tensor) -> Any:
        result = step(0.1 * action)
        done = result[2] | result[3]
        returns.extend(result[4]["episode_return"][done].tolist())
        lengths.extend(result[4]["episode_length"][done].tolist())
        return result

    env.step = watched_step  # type: ignore[method-assign]
    metrics = learner.iterate()
    assert metrics["return"] is None and metrics["episode_length"] is None
    for _ in range(5):
        metrics = learner.iterate()
    assert len(returns) >= 6
    assert metrics["return"] == pytest.approx(sum(returns) / len(returns))
    assert metrics["episode_length"] == pytest.approx(sum(lengths) / len(lengths))


def test_act_is_the_squashed_mean_for_any_number_of_images() -> None:
    learner = small_learner()
    pixels = torch.randint(0, 256, (3, 9, 16, 16), dtype=torch.uint8)
    action = learner.act({"pixels": pixels})
    assert torch.equal(action, torch.tanh(learner.actor(pixels)[0]))
    assert not action.requires_grad


def test_a_memory_budget_sets_the_micro_batch() -> None:
    learner = small_learner(memory_budget=1.0)
    assert learner.actor.encoder is not None
    each = learner.actor.encoder.activation_bytes
    # 9 x 16 x 16 pixels in; 7, 5, 3 and 1 squared times 32 out; two gradients of the first; float32
    assert each == 4 * (9 * 256 + 32 * (49 + 25 + 9 + 1) + 2 * 32 * 49)
    assert learner.micro_batch == 30  # all of them: 32 would fit
    assert small_learner(memory_budget=0.5).micro_batch == 15  # 16 would fit: two equal pieces
    assert small_learner(observe="state").micro_batch == 30
    assert small_learner(memory_budget=1.0, micro_batch=7).micro_batch == 7
    assert learner.iterate()["nonfinite_count"] == 0


def test_threads_do_not_change_training() -> None:
    rows = []
    for threads in (1, 3):
        config = small_config(num_envs=20, micro_batch=30)
        learner = DVA(PointMass(20), config, threads=threads)
        rows.append([without_times(learner.iterate()) for _ in range(3)])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("micro_batch", [1, 7, 16])
def test_micro_batch_does_not_change_the_gradient(micro_batch: int) -> None:
    gradients = []
    for size in (micro_batch, 1000):
        learner = small_learner(micro_batch=size)
        rollout = learner.rollout()
        learner.policy_gradient(rollout, torch.randn(5, 6, 2, generator=torch.manual_seed(1)))
        gradients.append(torch.cat([p.grad.flatten() for p in learner.actor.parameters()]))  # type: ignore[union-attr]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_ten_iterations_equal_five_saved_loaded_and_five_more() -> None:
    straight = small_learner()
    rows = [without_times(straight.iterate()) for _ in range(10)]
    first = small_learner()
    assert [without_times(first.iterate()) for _ in range(5)] == rows[:5]
    saved = {name: value.clone() for name, value in first.state_dict().items()}
    assert all(value.is_contiguous() and not value.requires_grad for value in saved.values())
    first.iterate()
    second = small_learner(seed=99)
    second.load_state_dict(saved)
    assert [without_times(second.iterate()) for _ in range(5)] == rows[5:]
    expected = straight.state_dict()
    for name, value in second.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_learner_that_never_ran_can_be_saved_and_loaded() -> None:
    first, second = small_learner(), small_learner(seed=3)
    second.load_state_dict(first.state_dict())
    assert without_times(first.iterate()) == without_times(second.iterate())


def test_equal_seeds_give_equal_parameters_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = small_learner(1), small_learner(1), small_learner(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.actor.trunk.weight, second.actor.trunk.weight)
    assert not torch.equal(first.actor.trunk.weight, other.actor.trunk.weight)


def test_an_environment_with_nan_gradient_is_dropped_and_counted() -> None:
    broken = small_learner()
    assert isinstance(broken.env, PointMass)
    broken.env.broken = 2
    metrics = broken.iterate()
    assert metrics["nonfinite_count"] == 1
    for name, value in metrics.items():
        assert value is None or math.isfinite(value), name
    for name, value in broken.state_dict().items():
        assert torch.isfinite(value.double()).all(), name
    # The other environments teach exactly what they teach when nothing is broken.
    healthy = small_learner()

    def without_environment_two(rollout: Any, value: Any, discount: float) -> Any:
        from dva.learning import adjoint_action_gradient

        gradient, loss = adjoint_action_gradient(rollout, value, discount)
        keep = torch.arange(6) != 2
        return gradient * keep[:, None], loss

    healthy.action_gradient = without_environment_two
    assert healthy.iterate()["actor_grad_norm"] == metrics["actor_grad_norm"]


def test_nonfinite_policy_gradient_skips_the_update_and_is_counted() -> None:
    learner = small_learner()
    before = {name: value.clone() for name, value in learner.actor.state_dict().items()}
    learner.action_gradient = lambda rollout, value, discount: (
        torch.full((5, 6, 2), 3e38),
        torch.zeros(6),
    )
    metrics = learner.iterate()
    assert metrics["nonfinite_count"] == 1 and metrics["actor_grad_norm"] is None
    for name, value in learner.actor.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_environment_without_graph_is_refused() -> None:
    learner = small_learner()
    step = learner.env.step

    def step_without_graph(action: torch.Tensor) -> Any:
        return step(action.detach())

    learner.env.step = step_without_graph  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="carry no graph to the actions"):
        learner.iterate()


def test_disagreement_of_environment_and_config_is_named() -> None:
    with pytest.raises(ValueError, match="num_envs is 4, the config asks for 6"):
        DVA(PointMass(4), small_config())
    with pytest.raises(ValueError, match="pixels_shape"):
        DVA(PointMass(6), small_config(image_size=20))


def test_a_short_run_improves_the_return() -> None:
    config = small_config(
        num_envs=32, horizon=16, iterations=60, trunk_size=32, actor_hidden=(32,),
        critic_hidden=(32,), critic_iterations=4, actor_learning_rate=5e-3,
        critic_learning_rate=2e-3,
    )  # fmt: skip
    learner = DVA(PointMass(32, episode_length=40), config)
    returns = [learner.iterate()["return"] for _ in range(60)]
    assert isinstance(returns[0], float) and isinstance(returns[-1], float)
    assert returns[0] < 0.0 and returns[-1] > 25.0


def test_a_policy_of_pixels_needs_an_environment_with_a_camera() -> None:
    import dva

    env = dva.make("cartpole", num_envs=6, image_size=16, pixels=False, device="cpu")
    with pytest.raises(ValueError, match='no camera. Make .* pixels=True, or set observe to "sta'):
        DVA(env, small_config())


def test_a_policy_of_pixels_is_never_shown_states() -> None:
    learner = small_learner()
    rollout = learner.rollout()
    rollout.frames = None
    with pytest.raises(ValueError, match="frames are None, but the policy sees pixels"):
        learner.policy_gradient(rollout, torch.zeros(5, 6, 2))
