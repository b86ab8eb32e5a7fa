import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small import parameter_gradient, small_dva, without_times

from dva.learning.first_order.action_gradient import AdjointActionGradient, cap_environments

METRICS = {
    "return", "episode_length", "actor_loss", "critic_loss", "actor_grad_norm",
    "critic_grad_norm", "action_gradient_norm", "learning_rate", "nonfinite_count", "updates",
    "skipped_updates", "reward", "action_std", "visual_feedback", "seconds_rollout",
    "seconds_rendering", "seconds_simulation",
    "seconds_action_gradient", "seconds_regression", "seconds_critic",
}  # fmt: skip


class Constant:
    """An action gradient that says the same of every action."""

    needs_graph = False
    recordable = True

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, rollout: Any, env: Any, value: Any, discount: float) -> Any:
        return torch.full((5, 6, 2), self.value), torch.zeros(6)


def test_iterate_returns_every_metric() -> None:
    algorithm = small_dva(horizon=2)
    metrics = algorithm.iterate()
    assert set(metrics) == METRICS
    assert algorithm.iteration == 1 and algorithm.env_steps == 12
    assert metrics["learning_rate"] == algorithm.config.actor_learning_rate
    assert metrics["nonfinite_count"] == 0
    assert (metrics["updates"], metrics["skipped_updates"]) == (1, 0)


def test_visual_feedback_is_how_much_the_mean_action_varies_over_a_rollout() -> None:
    algorithm = small_dva()
    rollout = algorithm.rollout()
    found = algorithm.measure(rollout)
    images = rollout.frames["pixels"].observations(0, 5 * 6)
    mean = algorithm.policy.mean({"pixels": images})
    expected = mean.var(0, correction=0).mean().sqrt()
    torch.testing.assert_close(found["visual_feedback"], expected, atol=1e-6, rtol=1e-4)
    assert found["visual_feedback"] > 0.01
    assert found["action_std"].item() == pytest.approx(math.exp(-1.0))
    assert found["reward"] == rollout.rewards.mean()
    with torch.no_grad():
        algorithm.actor.mean.weight.zero_()  # the policy goes blind
    assert algorithm.measure(algorithm.rollout())["visual_feedback"] < 1e-6
    assert "visual_feedback" not in small_dva(PointMass(6, observe=("state",))).iterate()


def test_centres_start_with_the_first_images_and_follow_later_ones() -> None:
    algorithm = small_dva(center_features=True)
    trunk = algorithm.actor.trunks["pixels"]

    def mean_features() -> torch.Tensor:
        return trunk.encoder(algorithm.env.observation["pixels"]).mean(0).detach()

    assert trunk.center is not None
    torch.testing.assert_close(trunk.center, mean_features())
    before = trunk.center.clone()
    algorithm.iterate()
    torch.testing.assert_close(trunk.center, before.lerp(mean_features(), 0.1))
    assert not torch.equal(trunk.center, before)


def test_the_learning_rate_ends_with_the_planned_steps() -> None:
    algorithm = small_dva(iterations=4)
    rates = [algorithm.iterate()["learning_rate"] for _ in range(6)]
    first, final = algorithm.config.actor_learning_rate, algorithm.config.final_learning_rate
    expected = [first + (final - first) * min(i / 4, 1) for i in range(6)]
    assert rates == pytest.approx(expected)


