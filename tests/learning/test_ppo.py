"""PPO: advantages, the clipped objective, the rate that follows the policy's steps."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small import parameter_gradient, small_ppo, without_times
from torch import Tensor
from torch.distributions import Normal, kl_divergence

import dva
from dva.learning import PPO, PpoConfig
from dva.learning.on_policy.adaptive_rate import AdaptiveRate
from dva.learning.on_policy.objective import (
    Samples,
    clipped_objective,
    clipped_value_loss,
    divergence,
    log_ratio,
    normalize_advantages,
)
from dva.learning.on_policy.rewards import RewardScale


def samples(
    actions: Tensor, mean: Tensor, log_std: Tensor, advantages: Tensor | None = None
) -> Samples:
    count = len(actions)
    empty = torch.zeros(count)
    return Samples(
        actions, mean, log_std, empty if advantages is None else advantages, empty, empty
    )


def random_samples(count: int = 7) -> tuple[Samples, Tensor, Tensor]:
    torch.manual_seed(0)
    old = samples(torch.randn(count, 2), torch.randn(count, 2), torch.tensor([-0.5, 0.3]))
    return old, old.mean + 0.3 * torch.randn(count, 2), old.log_std + 0.2


# ---------------------------------------------------------------------- advantages


def rollout_of(rewards: Any, terminated: Any, truncated: Any, states: Any, final: Any) -> Any:
    """A rollout of one environment whose state is its value."""
    column: Callable[[Any], Tensor] = lambda x: torch.tensor(x)[:, None]  # noqa: E731
    ends = {"terminated": column(terminated), "truncated": column(truncated)}
    actions = torch.zeros(len(rewards), 1, 2)
    return SimpleNamespace(
        rewards=column(rewards), states=column(states)[..., None],
        next_states=column(final)[..., None], actions=list(actions), noise=actions,
        done=ends["terminated"] | ends["truncated"], **ends,
    )  # fmt: skip


def judged(rollout: Any) -> Samples:
    """Judges with values that are the states, unscaled rewards, and gamma = lambda = 1/2."""
    algorithm = small_ppo(discount=0.5, td_lambda=0.5)
    algorithm.critic = lambda states: states[..., 0]  # type: ignore[assignment]
    algorithm.horizon_normalizers = {"state": lambda x: x}  # type: ignore[dict-item]
    algorithm.reward_scale = lambda rewards, done: rewards  # type: ignore[assignment]
    return algorithm.judge(rollout)


@pytest.mark.parametrize(("truncated", "bootstrap"), [(False, 0.0), (True, 0.5 * 20.0)])
def test_advantages_end_with_the_episode(truncated: bool, bootstrap: float) -> None:
    # The second step ends an episode in a state of value 20, the next begins in one of value 4.
    found = judged(
        rollout_of(
            [1.0, 2.0, 3.0], [False, not truncated, False], [False, truncated, False],
            [6.0, 8.0, 4.0], [8.0, 20.0, 10.0],
        )
    )  # fmt: skip
    last = 3.0 + 0.5 * 10.0 - 4.0  # the horizon ends; nothing is known of what follows
    second = 2.0 + bootstrap - 8.0  # and nothing of the last step
    first = 1.0 + 0.5 * 8.0 - 6.0 + 0.25 * second
    expected = torch.tensor([first, second, last])
    torch.testing.assert_close(found.advantages, expected)
    torch.testing.assert_close(found.targets, expected + torch.tensor([6.0, 8.0, 4.0]))
    assert found.values.tolist() == [6.0, 8.0, 4.0]


def test_advantages_are_the_discounted_sum_of_errors() -> None:
    algorithm = small_ppo(PointMass(6, episode_length=7), horizon=9, discount=0.9, td_lambda=0.8)
    rollout = algorithm.collect_without_graph()
    assert rollout.terminated.any() and rollout.truncated.any()
    found = algorithm.judge(rollout).advantages.view(9, 6)
    normalize = algorithm.horizon_normalizers["state"]
    with torch.no_grad():
        values, following = (
            algorithm.critic(normalize(x)) for x in (rollout.states, rollout.next_states)
        )
    scaled = rollout.rewards * torch.rsqrt(algorithm.reward_scale.statistics.var + 1e-8).float()
    errors = scaled + 0.9 * following * (~rollout.terminated) - values
    expected, later = torch.zeros(9, 6), torch.zeros(6)
    for t in reversed(range(9)):
        later = errors[t] + 0.72 * later * (~rollout.done[t])
        expected[t] = later
    torch.testing.assert_close(found, expected)


def test_rewards_are_in_units_of_the_deviation_of_returns() -> None:
    scale = RewardScale(2, 0.5)
    rewards = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    done = torch.tensor([[False, False], [True, False], [False, False]])
    # of the second environment 2, 1 + 4, 2.5 + 6; the first starts anew after the second step
    returns = torch.tensor([1.0, 2.0, 3.5, 5.0, 5.0, 8.5])
    expected = rewards / returns.std(correction=0)
    torch.testing.assert_close(scale(rewards, done), expected)
    # goes on where it stopped
    scale(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))
    assert scale.running.tolist() == [2.5, 4.25]


# ---------------------------------------------------------------------- the objective


def test_ratio_and_divergence_are_those_of_normal_distributions() -> None:
    old, mean, log_std = random_samples()
    new_one, old_one = Normal(mean, log_std.exp()), Normal(old.mean, old.log_std.exp())
    expected = (new_one.log_prob(old.actions) - old_one.log_prob(old.actions)).sum(-1)
    torch.testing.assert_close(log_ratio(mean, log_std, old), expected)
    expected = kl_divergence(old_one, new_one).sum(-1)
    torch.testing.assert_close(divergence(mean, log_std, old), expected)


def test_tanh_cancels_in_the_ratio() -> None:
    old, mean, log_std = random_samples()
    squash = torch.distributions.transforms.TanhTransform()
    densities = [
        torch.distributions.TransformedDistribution(Normal(m, s.exp()), squash)
        for m, s in ((mean, log_std), (old.mean, old.log_std))
    ]
    new, before = (x.log_prob(torch.tanh(old.actions)).sum(-1) for x in densities)
    torch.testing.assert_close(log_ratio(mean, log_std, old), new - before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shift", "advantage", "moves"),
    [
        # The action lies above the old mean: a higher mean makes it more likely.
        (0.1, 1.0, True), (0.5, 1.0, False), (0.5, -1.0, True),
        (-0.1, -1.0, True), (-0.5, -1.0, False), (-0.5, 1.0, True),
    ],
)  # fmt: skip
def test_the_gradient_is_zero_beyond_the_clip(shift: float, advantage: float, moves: bool) -> None:
    old = samples(torch.ones(1, 1), torch.zeros(1, 1), torch.zeros(1), torch.tensor([advantage]))
    mean = torch.full((1, 1), shift, requires_grad=True)
    sums: dict[int, Tensor] = {}
    loss = clipped_objective(old, 0.2, 0.0, sums)(mean, torch.zeros(1), 0, 1)
    ratio = torch.exp(torch.tensor(0.5 * (1.0 - (1.0 - shift) ** 2)))
    kept = ratio.clamp(0.8, 1.2)
    assert loss.item() == pytest.approx(-min(ratio * advantage, kept * advantage).item())
    (gradient,) = torch.autograd.grad(loss, mean)
    # d ratio / d mean = ratio (a - mean)
    assert gradient.item() == pytest.approx(-ratio.item() * advantage * (1.0 - shift) * moves)
    assert sums[0].tolist() == pytest.approx(
        [loss.item(), shift**2 / 2, float(ratio != kept)]
    )


def test_the_entropy_bonus_widens_the_policy() -> None:
    old = samples(torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(2))
    log_std = torch.zeros(2, requires_grad=True)
    objective = clipped_objective(old, 0.2, 0.3, {})
    pieces = [objective(torch.zeros(2, 2), log_std, start, start + 2) for start in (0, 2)]
    (gradient,) = torch.autograd.grad(torch.stack(pieces).sum(), log_std)
    # The entropy of a normal distribution is log_std and a constant; advantages are 0 here.
    torch.testing.assert_close(gradient, torch.tensor([-0.3, -0.3]))


def vectors_of(algorithm: PPO, rollout: Any) -> dict[str, Tensor]:
    normalizers = algorithm.horizon_normalizers
    return {name: normalizers[name](x).flatten(0, 1) for name, x in rollout.vectors.items()}


@pytest.mark.parametrize("observe", [("pixels",), ("state",), ("pixels", "state")])
def test_the_ratio_is_one_before_the_first_update(observe: tuple[str, ...]) -> None:
    algorithm = small_ppo(PointMass(6, observe=observe))
    algorithm.iterate()  # normalisers and noise are not the first ones any more
    rollout = algorithm.collect_without_graph()
    found, order = algorithm.judge(rollout), torch.randperm(30)
    loss, kl, clipped = algorithm.policy_gradient(
        rollout, vectors_of(algorithm, rollout), found, order
    )
    assert abs(loss.item()) < 1e-5 and abs(kl.item()) < 1e-6 and clipped == 0
    seen = {name: buffer.gather(order) for name, buffer in rollout.frames.items()}
    seen |= {name: x[order] for name, x in vectors_of(algorithm, rollout).items()}
    mean, log_std = algorithm.actor(seen)
    ratio = log_ratio(mean, log_std, found[order]).exp()
    torch.testing.assert_close(ratio, torch.ones(30), rtol=1e-4, atol=1e-4)


def test_pieces_of_a_minibatch_give_the_gradient_of_the_whole() -> None:
    algorithm = small_ppo(PointMass(6, observe=("pixels", "state")), entropy_bonus=0.01)
    rollout = algorithm.collect_without_graph()
    found, numbers = algorithm.judge(rollout), torch.randperm(30)[:11]
    chosen, vectors = normalize_advantages(found[numbers]), vectors_of(algorithm, rollout)
    assert chosen.advantages.mean().abs() < 1e-6
    assert chosen.advantages.std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
    with torch.no_grad():  # away from a ratio of 1
        algorithm.actor.mean.weight.add_(0.5)
        algorithm.actor.log_std.add_(0.1)
    seen = {"pixels": rollout.frames["pixels"].gather(numbers), "state": vectors["state"][numbers]}
    mean, log_std = algorithm.actor(seen)
    new = Normal(mean, log_std.exp())
    old = Normal(chosen.mean, chosen.log_std.exp())
    ratio = (new.log_prob(chosen.actions) - old.log_prob(chosen.actions)).sum(-1).exp()
    gains = torch.min(ratio * chosen.advantages, ratio.clamp(0.8, 1.2) * chosen.advantages)
    entropy = new.entropy().sum(-1).mean()
    parameters = [*algorithm.actor.parameters()]
    expected = torch.autograd.grad(-gains.mean() - 0.01 * entropy, parameters)
    algorithm.micro_batch = 4
    _, kl, clipped = algorithm.policy_gradient(rollout, vectors, found, numbers)
    torch.testing.assert_close(
        parameter_gradient(algorithm), torch.cat([x.flatten() for x in expected]),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip
    torch.testing.assert_close(kl, kl_divergence(old, new).sum(-1).mean().detach())
    outside = ((ratio < 0.8) | (ratio > 1.2)).float().mean()
    assert clipped.item() == pytest.approx(outside.item()) and outside > 0


def test_a_value_that_has_moved_far_gets_no_gradient() -> None:
    values = torch.tensor([1.0, 1.6, 0.4, 1.6], requires_grad=True)
    old, targets = torch.tensor([9.0, 1.0, 1.0, 1.0, 1.0]), torch.tensor([2.0, 2.0, 0.0, 0.0])
    numbers = torch.tensor([1, 2, 3, 4])  # the first of the five is not in the minibatch
    loss = clipped_value_loss(old, 0.5, values, targets, numbers)
    # the second and the third moved towards their targets by more than 0.5, the last away from it
    assert loss.item() == pytest.approx((1.0 + 0.25 + 0.25 + 1.6**2) / 4)
    (gradient,) = torch.autograd.grad(loss, values)
    torch.testing.assert_close(gradient, torch.tensor([-0.5, 0.0, 0.0, 0.8]))
    plain = clipped_value_loss(old, None, values, targets, numbers)
    assert plain.item() == pytest.approx((1.0 + 0.16 + 0.16 + 1.6**2) / 4)


# ---------------------------------------------------------------------- the rate


@pytest.mark.parametrize(
    ("first", "kl", "expected"),
    [
        (1e-3, 0.021, 1e-3 / 1.5), (1e-3, 0.019, 1e-3), (1e-3, 0.006, 1e-3), (1e-3, 0.004, 1.5e-3),
        (1.2e-5, 1.0, 1e-5), (8e-3, 0.0, 1e-2), (1e-3, float("nan"), 1e-3), (0.1, 0.01, 0.1),
    ],
)  # fmt: skip
def test_the_rate_follows_the_divergence(first: float, kl: float, expected: float) -> None:
    rate = AdaptiveRate(first)
    rate.follow(torch.tensor(kl), 0.01)
    assert rate.value.item() == pytest.approx(expected)


def test_the_rate_that_was_used_is_reported() -> None:
    moving, fixed = small_ppo(target_kl=1e-9), small_ppo(target_kl=None)
    found = [[x.iterate()["learning_rate"] for _ in range(3)] for x in (moving, fixed)]
    assert found[0] == pytest.approx([3e-4, 2e-4, 4e-4 / 3])
    assert found[1] == pytest.approx([3e-4] * 3)


# ---------------------------------------------------------------------- training


def test_no_graph_and_no_adjoint_is_kept() -> None:
    env = dva.make("cartpole", 4, device="cpu", image_size=24, final_observations=False, threads=1)
    algorithm = small_ppo(env)
    asked: list[bool] = []
    for shard in env.simulator._shards:  # type: ignore[attr-defined]
        shard.lease = lambda: asked.append(True)  # type: ignore[method-assign]
    rollout = algorithm.collect_without_graph()
    kept = [rollout.rewards, rollout.next_states, *rollout.actions, env.state.joint_q]
    assert not any(x.requires_grad for x in kept) and not asked


def test_its_metrics_are_there() -> None:
    metrics = small_ppo(epochs=3, minibatches=2).iterate()
    assert metrics["updates"] == 6 and metrics["skipped_updates"] == 0
    assert metrics["nonfinite_count"] == 0
    names = {
        "reward", "action_std", "visual_feedback", "actor_loss", "kl", "clip_fraction",
        "actor_grad_norm", "critic_loss", "critic_grad_norm", "seconds_rollout",
        "seconds_advantages", "seconds_regression", "seconds_critic",
    }  # fmt: skip
    assert names <= {name for name, value in metrics.items() if value is not None}


def test_updates_that_change_nothing_are_counted() -> None:
    algorithm = small_ppo()
    with torch.no_grad():
        algorithm.critic.value.bias.fill_(torch.nan)
    metrics = algorithm.iterate()
    assert metrics["skipped_updates"] == metrics["updates"] == 8
    assert all(x.isfinite().all() for x in algorithm.actor.parameters())


def test_the_policy_starts_with_the_same_action_everywhere() -> None:
    algorithm = small_ppo(PointMass(6, observe=("state",)))
    assert algorithm.policy.act({"state": torch.randn(50, 4)})[0].abs().max() < 0.02


def test_threads_do_not_change_it() -> None:
    one, two = (small_ppo(threads=threads, micro_batch=3) for threads in (1, 2))
    rows = [[without_times(x.iterate()) for _ in range(3)] for x in (one, two)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("observe", ["pixels", "state"])
def test_resuming_equals_going_on(observe: str) -> None:
    make = lambda seed: small_ppo(PointMass(6, observe=(observe,)), seed=seed)  # noqa: E731
    plain, stopped, resumed = make(2), make(2), make(9)
    expected = [without_times(plain.iterate()) for _ in range(8)]
    for _ in range(4):
        stopped.iterate()
    resumed.load_state_dict(stopped.state_dict())
    assert [without_times(resumed.iterate()) for _ in range(4)] == expected[4:]
    for name, value in plain.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_short_run_improves_the_return() -> None:
    algorithm = small_ppo(
        PointMass(32, episode_length=40, observe=("state",)), horizon=16, actor_hidden=(32,),
        critic_hidden=(32,), epochs=5,
    )  # fmt: skip
    rows = [algorithm.iterate() for _ in range(60)]
    assert isinstance(rows[0]["return"], float) and isinstance(rows[-1]["return"], float)
    assert rows[0]["return"] < 0.0 and rows[-1]["return"] > 25.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be between 1 and 1,000,000"),
        ({"discount": 1.1}, "discount is 1.1; it must be between 0 and 1"),
        ({"ratio_clip": 0.0}, "ratio_clip is 0.0; it must be above 0"),
        ({"target_kl": -1.0}, "target_kl is -1.0; it must be above 0, or None"),
        ({"value_clip": 0.0}, "value_clip is 0.0; it must be above 0, or None"),
        ({"entropy_bonus": -0.1}, "entropy_bonus is -0.1; it must be 0 or more"),
        ({"learning_rate": 2.0}, "learning_rate is 2.0; it must be above 0 and at most 1"),
        ({"horizon": 0}, "horizon is 0"),
        ({"micro_batch": 0}, "micro_batch is 0; it must be 1 or more, or None"),
    ],
)
def test_config_names_the_wrong_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PpoConfig(**changes)
