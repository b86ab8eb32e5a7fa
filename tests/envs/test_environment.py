"""Stepping, restarting, gradients and states of the vector environment."""

import dataclasses

import pytest
import torch

from dva import tasks
from dva.envs import VectorEnv
from dva.tasks.cartpole import Cartpole

# ---------------------------------------------------------------------- what comes out


@pytest.mark.parametrize(("name", "actions", "states"), [("cartpole", 1, 5), ("hopper", 3, 11)])
def test_observations_from_the_real_camera(make, name, actions, states):
    env = make(name, num_envs=2, observe="pixels", image_size=(20, 24))
    assert (env.action_size, env.state_size, env.num_envs) == (actions, states, 2)
    assert env.observation_spec["pixels"].stacked_shape == (9, 20, 24)
    assert env.observation_spec["pixels"].shape == (3, 20, 24)
    observation = env.reset()
    assert observation["pixels"].shape == (2, 9, 20, 24)
    assert observation["pixels"].dtype == torch.uint8
    assert observation["state"].shape == (2, states)
    for _ in range(3):
        observation, reward, terminated, truncated, info = env.step(torch.ones(2, actions))
    assert reward.shape == terminated.shape == truncated.shape == (2,)
    assert reward.dtype == torch.float32 and terminated.dtype == truncated.dtype == torch.bool
    oldest, middle, newest = observation["pixels"].split(3, dim=1)
    assert not torch.equal(oldest, middle) and not torch.equal(middle, newest)
    assert torch.equal(env.newest("pixels"), newest)
    assert torch.equal(info["final_observation"]["pixels"], observation["pixels"])
    assert torch.equal(env.render((20, 24), [1]), newest[1:])
    assert env.render(32).shape == (2, 3, 32, 32)
    seconds = env.pop_seconds()
    assert seconds["rendering"] > 0 and seconds["simulation"] > 0
    assert set(env.pop_seconds().values()) == {0.0}


def test_frames_are_stacked_oldest_first(make, stand_ins):
    env = make(**stand_ins, frame_stack=3)
    frames = [env.reset()["pixels"][:, :3]] * 3
    assert torch.equal(env.observation["pixels"], torch.cat(frames, dim=1))
    for _ in range(4):
        observation = env.step(torch.zeros(3, 1))[0]
        frames = [*frames[1:], env.newest("pixels")]
        assert torch.equal(observation["pixels"], torch.cat(frames, dim=1))


def test_returned_tensors_stay_as_they_are(make, stand_ins):
    env = make(**stand_ins)
    env.reset()
    observation, *rest, info = env.step(torch.zeros(3, 1))
    tensors = [*observation.values(), *rest, info["episode_return"], info["episode_length"]]
    copies = [x.clone() for x in tensors]
    for _ in range(3):
        env.step(torch.ones(3, 1))
    assert all(torch.equal(x, copy) for x, copy in zip(tensors, copies, strict=True))


# ---------------------------------------------------------------------- ends of episodes


def test_time_runs_out_after_240_steps(make):
    env = make(stochastic_start=False)
    env.reset()
    for step in range(1, 242):
        _, reward, terminated, truncated, info = env.step(torch.zeros(3, 1))
        assert not terminated.any()
        assert truncated.all() == truncated.any() == (step == 240)
        assert (info["episode_length"] == (step if step <= 240 else 1)).all()
    assert torch.equal(info["episode_return"], reward)


def test_restart_in_the_same_step(make, camera, stand_ins):
    env = make(**stand_ins)
    env.set_state(torch.tensor([[0.0, 3.0], [2.495, 3.0], [0.0, 3.0]]), torch.zeros(3, 2))
    before = env.observation["pixels"]
    observation, reward, terminated, truncated, info = env.step(torch.zeros(3, 1))
    final = info["final_observation"]
    assert terminated.tolist() == [False, True, False] and not truncated.any()
    # the final observation is the state that ended the episode, after the frames before it
    assert final["state"][:, 0].tolist() == pytest.approx([0.01, 2.505, 0.01])
    assert torch.equal(final["pixels"][:, :6], before[:, 3:])
    shade = camera.paint(torch.tensor([[2.495]]) + 0.01)
    assert torch.equal(final["pixels"][1:2, 6:], shade)
    # the observation is the first of the next episode, three times its first frame
    first = camera.paint(env.state.joint_q)
    assert torch.equal(observation["pixels"][1], first[1].repeat(3, 1, 1))
    assert abs(observation["state"][1, 0]) < 0.27
    for env_id in (0, 2):
        assert torch.equal(observation["pixels"][env_id], final["pixels"][env_id])
        assert torch.equal(observation["state"][env_id], final["state"][env_id])
    assert info["episode_length"].tolist() == [1, 1, 1]
    *_, info = env.step(torch.zeros(3, 1))
    assert info["episode_length"].tolist() == [2, 1, 2]
    assert reward[1] == pytest.approx(10 - (3.01) ** 2 - 0.05 * 2.505**2, abs=1e-4)