def test_return_is_none_until_an_episode_has_finished_then_the_mean_of_the_last() -> None:
    env = PointMass(6, episode_length=12)
    algorithm = small_dva(env, horizon=2)
    zeros = torch.zeros(6, 2)
    tensors = {**env.tensors(), "steps": torch.zeros(6, dtype=torch.int64)}
    env.put_tensors({**tensors, "joint_q": zeros, "joint_qd": zeros})
    returns, lengths = [], []
    step = env.step

    def watched_step(action: torch.Tensor) -> Any:
        result = step(0.1 * action)
        done = result[2] | result[3]
        returns.extend(result[4]["episode_return"][done].tolist())
        lengths.extend(result[4]["episode_length"][done].tolist())
        return result

    env.step = watched_step  # type: ignore[method-assign]
    metrics = algorithm.iterate()
    assert metrics["return"] is None and metrics["episode_length"] is None
    for _ in range(5):
        metrics = algorithm.iterate()
    assert len(returns) >= 6
    assert metrics["return"] == pytest.approx(sum(returns) / len(returns))
    assert metrics["episode_length"] == pytest.approx(sum(lengths) / len(lengths))


def test_act_is_the_squashed_mean_for_any_number_of_images() -> None:
    algorithm = small_dva()
    pixels = torch.randint(0, 256, (3, 9, 16, 16), dtype=torch.uint8)
    action, memory = algorithm.policy.act({"pixels": pixels}, {})
    assert torch.equal(action, torch.tanh(algorithm.actor({"pixels": pixels})[0]))
    assert not action.requires_grad and not memory


def test_a_memory_budget_sets_the_micro_batch() -> None:
    algorithm = small_dva(memory_budget=1.0)
    each = algorithm.actor.activation_bytes
    # 9 x 16 x 16 pixels in; 7, 5, 3 and 1 squared times 32 out; two gradients of the first; float32
    assert each == 4 * (9 * 256 + 32 * (49 + 25 + 9 + 1) + 2 * 32 * 49)
    assert algorithm.micro_batch == 30  # all of them: 32 would fit
    assert small_dva(memory_budget=0.5).micro_batch == 15  # 16 would fit: two equal pieces
    assert small_dva(PointMass(6, observe=("state",))).micro_batch == 30
    assert small_dva(memory_budget=1.0, micro_batch=7).micro_batch == 7
    assert algorithm.iterate()["nonfinite_count"] == 0


def test_threads_do_not_change_training() -> None:
    rows = []
    for threads in (1, 3):
        algorithm = small_dva(PointMass(20), threads=threads, micro_batch=30)
        rows.append([without_times(algorithm.iterate()) for _ in range(3)])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("micro_batch", [1, 7, 16])
def test_micro_batch_does_not_change_the_gradient(micro_batch: int) -> None:
    gradients = []
    for size in (micro_batch, 1000):
        algorithm = small_dva(micro_batch=size)
        rollout = algorithm.rollout()
        algorithm.policy_gradient(rollout, torch.randn(5, 6, 2, generator=torch.manual_seed(1)))
        assert all(p.grad is not None for p in algorithm.actor.parameters())
        gradients.append(parameter_gradient(algorithm))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_ten_iterations_equal_five_saved_loaded_and_five_more() -> None:
    straight = small_dva()
    rows = [without_times(straight.iterate()) for _ in range(10)]
    first = small_dva()
    assert [without_times(first.iterate()) for _ in range(5)] == rows[:5]
    saved = {name: value.clone() for name, value in first.state_dict().items()}
    assert all(value.is_contiguous() and not value.requires_grad for value in saved.values())
    first.iterate()
    second = small_dva(seed=99)
    second.load_state_dict(saved)
    assert [without_times(second.iterate()) for _ in range(5)] == rows[5:]
    assert (second.iteration, second.env_steps) == (straight.iteration, straight.env_steps)
    expected = straight.state_dict()
    for name, value in second.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_an_algorithm_that_never_ran_can_be_saved_and_loaded() -> None:
    first, second = small_dva(), small_dva(seed=3)
    second.load_state_dict(first.state_dict())
    assert without_times(first.iterate()) == without_times(second.iterate())


