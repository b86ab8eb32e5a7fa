"""Theorem 1: the three blocks give the gradient of one graph with detached observations."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small import small_dva

import dva
from dva.learning import DVA
from dva.learning.first_order.action_gradient import AdjointActionGradient

HORIZON = 6


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_dva(env: Any) -> DVA:
    return small_dva(env, horizon=HORIZON, micro_batch=5)


def three_block_gradient(algorithm: DVA) -> tuple[list[torch.Tensor], torch.Tensor, Any]:
    rollout = algorithm.rollout()
    value, discount = value_of(algorithm), algorithm.config.discount
    gradient, _ = AdjointActionGradient()(rollout, algorithm.env, value, discount)
    algorithm.policy_gradient(rollout, gradient)
    parameters = list(algorithm.actor.parameters())
    return [p.grad.clone() for p in parameters if p.grad is not None], gradient, rollout


def value_of(algorithm: DVA) -> Any:
    return lambda states: algorithm.target_critic(algorithm.normalizers["state"](states))


def one_graph_gradient(algorithm: DVA, noise: torch.Tensor) -> list[torch.Tensor]:
    """Writes equations (1) to (4) as one loss; only the images are cut from the graph."""
    env, actor, discount = algorithm.env, algorithm.actor, algorithm.config.discount
    observation = env.observation
    env.detach()
    num_envs = env.num_envs
    loss, discounts = torch.zeros(()), [1.0] * num_envs
    for t in range(HORIZON):
        mean, log_std = actor({"pixels": observation["pixels"]})
        action = torch.tanh(mean + log_std.exp() * noise[t])
        observation, reward, terminated, truncated, info = env.step(action)
        value = value_of(algorithm)(info["final_observation"]["state"])
        for i in range(num_envs):
            loss = loss + discounts[i] * reward[i]
            discounts[i] *= discount
            ended = bool(terminated[i]) or bool(truncated[i])
            if (ended or t == HORIZON - 1) and not terminated[i]:
                loss = loss + discounts[i] * value[i]
            if ended:
                discounts[i] = 1.0
    loss = -loss / (HORIZON * num_envs)
    return list(torch.autograd.grad(loss, list(actor.parameters())))


def assert_theorem_holds(algorithm: DVA) -> tuple[torch.Tensor, Any]:
    """Compares both gradients from the same state with the same noise."""
    before = algorithm.state_dict()
    blocks, gradient, rollout = three_block_gradient(algorithm)
    algorithm.load_state_dict(before)
    graph = one_graph_gradient(algorithm, rollout.noise)
    difference = math.sqrt(
        sum(float((a - b).square().sum()) for a, b in zip(blocks, graph, strict=True))
    )
    size = math.sqrt(sum(float(b.square().sum()) for b in graph))
    assert size > 1e-4, "the comparison would be empty"
    assert difference < 2e-5 * size
    return gradient, rollout


@pytest.mark.parametrize("episode_length", [100, 4])
def test_theorem_one_on_a_point_mass(one_thread: None, episode_length: int) -> None:
    algorithm = make_dva(PointMass(6, episode_length=episode_length))
    algorithm.normalizers["state"].update(torch.randn(50, 4))  # type: ignore[operator]
    _, rollout = assert_theorem_holds(algorithm)
    assert bool(rollout.truncated.any()) == (episode_length == 4)


def test_no_gradient_crosses_the_end_of_an_episode() -> None:
    rollout = make_dva(PointMass(6, episode_length=4)).rollout()
    done = rollout.truncated | rollout.terminated
    weight = torch.zeros_like(rollout.rewards)
    weight[-1] = 1.0
    last_reward = (rollout.rewards * weight).sum(0)
    gradient = (
        torch.stack(torch.autograd.grad(last_reward.sum(), rollout.actions, materialize_grads=True))
        .abs()
        .sum(-1)
    )
    for i in range(6):
        ends = done[:-1, i].nonzero().flatten().tolist()
        assert ends, "every environment ends an episode inside the horizon"
        assert not gradient[: ends[-1] + 1, i].any()
        assert gradient[ends[-1] + 1 :, i].any()


@pytest.mark.parametrize("near_end", [False, True])
def test_theorem_one_on_cartpole(near_end: bool) -> None:
    env = dva.make("cartpole", num_envs=4, device="cpu", image_size=24, final_observations=False)
    algorithm = make_dva(env)
    if near_end:
        state = env.state_dict()
        # Environments 0 and 1 run out of time inside the horizon; 2 is about to leave the picture.
        state["episode.step"][:2] = env.episode_length - torch.tensor([2, 4])
        state["physics.joint_q"][2, 0], state["physics.joint_qd"][2, 0] = 2.45, 2.0
        env.load_state_dict(state)
    gradient, rollout = assert_theorem_holds(algorithm)
    assert (gradient.abs().sum((1, 2)) > 0).all()
    if near_end:
        assert rollout.truncated[:, :2].any(0).all() and rollout.terminated[:, 2].any()
    env.close()
