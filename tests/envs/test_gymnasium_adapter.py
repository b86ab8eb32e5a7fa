"""The adapters against Gymnasium's own checks and Gymnasium's own vector environment."""

import warnings
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

import dva
from dva import tasks
from dva.envs import GymnasiumEnv, GymnasiumVectorEnv


def make_adapter(num_envs: int = 3, length: int = 6, **arguments) -> GymnasiumVectorEnv:
    task = replace(tasks.get("hopper"), episode_length=length)
    env = dva.make(task, num_envs, device="cpu", image_size=16, threads=1, **arguments)
    return GymnasiumVectorEnv(env)


@pytest.mark.parametrize("name", ["Cartpole", "Hopper"])
def test_gymnasium_checks_the_single_environment(name):
    env = gymnasium.make(f"dva/{name}-v0", image_size=16, device="cpu", render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # States have no bounds, and Gymnasium says so.
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum).*")
        warnings.filterwarnings("ignore", message=".*not an instance of `np.ndarray`.*")
        check_env(env.unwrapped)


@pytest.mark.parametrize("observe", ["pixels", "state"])
def test_vector_environment_keeps_its_spaces(observe):
    env = gymnasium.make_vec("dva/Cartpole-v0", num_envs=4, image_size=16, observe=observe)
    assert isinstance(env, GymnasiumVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.action_space.shape == (4, 1) and env.num_envs == 4
    env.action_space.seed(0)
    observation, info = env.reset(seed=1)
    assert observation in env.observation_space and info == {}
    for _ in range(5):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert [x.dtype for x in (reward, terminated, truncated)] == [np.float32, bool, bool]
        assert reward.shape == terminated.shape == truncated.shape == (4,) and info == {}
    assert env.spec is not None and env.spec.id == "dva/Cartpole-v0"
    env.close()


def test_vector_environment_is_deterministic_and_copies():
    def rollout(seed: int):
        env = make_adapter()
        out: list[Any] = [env.reset(seed=seed)]
        env.action_space.seed(seed)
        copies = []
        for _ in range(14):
            out.append(env.step(env.action_space.sample()))
            copies.append([x.copy() for x in out[-1][0].values()])
        # Gymnasium's check_returned_data_not_reused, for vectors
        for (observation, *_), copy in zip(out[1:], copies, strict=True):
            assert data_equivalence(list(observation.values()), copy, exact=True)
        return out

    first, again, other = rollout(1), rollout(1), rollout(2)
    assert data_equivalence(first, again, exact=True)
    assert not data_equivalence(first[0], other[0], exact=True)


def test_infos_have_the_form_of_gymnasiums_own_vector_environment():
    """A SyncVectorEnv of our single environment in the same mode is the pattern."""

    def single() -> gymnasium.Env:
        task = replace(tasks.get("hopper"), episode_length=6)
        return GymnasiumEnv(dva.make(task, 1, device="cpu", image_size=16, threads=1))

    ours = make_adapter()
    theirs = SyncVectorEnv([single] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.single_observation_space == theirs.single_observation_space
    actions = np.zeros((3, 3), np.float32)
    for env in (ours, theirs):
        env.reset(seed=0)
    for _ in range(6):
        *_, info = ours.step(actions)
        *_, pattern = theirs.step(actions)
    for key in ("final_obs", "final_info"):
        assert np.array_equal(info[f"_{key}"], pattern[f"_{key}"])
    assert info["final_obs"].dtype == object and info["final_obs"].shape == (3,)
    for mine, model in zip(info["final_obs"], pattern["final_obs"], strict=True):
        assert mine in ours.single_observation_space
        assert mine.keys() == model.keys()
    assert info["final_info"].keys() == pattern["final_info"].keys()
    for key, value in info["final_info"].items():
        assert value.shape == pattern["final_info"][key].shape, key
        assert value.dtype.kind == pattern["final_info"][key].dtype.kind, key
    assert (info["final_info"]["episode_length"] == 6).all()


def test_final_observation_where_an_episode_ended_only():
    env = make_adapter(num_envs=2)
    env.reset(seed=0)
    joint_q, joint_qd = env.env.state.joint_q.clone(), env.env.state.joint_qd
    joint_q[1, 1:3] = torch.tensor([-0.5, np.pi / 2])  # lying in the air, below the limit
    env.env.set_state(joint_q, joint_qd)
    observation, _, terminated, truncated, info = env.step(np.zeros((2, 3)))
    assert terminated.tolist() == [False, True] and not truncated.any()
    assert info["_final_obs"].tolist() == info["_final_info"].tolist() == [False, True]
    assert info["final_obs"][0] is None
    assert info["final_obs"][1]["state"][0] < -0.45 < observation["state"][1, 0]


def test_gymnasiums_wrappers_work():
    env = RecordEpisodeStatistics(make_adapter())
    env.reset(seed=0)
    total = np.zeros(3)
    for _ in range(6):
        _, reward, _, truncated, info = env.step(np.zeros((3, 3), np.float32))
        total += reward
    assert truncated.all()
    np.testing.assert_allclose(info["episode"]["r"], total, rtol=1e-5)
    np.testing.assert_allclose(info["final_info"]["episode_return"], total, rtol=1e-5)
    assert (info["episode"]["l"] == 6).all()
    env = DictInfoToList(make_adapter(length=1))
    env.reset(seed=0)
    infos = env.step(np.zeros((3, 3), np.float32))[-1]
    assert [one["final_info"]["episode_length"] for one in infos] == [1, 1, 1]


def test_pictures_for_people():
    env = gymnasium.make_vec(
        "dva/Hopper-v0", num_envs=2, render_mode="rgb_array", device="cpu", observe="state"
    )
    env.reset(seed=0)
    frames = env.render()
    assert frames is not None and len(frames) == 2
    assert all(np.asarray(x).shape == (256, 256, 3) for x in frames)
    assert make_adapter(observe="state").render() is None


def test_wrong_use_is_named():
    env = make_adapter(num_envs=1)
    with pytest.raises(ValueError, match="options is"):
        env.reset(options={"reset_mask": np.array([True])})
    with pytest.raises(ValueError, match="render_mode is 'human'"):
        GymnasiumVectorEnv(env.env, render_mode="human")
    with pytest.raises(ValueError, match="final_observations is False"):
        make_adapter(final_observations=False)
    with pytest.raises(ValueError, match="num_envs is 2"):
        GymnasiumEnv(dva.make("cartpole", 2, device="cpu", observe="state"))