def test_equal_seeds_give_equal_parameters_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    weights = [
        small_dva(seed=seed).actor.trunks["pixels"].linear.weight for seed in (1, 1, 2)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_environment_with_nan_gradient_is_dropped_and_counted() -> None:
    env = PointMass(6)
    broken = small_dva(env)
    env.broken = 2
    metrics = broken.iterate()
    assert metrics["nonfinite_count"] == 1 and metrics["skipped_updates"] == 0
    for name, value in metrics.items():
        assert value is None or math.isfinite(value), name
    for name, value in broken.state_dict().items():
        assert torch.isfinite(value.double()).all(), name
    # The other environments teach exactly what they teach when nothing is broken.
    healthy = small_dva()

    class WithoutEnvironmentTwo(AdjointActionGradient):
        def __call__(self, rollout: Any, env: Any, value: Any, discount: float) -> Any:
            gradient, loss = super().__call__(rollout, env, value, discount)
            keep = torch.arange(6) != 2
            return gradient * keep[:, None], loss

    healthy.action_gradient = WithoutEnvironmentTwo()
    assert healthy.iterate()["actor_grad_norm"] == metrics["actor_grad_norm"]


def test_nonfinite_policy_gradient_skips_the_update_and_is_counted() -> None:
    algorithm = small_dva()
    before = {name: value.clone() for name, value in algorithm.actor.state_dict().items()}
    algorithm.action_gradient = Constant(3e38)
    metrics = algorithm.iterate()
    assert metrics["nonfinite_count"] == 1 and metrics["actor_grad_norm"] is None
    assert metrics["skipped_updates"] == 1
    for name, value in algorithm.actor.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_gradient_of_zero_counts_as_a_skipped_update() -> None:
    algorithm = small_dva()
    algorithm.action_gradient = Constant(0.0)
    metrics = algorithm.iterate()
    assert (metrics["skipped_updates"], metrics["updates"]) == (1, 1)
    assert metrics["nonfinite_count"] == 0 and metrics["actor_grad_norm"] == 0.0


def test_a_cap_shortens_environments_that_are_longer_than_so_many_medians() -> None:
    lengths = torch.tensor([1.0, 0.0, 3.0, 2.0, 50.0, 1.0])  # the second was left out
    directions = torch.randn(5, 6, 2, generator=torch.Generator().manual_seed(0))
    directions /= directions.square().sum((0, 2), keepdim=True).sqrt()
    gradient = directions * lengths[:, None]
    capped = cap_environments(gradient, 1.25)  # the median of the others is 2
    expected = torch.tensor([1.0, 0.0, 2.5, 2.0, 2.5, 1.0])
    torch.testing.assert_close(capped.square().sum((0, 2)).sqrt(), expected)
    torch.testing.assert_close(capped, directions * expected[:, None])
    assert not cap_environments(torch.zeros(5, 6, 2), 2.0).any()


def test_the_cap_is_used_where_it_is_asked_for() -> None:
    class Uneven(Constant):
        def __call__(self, *arguments: Any) -> Any:
            gradient = torch.ones(5, 6, 2)
            gradient[:, 0] = 100.0
            return gradient, torch.zeros(6)

    for cap, norms in ((None, [100.0, 1.0]), (3.0, [3.0, 1.0])):
        algorithm = small_dva(action_gradient_cap=cap)
        algorithm.action_gradient = Uneven(0.0)  # type: ignore[assignment]
        expected = math.sqrt(10 * (norms[0] ** 2 + 5 * norms[1] ** 2))
        assert algorithm.iterate()["action_gradient_norm"] == pytest.approx(expected)


def test_an_action_gradient_that_needs_no_graph_gets_none() -> None:
    algorithm = small_dva()
    algorithm.action_gradient = Constant(1.0)
    rollout = algorithm.rollout()
    tensors = [rollout.rewards, rollout.next_states, *rollout.actions]
    assert not any(tensor.requires_grad for tensor in tensors)


@pytest.mark.parametrize(
    ("estimate", "message"),
    [
        ((torch.zeros(5, 6), torch.zeros(6)), r"dL/da as \(5, 6\), expected a tensor \(5, 6, 2\)"),
        ((torch.zeros(6, 5, 2), torch.zeros(6)), r"dL/da as \(6, 5, 2\), expected"),
        ((None, torch.zeros(6)), "dL/da as NoneType"),
        ((torch.zeros(5, 6, 2), torch.zeros(())), r"the loss as \(\), expected a tensor \(6,\)"),
    ],
)
def test_an_action_gradient_of_another_shape_is_named(estimate: Any, message: str) -> None:
    class Wrong(Constant):
        def __call__(self, *arguments: Any) -> Any:
            return estimate

    algorithm = small_dva()
    algorithm.action_gradient = Wrong(0.0)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=f"^Wrong returns {message}"):
        algorithm.iterate()