@pytest.mark.parametrize(("final_observations", "expected"), [(True, 2), (False, 1)])
def test_rendering_passes(make, camera, stand_ins, final_observations, expected):
    task = dataclasses.replace(tasks.get("cartpole"), episode_length=3)
    env = make(task, **stand_ins, final_observations=final_observations)
    env.reset()
    calls = []
    for _ in range(4):
        before = camera.calls
        observation, *_, info = env.step(torch.zeros(3, 1))
        calls.append(camera.calls - before)
        assert ("pixels" in info["final_observation"]) == final_observations
    assert calls == [1, 1, expected, 1]
    first = camera.paint(env.state.joint_q)
    assert torch.equal(observation["pixels"][:, 6:], first)
    assert torch.equal(observation["pixels"][:, :3], observation["pixels"][:, 3:6])


def test_not_looking_at_the_device_changes_nothing(make):
    """On CUDA the host does not ask whether an episode has ended; the results are the same."""

    def run_env(may_look: bool) -> list[torch.Tensor]:
        task = dataclasses.replace(tasks.get("cartpole"), episode_length=4)
        arguments = {"stochastic_start": False, "final_observations": False}
        env = make(task, observe="pixels", image_size=16, **arguments)
        env._may_look = may_look
        joint_q, joint_qd = torch.zeros(3, 2), torch.ones(3, 2)
        joint_q[1, 0] = 2.4999
        env.set_state(joint_q, joint_qd)
        return run(env, 9)

    pairs = zip(run_env(False), run_env(True), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("name", ["cartpole", "hopper"])
def test_reward_and_state_have_gradients_in_all_earlier_actions(make, name):
    env = make(name)
    env.reset()
    actions = torch.zeros(4, 3, env.action_size, requires_grad=True)
    for action in actions:
        observation, reward, *_ = env.step(action)
    for output in (reward.sum(), observation["state"].sum()):
        (gradient,) = torch.autograd.grad(output, actions, retain_graph=True)
        assert gradient.isfinite().all() and (gradient.abs().sum((1, 2)) > 0).all()


def test_gradient_agrees_with_finite_differences(make):
    env = make()
    env.reset(seed=1)
    start = env.state.clone()

    def total(actions: torch.Tensor) -> torch.Tensor:
        env.set_state(start.joint_q, start.joint_qd)
        return sum((env.step(a)[1].double() for a in actions), torch.zeros(3).double()).sum()

    actions = torch.linspace(-0.5, 0.5, 12).reshape(4, 3, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(total(actions), actions)
    for step in range(4):
        change = torch.zeros_like(actions)
        change[step, :, 0] = 0.01
        with torch.no_grad():
            slope = (total(actions + change) - total(actions - change)) / 0.02
        assert gradient[step].sum().item() == pytest.approx(slope.item(), rel=0.01)


def test_no_gradient_crosses_a_restart(make):
    env = make()
    env.set_state(torch.tensor([[0.0, 3.0], [2.4999, 3.0], [0.0, 3.0]]), torch.ones(3, 2))
    before = torch.full((3, 1), 0.5, requires_grad=True)
    observation, _, terminated, _, info = env.step(before)
    assert terminated.tolist() == [False, True, False]
    final = info["final_observation"]["state"]
    (gradient,) = torch.autograd.grad(final.sum(), before, retain_graph=True)
    assert (gradient != 0).all()
    (gradient,) = torch.autograd.grad(observation["state"].sum(), before, retain_graph=True)
    assert (gradient[:, 0] != 0).tolist() == [True, False, True]
    after = torch.zeros(3, 1, requires_grad=True)
    reward = env.step(after)[1]
    gradient, present = torch.autograd.grad(reward.sum(), [before, after])
    assert (gradient[:, 0] != 0).tolist() == [True, False, True]
    assert (present != 0).all()


def test_detach_cuts_the_graph(make):
    env = make()
    env.reset()
    action = torch.zeros(3, 1, requires_grad=True)
    env.step(action)
    assert env.observation["state"].requires_grad
    env.detach()
    assert not env.observation["state"].requires_grad
    assert not env.step(torch.zeros(3, 1))[1].requires_grad


def test_actions_are_clipped(make):
    env = make("hopper")
    env.reset()
    state = env.state.clone()
    _, expected, *_ = env.step(torch.ones(3, 3))
    env.set_state(state.joint_q, state.joint_qd)
    action = torch.full((3, 3), 5.0, requires_grad=True)
    _, reward, *_ = env.step(action)
    assert torch.equal(reward, expected)
    reward.sum().backward()
    assert action.grad is not None and not action.grad.any()


# ---------------------------------------------------------------------- non-finite states


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2e6])
def test_non_finite_state_is_replaced(make, stand_ins, simulator, value):
    env = make(**stand_ins)
    kept: list[tuple] = []
    env.on_nonfinite = lambda state, action, mask: kept.append(
        (state.joint_q, state.joint_qd, action, mask)
    )
    env.reset()
    before = env.state.joint_q.clone(), env.state.joint_qd.clone()
    simulator.spoil = {1: value}
    action = torch.zeros(3, 1, requires_grad=True)
    observation, reward, terminated, truncated, info = env.step(action)
    assert info["nonfinite"].tolist() == terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert reward[1] == 0 and reward.isfinite().all()
    assert not info["final_observation"]["state"][1].any()
    assert observation["state"].isfinite().all() and abs(observation["state"][1, 0]) < 0.27
    (reward.sum() + info["final_observation"]["state"].sum()).backward()
    assert action.grad is not None
    assert (action.grad[:, 0] != 0).tolist() == [True, False, True]
    ((*seen, mask),) = kept
    assert torch.equal(mask, info["nonfinite"])
    for value, expected in zip(seen, (*before, action.detach()), strict=True):
        assert torch.equal(value, expected)
    simulator.spoil = {}
    *_, info = env.step(torch.zeros(3, 1))
    assert not info["nonfinite"].any() and len(kept) == 1
    assert info["episode_length"].tolist() == [2, 1, 2]


