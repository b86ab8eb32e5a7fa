"""What off-policy methods share: resuming, recorded updates, the device, and that they learn."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from point_mass import PointMass
from pretend_cuda import pretended_cuda
from small import without_times
from small_off_policy import small_curl, small_drqv2
from tape import Broken, Tape, record_with

import dva
from dva.learning import Metrics
from dva.learning.off_policy.learner import OffPolicyLearner
from dva.policies import SavedPolicy

Make = Callable[..., OffPolicyLearner]
KINDS = [small_drqv2, small_curl]


def train(algorithm: OffPolicyLearner, count: int) -> list[Metrics]:
    return [without_times(algorithm.iterate()) for _ in range(count)]


@pytest.mark.parametrize("make", KINDS)
def test_twelve_iterations_equal_seven_saved_loaded_and_five_more(
    make: Make, tmp_path: Path
) -> None:
    plain, stopped, resumed = make(), make(), make(seed=7)
    expected = train(plain, 12)
    train(stopped, 7)
    marker = stopped.large_state.save(tmp_path, [])
    resumed.load_state_dict(stopped.state_dict())
    resumed.large_state.load(tmp_path, marker)
    assert train(resumed, 5) == expected[7:]
    for name, value in plain.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("memory", ["device", "host"])
def test_recorded_updates_are_plain_updates(make: Make, memory: Any) -> None:
    plain, recorded = make(), make(replay_memory=memory)
    record_with(recorded, Tape())
    expected = train(plain, 14)
    assert train(recorded, 14) == expected
    assert recorded._recorded
    for name, value in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[name], value), name


def test_updates_are_recorded_once_they_have_run() -> None:
    algorithm = small_drqv2(seed_steps=48)  # six iterations
    record_with(algorithm, Tape())
    recorded = []
    for _ in range(11):
        algorithm.iterate()
        recorded.append(algorithm._recorded)
    assert recorded == [False] * 9 + [True] * 2


@pytest.mark.parametrize("make", KINDS)
def test_training_goes_on_where_recording_fails(make: Make) -> None:
    plain, recorded = make(), make()
    record_with(recorded, Broken(1))
    expected = train(plain, 12)
    with pytest.warns(UserWarning, match="out of luck"):
        assert train(recorded, 12) == expected


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("observe", [("pixels",), ("state",), ("depth", "joint_angles")])
def test_updates_stay_on_the_device(
    monkeypatch: pytest.MonkeyPatch, make: Make, observe: tuple[str, ...]
) -> None:
    def trained(device: str) -> OffPolicyLearner:
        env = dva.make("hopper", 3, device=device, image_size=24, observe=observe, threads=1)
        return make(env=env, seed=1, seed_steps=6, replay_steps=100)

    expected = trained("cpu")
    for _ in range(3):
        row = expected.iterate()
    with pretended_cuda(monkeypatch) as cuda:
        found = trained("cuda")
        for _ in range(3):
            other = found.iterate()
        # The environment waits for the device to see which episodes have ended; updates do not.
        cuda.transfers.clear()
        found._update_all(None)
        found.explore(found.collector.observation)
        assert not cuda.transfers
        found.env._may_look = False  # type: ignore[attr-defined]
        found.train_once(lambda phase: nullcontext())  # type: ignore[arg-type]
        assert not cuda.transfers
    for name, value in row.items():
        if not name.startswith("seconds_"):
            close = value if value is None else pytest.approx(value, rel=1e-3, abs=1e-5)
            assert other[name] == close, name


def test_a_replay_in_the_host_s_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_cuda(monkeypatch):
        rows = []
        for memory in ("device", "host"):
            env = dva.make("hopper", 3, device="cuda", image_size=24, threads=1)
            algorithm = small_drqv2(env=env, seed_steps=6, replay_memory=memory)
            rows.append([without_times(algorithm.iterate()) for _ in range(7)])
            assert algorithm._recorded
    assert rows[0] == rows[1]


def mean_return(policy: SavedPolicy, observe: str) -> float:
    """Lets a policy act in 64 whole episodes of 40 steps, of which 40 is the most."""
    env = PointMass(64, episode_length=40, observe=(observe,), seed=5)
    observation, memory = env.reset(), policy.initial_state(64)
    env.steps = torch.zeros(64)
    total, alive = torch.zeros(64), torch.ones(64)
    for _ in range(40):
        action, memory = policy.act(observation, memory)
        observation, reward, terminated, truncated, _ = env.step(action)
        total += alive * reward
        alive *= (~(terminated | truncated)).float()
    return float(total.mean())


@pytest.mark.parametrize("make", KINDS)
def test_a_short_training_raises_the_return(make: Make) -> None:
    env = PointMass(8, episode_length=40, observe=("state",))
    own = {"noise_steps": 1500} if make is small_drqv2 else {}
    algorithm = make(
        env=env, updates=4, batch_size=32, seed_steps=400, replay_steps=20_000, hidden=(64,),
        action_repeat=1, learning_rate=2e-3, reward_scale=0.3, discount=0.95, **own,
    )  # fmt: skip
    algorithm.iterate()
    before = mean_return(algorithm.policy, "state")
    for _ in range(249):
        algorithm.iterate()
    assert before < 0.0 and mean_return(algorithm.policy, "state") > 30.0