def test_environment_without_graph_is_refused() -> None:
    env = PointMass(6)
    algorithm = small_dva(env)
    step = env.step

    def step_without_graph(action: torch.Tensor) -> Any:
        return step(action.detach())

    env.step = step_without_graph  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="carry no graph to the actions"):
        algorithm.iterate()


def test_a_simulator_without_gradients_is_refused() -> None:
    env = PointMass(6)
    env.simulator = SimpleNamespace(differentiable=False)
    with pytest.raises(ValueError, match="'adjoint' needs a differentiable simulator"):
        small_dva(env)


def test_an_unknown_action_gradient_is_named() -> None:
    with pytest.raises(ValueError, match="Unknown action gradient 'adjont'.*'adjoint'"):
        small_dva(action_gradient="adjont")


def test_a_short_run_improves_the_return() -> None:
    algorithm = small_dva(
        PointMass(32, episode_length=40), iterations=60, horizon=16, trunk_size=32,
        actor_hidden=(32,), critic_hidden=(32,), critic_iterations=4, actor_learning_rate=5e-3,
        critic_learning_rate=2e-3,
    )  # fmt: skip
    returns = [algorithm.iterate()["return"] for _ in range(60)]
    assert isinstance(returns[0], float) and isinstance(returns[-1], float)
    assert returns[0] < 0.0 and returns[-1] > 25.0


def test_a_policy_of_pixels_is_never_shown_states() -> None:
    algorithm = small_dva()
    rollout = algorithm.rollout()
    rollout.frames = {}
    with pytest.raises(ValueError, match="no frames of 'pixels', which the policy sees"):
        algorithm.policy_gradient(rollout, torch.zeros(5, 6, 2))
    with pytest.raises(ValueError, match="no 'pixels', which the policy reads"):
        algorithm.policy.act({"state": torch.zeros(6, 4)}, {})


def test_noise_and_minibatches_of_neighbouring_seeds_are_apart() -> None:
    one, next_one = small_dva(seed=0), small_dva(seed=1)
    states = [
        x.get_state()
        for algorithm in (one, next_one)
        for x in algorithm.generators.values()
    ]
    for i, state in enumerate(states):
        assert not any(torch.equal(state, other) for other in states[i + 1 :])


def test_episodes_that_were_cut_to_stagger_do_not_count() -> None:
    staggered = small_dva(PointMass(6, episode_length=12), stagger=True)
    ends = []
    for _ in range(8):
        rollout = staggered.rollout()
        whole = staggered.whole_episodes(rollout)
        cut = rollout.done & ~whole
        assert not (cut & rollout.terminated).any()
        assert (rollout.episode_lengths[cut] < 12).all()
        assert (rollout.episode_lengths[whole & rollout.truncated] == 12).all()
        ends.append((int(cut.sum()), int(whole.sum())))
    assert sum(cut for cut, _ in ends[:3]) > 0
    assert sum(cut for cut, _ in ends[3:]) == 0 and sum(whole for _, whole in ends[3:]) > 0
    plain = small_dva(PointMass(6, episode_length=12))
    rollout = plain.rollout()
    assert torch.equal(plain.whole_episodes(rollout), rollout.done)