def test_non_finite_action_ends_its_episode_only(make):
    env = make()
    env.reset()
    action = torch.tensor([[0.0], [float("nan")], [float("inf")]])
    observation, reward, terminated, _, info = env.step(action)
    assert info["nonfinite"].tolist() == terminated.tolist() == [False, True, True]
    assert reward[1:].tolist() == [0.0, 0.0] and observation["state"].isfinite().all()


def test_non_finite_reward_is_caught(make):
    class Broken(Cartpole):
        def reward(self, joint_q, joint_qd, action):
            divisor = (torch.arange(len(joint_q)) != 1).float()
            return super().reward(joint_q, joint_qd, action) / divisor

    env = make(Broken())
    start = torch.ones(3, 2, requires_grad=True), torch.ones(3, 2, requires_grad=True)
    env.set_state(*start)
    action = torch.zeros(3, 1, requires_grad=True)
    _, reward, terminated, _, info = env.step(action)
    assert info["nonfinite"].tolist() == terminated.tolist() == [False, True, False]
    assert reward[1] == 0
    # and the reward's infinite derivative is not felt
    (reward.sum() + info["final_observation"]["state"].sum()).backward()
    for leaf in (*start, action):
        assert leaf.grad is not None and leaf.grad.isfinite().all()
        assert leaf.grad.any(1).tolist() == [True, False, True]


# ---------------------------------------------------------------------- states and seeds


def test_set_state_begins_episodes(make, camera):
    env = make(sensors=[camera], observe="pixels", image_size=4)
    env.reset()
    env.step(torch.ones(3, 1))
    joint_q, joint_qd = torch.rand(3, 2), torch.rand(3, 2)
    observation = env.set_state(joint_q, joint_qd)
    assert torch.equal(observation["pixels"], camera.paint(joint_q).repeat(1, 3, 1, 1))
    kept = env.state.clone()
    joint_q.zero_()
    assert torch.equal(env.state.joint_q, kept.joint_q)
    assert torch.equal(env.state.joint_qd, kept.joint_qd)
    kept.joint_q.zero_()
    assert env.state.joint_q.any()
    assert (env.step(torch.zeros(3, 1))[-1]["episode_length"] == 1).all()


def test_set_state_keeps_a_gradient(make):
    env = make()
    joint_q = torch.rand(3, 2, requires_grad=True)
    env.set_state(joint_q, torch.zeros(3, 2))
    env.step(torch.zeros(3, 1))[1].sum().backward()
    assert joint_q.grad is not None and (joint_q.grad != 0).all()


def run(env, steps: int) -> list[torch.Tensor]:
    """Steps with fixed actions; gives everything that came out."""
    out = []
    for step in range(steps):
        action = torch.sin(torch.arange(3.0) + step)[:, None]
        observation, reward, terminated, truncated, info = env.step(action)
        env.detach()
        out += [*observation.values(), reward, terminated, truncated, info["episode_return"]]
        out += [*info["final_observation"].values(), info["episode_length"]]
    return [x.detach() for x in out]


