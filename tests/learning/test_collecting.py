"""The collector: actions are repeated, and each repetition is one step of the replay."""

import pytest
import torch
from point_mass import PointMass
from torch import Tensor

from dva.learning.collecting import Collector
from dva.learning.steps import StepReplay
from dva.sim import State

CPU = torch.device("cpu")


def collector(
    env: PointMass, repeat: int, observe: tuple[str, ...] = ("pixels", "state")
) -> Collector:
    spec = env.observation_spec.select(observe)
    replay = StepReplay(spec, env.action_spec.size, env.num_envs, 60 * env.num_envs, CPU)
    return Collector(env, replay, repeat)


def actions(count: int, envs: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return 2 * torch.rand(count, envs, 2, generator=draw) - 1


def test_without_repeat_the_stacks_are_the_environment_s_own() -> None:
    env = PointMass(4, episode_length=7)
    found = collector(env, 1)
    ended = 0
    for action in actions(20, 4):
        taken = found.step(action)
        assert torch.equal(found.observation["pixels"], env.stack)
        assert torch.equal(found.observation["state"], env.observation["state"])
        assert torch.equal(taken.ended, taken.done[0])
        ended += int(taken.ended.sum())
    assert ended > 8


def test_a_repeated_action_is_one_step_of_summed_rewards() -> None:
    env, plain = PointMass(3, episode_length=50), PointMass(3, episode_length=50)
    found = collector(env, 3)
    plain.reset()
    for one in (env, plain):
        one.state = State(0.2 * one.state.joint_q, 0.2 * one.state.joint_qd)
    frames = [plain.newest("pixels")]
    for action in 0.2 * actions(3, 3):
        rewards, returns = [], []
        for _ in range(3):
            _, reward, *_, info = plain.step(action)
            rewards.append(reward)
            returns.append(info["episode_return"])
        frames.append(plain.newest("pixels"))
        taken = found.step(action)
        torch.testing.assert_close(taken.reward, torch.stack(rewards).sum(0))
        assert torch.equal(taken.episode_returns, torch.stack(returns))
        assert taken.done.shape == taken.episode_lengths.shape == taken.nonfinite.shape == (3, 3)
        assert not taken.done.any()
    # the stack is of the readings after each action
    assert torch.equal(found.observation["pixels"], torch.cat(frames[-3:], dim=1))
    assert not torch.equal(found.observation["pixels"], env.stack)


def test_an_episode_that_ends_within_a_repeat() -> None:
    env = PointMass(2, episode_length=50, observe=("state",))
    found = collector(env, 3, ("state",))
    env.steps = torch.tensor([49, 10])  # the first environment's time runs out after one of three
    before = env.observation["state"].clone()
    watched: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    step = env.step

    def watch(action: Tensor) -> object:
        result = step(action)
        final = result[4]["final_observation"]["state"]
        watched.append((action, result[1], final, result[0]["state"].clone()))
        return result

    env.step = watch  # type: ignore[method-assign,assignment]
    action = torch.tensor([[0.5, -0.5], [0.2, 0.1]])
    taken = found.step(action)
    assert taken.done.tolist() == [[True, False], [False, False], [False, False]]
    assert taken.ended.tolist() == [True, False]
    given = torch.stack([x[0] for x in watched])
    assert torch.equal(given[:, 1], action[1].expand(3, 2))
    assert torch.equal(given[:, 0], torch.tensor([[0.5, -0.5], [0.0, 0.0], [0.0, 0.0]]))
    rewards = torch.stack([x[1] for x in watched])
    torch.testing.assert_close(taken.reward, torch.stack([rewards[0, 0], rewards[:, 1].sum()]))
    found.step(action)
    drawn = found.replay.transitions(100, 1, 0.9, torch.Generator().manual_seed(0))
    first = (drawn.observation["state"] == before[0]).all(1)
    assert first.any()
    assert (drawn.next_observation["state"][first] == watched[0][2][0]).all()
    assert (drawn.discount[first] == torch.tensor(0.9)).all()  # truncated, not failed
    # the next episode is first seen after the wait
    assert ((drawn.observation["state"] == watched[2][3][0]).all(1)).any()
    assert not ((drawn.observation["state"] == watched[0][3][0]).all(1)).any()


def test_a_failure_within_a_repeat_is_a_failure() -> None:
    env = PointMass(2, episode_length=50, observe=("state",))
    found = collector(env, 2, ("state",))
    env.state.joint_q[0], env.state.joint_qd[0] = 1.9, 3.0
    taken = found.step(torch.zeros(2, 2))
    assert taken.done.tolist() == [[True, False], [False, False]]
    drawn = found.replay.transitions(50, 1, 0.9, torch.Generator().manual_seed(0))
    over = (drawn.next_observation["state"][:, :2].abs() > 2.0).any(1)
    assert over.any() and not over.all()
    assert (drawn.discount == torch.where(over, 0.0, torch.tensor(0.9))).all()


def test_an_environment_without_final_readings_is_refused() -> None:
    env = PointMass(2)
    found = collector(env, 1)
    step = env.step

    def poor(action: Tensor) -> object:
        result = step(action)
        del result[4]["final_observation"]["pixels"]
        return result

    env.step = poor  # type: ignore[method-assign,assignment]
    with pytest.raises(ValueError, match="does not read 'pixels' .* final_observations=True"):
        found.step(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="action_repeat is 0"):
        collector(env, 0)
