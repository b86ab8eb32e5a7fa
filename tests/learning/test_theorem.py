"""Theorem 1: the three blocks give the gradient of one graph with detached observations."""

import math
from typing import Any

import pytest
import torch
from point_mass import PointMass

from dva.learning import DVA, DvaConfig, adjoint_action_gradient

HORIZON = 6


def config(num_envs: int, image_size: int) -> DvaConfig:
    return DvaConfig(
        num_envs=num_envs, horizon=HORIZON, image_size=image_size, trunk_size=16,
        actor_hidden=(16,), critic_hidden=(16,), precision="float32", micro_batch=5,
    )  # fmt: skip


def three_block_gradient(learner: DVA) -> tuple[list[torch.Tensor], torch.Tensor, Any]:
    rollout = learner.rollout()
    gradient, _ = adjoint_action_gradient(rollout, value_of(learner), learner.config.discount)
    learner.policy_gradient(rollout, gradient)
    parameters = list(learner.actor.parameters())
    return [p.grad.clone() for p in parameters if p.grad is not None], gradient, rollout


def value_of(learner: DVA) -> Any:
    return lambda states: learner.target_critic(learner.normalizer(states))


def one_graph_gradient(learner: DVA, noise: torch.Tensor) -> list[torch.Tensor]:
    """Writes equations (1) to (4) as one loss; only the images are cut from the graph."""
    env, actor, discount = learner.env, learner.actor, learner.config.discount
    observation = learner._present_observation()
    env.detach()
    num_envs = env.num_envs
    loss, discounts = torch.zeros(()), [1.0] * num_envs
    for t in range(HORIZON):
        mean, log_std = actor(observation["pixels"])
        action = torch.tanh(mean + log_std.exp() * noise[t])
        observation, reward, terminated, truncated, info = env.step(action)
        value = value_of(learner)(info["final_observation"]["state"])
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


def assert_theorem_holds(learner: DVA) -> tuple[torch.Tensor, Any]:
    """Compares both gradients from the same state with the same noise."""
    before = learner.state_dict()
    blocks, gradient, rollout = three_block_gradient(learner)
    learner.load_state_dict(before)
    graph = one_graph_gradient(learner, rollout.noise)
    difference = math.sqrt(
        sum(float((a - b).square().sum()) for a, b in zip(blocks, graph, strict=True))
    )
    size = math.sqrt(sum(float(b.square().sum()) for b in graph))
    assert size > 1e-4, "the comparison would be empty"
    assert difference < 2e-5 * size
    return gradient, rollout


@pytest.mark.parametrize("episode_length", [100, 4])
def test_theorem_one_on_a_point_mass(episode_length: int) -> None:
    torch.set_num_threads(1)
    learner = DVA(PointMass(6, episode_length=episode_length), config(6, 16))
    learner.normalizer.update(torch.randn(50, 4))
    _, rollout = assert_theorem_holds(learner)
    assert bool(rollout.truncated.any()) == (episode_length == 4)


def test_no_gradient_crosses_the_end_of_an_episode() -> None:
    learner = DVA(PointMass(6, episode_length=4), config(6, 16))
    rollout = learner.rollout()
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
    import dva

    env = dva.make("cartpole", num_envs=4, device="cpu", image_size=24, final_pixels=False)
    learner = DVA(env, config(4, 24))
    if near_end:
        learner.state_dict()
        state = env.state_dict()
        # Environments 0 and 1 run out of time inside the horizon; 2 is about to leave the picture.
        state["episode_step"][:2] = env.episode_length - torch.tensor([2, 4])
        state["joint_q"][2, 0], state["joint_qd"][2, 0] = 2.45, 2.0
        env.load_state_dict(state)
    gradient, rollout = assert_theorem_holds(learner)
    assert (gradient.abs().sum((1, 2)) > 0).all()
    if near_end:
        assert rollout.truncated[:, :2].any(0).all() and rollout.terminated[:, 2].any()
    env.close()