def test_state_dict_continues_bit_for_bit(make):
    task = dataclasses.replace(tasks.get("cartpole"), episode_length=7)

    def make_env(seed: int):
        return make(task, observe="pixels", image_size=16, seed=seed)

    env = make_env(3)
    env.reset()
    run(env, 5)
    saved = env.state_dict()
    observation = env.observation
    assert all(isinstance(x, torch.Tensor) and not x.requires_grad for x in saved.values())
    expected = run(env, 12)
    other = make_env(4)
    other.load_state_dict(saved)
    assert all(torch.equal(other.observation[name], observation[name]) for name in observation)
    assert all(torch.equal(a, b) for a, b in zip(run(other, 12), expected, strict=True))


def test_same_seed_same_episodes(make):
    task = dataclasses.replace(tasks.get("hopper"), episode_length=4)

    def episodes(seed: int, reset_seed: int | None = None) -> torch.Tensor:
        env = make(task, seed=seed)
        states = [env.reset(reset_seed)["state"]]
        states += [env.step(torch.zeros(3, 3))[0]["state"] for _ in range(9)]
        return torch.stack(states)

    assert torch.equal(episodes(0), episodes(0))
    assert not torch.equal(episodes(0), episodes(1))
    assert torch.equal(episodes(1, reset_seed=0), episodes(0))
    starts = episodes(0)[[0, 4, 8]].flatten(0, 1)
    assert len(starts.unique(dim=0)) == 9


def test_deterministic_starts_are_all_the_same(make):
    env = make("hopper", stochastic_start=False)
    assert not env.reset()["state"].any()


def test_environments_without_sensors_share_the_simulator_alone(make, camera, stand_ins):
    env = make(**stand_ins)
    env.reset(seed=1)
    kept, readings = env.state_dict(), camera.calls
    twin = env.without_sensors(seed=4)
    assert list(twin.policy_spec) == list(twin.observation_spec) == ["state"]
    assert twin.simulator is env.simulator and twin.num_envs == env.num_envs
    alone = make(**{**stand_ins, "observe": "state", "sensors": ()}, seed=4)
    assert torch.equal(twin.reset()["state"], alone.reset()["state"])
    for _ in range(3):
        ours, theirs = twin.step(torch.ones(3, 1)), alone.step(torch.ones(3, 1))
        assert torch.equal(ours[0]["state"], theirs[0]["state"]) and torch.equal(ours[1], theirs[1])
    assert camera.calls == readings
    assert all(torch.equal(value, kept[name]) for name, value in env.state_dict().items())


def test_environments_without_sensors_may_be_fewer(make):
    env, other = make(num_envs=3), make(num_envs=2, seed=4)
    fewer = env.without_sensors(seed=4, num_envs=2)
    assert fewer.simulator is not env.simulator and fewer.num_envs == 2
    assert torch.equal(fewer.reset()["state"], other.reset()["state"])
    action = torch.ones(2, env.action_size)
    assert torch.equal(fewer.step(action)[0]["state"], other.step(action)[0]["state"])
    parts = VectorEnv(env.task, env.simulator)
    assert parts.without_sensors(seed=4, num_envs=3).simulator is env.simulator
    with pytest.raises(ValueError, match="num_envs is 2; it must be 3"):
        parts.without_sensors(seed=4, num_envs=2)


def test_staggered_episodes_end_one_after_another(make):
    task = dataclasses.replace(tasks.get("cartpole"), episode_length=8)
    env = make(task, num_envs=8)
    env.reset()
    env.stagger()
    ends = []
    for _ in range(16):
        _, _, terminated, truncated, info = env.step(torch.zeros(8, 1))
        assert not terminated.any()
        ends.append(truncated)
    first = torch.stack(ends).long().argmax(0)
    assert len(first[:4].unique()) == 4 and len(first.unique()) >= 6
    assert (torch.stack(ends).sum(0) == 2).sum() >= 7  # later episodes have all their time
    assert torch.equal(torch.stack(ends)[:8].sum(0), torch.ones(8, dtype=torch.int64))
    assert torch.equal(info["episode_length"] % 8, (15 - first) % 8)


def test_robots_without_sensors_begin_where_others_are(make):
    env = make("hopper", num_envs=2, blind_envs=3, observe="state")
    env.reset()
    for _ in range(3):
        env.step(torch.rand(5, 3, requires_grad=True))
    before, seen = env.state.clone(), env.observation["state"].clone()
    env.begin_at(torch.tensor([2, 0]), torch.tensor([3, 4]))
    rows = [4, 1, 3, 3, 4]
    assert torch.equal(env.state.joint_q, before.joint_q[rows])
    assert torch.equal(env.state.joint_qd, before.joint_qd[rows])
    assert torch.equal(env.observation["state"], seen[rows])
    *_, info = env.step(torch.zeros(5, 3))
    assert info["episode_length"].tolist() == [1, 4, 1, 4, 4]
    before.joint_q[3].sum().backward()  # where a robot was copied from the graph goes on
