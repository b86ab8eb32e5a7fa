"""A policy that holds its actions: rebuilt it acts the same, and it sees what it was trained on."""

import json
from typing import Any

import pytest
import torch

from dva.envs.frames import first_stack, push, restart
from dva.policies import RepeatingPolicy
from dva.policies.off_policy import Encoders, TwinCritic
from dva.spec import ActionSpec, Entry, Observation, ObservationSpec

PIXELS = Entry("pixels", "image", (3, 20, 20), "uint8", 3, "", 0.0, 255.0)
STATE = Entry("state", "vector", (5,))
ACTIONS = ActionSpec(("hip", "knee"), 1 / 60)
CPU = torch.device("cpu")


def make(*entries: Entry, **changes: Any) -> RepeatingPolicy:
    torch.manual_seed(0)
    values = {
        "trunk_size": 6, "hidden": (12,), "squash": True, "gaussian": False, "action_repeat": 1,
        "precision": "float32",
    }  # fmt: skip
    spec = ObservationSpec(entries or (PIXELS, STATE))
    policy = RepeatingPolicy(spec, ACTIONS, **{**values, **changes})
    for normalizer in policy.normalizers.values():
        normalizer.update(3 + 2 * torch.randn(50, len(normalizer.mean)))
    return policy


def readings(count: int, n: int = 4) -> list[Observation]:
    draw = torch.Generator().manual_seed(3)
    return [
        {
            "pixels": torch.randint(0, 256, (n, 3, 20, 20), generator=draw, dtype=torch.uint8),
            "state": torch.randn(n, 5, generator=draw),
        }
        for _ in range(count)
    ]


def test_it_chooses_in_every_third_step_from_readings_of_those_steps() -> None:
    policy, seen = make(action_repeat=3), readings(9)
    memory = policy.initial_state(4)
    stack = first_stack(seen[0]["pixels"], 3)  # as an environment stacks
    own = stack
    for step, reading in enumerate(seen):
        if step > 0:
            stack = push(stack, reading["pixels"])
        action, memory = policy.act({**reading, "pixels": stack}, memory)
        if step % 3 == 0:
            own = push(own, reading["pixels"]) if step > 0 else own
            expected = policy.choose({**reading, "pixels": own})
        assert torch.equal(action, expected), step
    assert not torch.equal(own, stack)


def test_it_chooses_anew_where_an_episode_begins() -> None:
    policy, seen = make(action_repeat=2), readings(3)
    memory = policy.initial_state(4)
    stack = first_stack(seen[0]["pixels"], 3)
    first, memory = policy.act({**seen[0], "pixels": stack}, memory)
    done = torch.tensor([True, False, False, True])
    memory = policy.reset(memory, done)
    stack = restart(push(stack, seen[1]["pixels"]), seen[1]["pixels"], done)
    action, memory = policy.act({**seen[1], "pixels": stack}, memory)
    fresh = policy.choose({**seen[1], "pixels": first_stack(seen[1]["pixels"], 3)})
    assert torch.equal(action[~done], first[~done]) and torch.equal(action[done], fresh[done])
    # the others choose now, while these hold
    stack = push(stack, seen[2]["pixels"])
    held, _ = policy.act({**seen[2], "pixels": stack}, memory)
    assert torch.equal(held[done], fresh[done]) and not torch.equal(held[~done], first[~done])


def test_without_repetition_it_sees_the_environment_s_stacks() -> None:
    policy, seen = make(), readings(5)
    memory, stack = policy.initial_state(4), first_stack(seen[0]["pixels"], 3)
    for step, reading in enumerate(seen):
        stack = push(stack, reading["pixels"]) if step > 0 else stack
        observation = {**reading, "pixels": stack}
        action, memory = policy.act(observation, memory)
        assert torch.equal(action, policy.choose(observation))


@pytest.mark.parametrize("entries", [(PIXELS,), (STATE,), (PIXELS, STATE)])
@pytest.mark.parametrize("changes", [{}, {"gaussian": True, "squash": False, "crop": 16}])
def test_it_is_rebuilt_from_its_description(entries: Any, changes: dict[str, Any]) -> None:
    policy = make(*entries, action_repeat=2, **changes)
    description = json.loads(json.dumps(policy.description()))
    again = RepeatingPolicy.rebuild(description, CPU)
    again.load_state_dict(policy.state_dict())
    assert again.description() == policy.description()
    (reading,) = readings(1)
    observation = {**reading, "pixels": first_stack(reading["pixels"], 3)}
    one, other = (x.act(observation, x.initial_state(4))[0] for x in (policy, again))
    assert torch.equal(one, other) and one.shape == (4, 2) and one.abs().max() <= 1.0


def test_a_gaussian_s_deviations_are_left_out() -> None:
    policy = make(gaussian=True)
    (reading,) = readings(1)
    seen = policy.see({**reading, "pixels": first_stack(reading["pixels"], 3)})
    assert policy.actor(seen).shape == (4, 4)
    assert torch.equal(policy.mean(seen), policy.actor(seen)[:, :2])


def test_another_observation_is_refused() -> None:
    policy = make()
    with pytest.raises(ValueError, match="no 'state'"):
        policy.act({"pixels": torch.zeros(1, 9, 20, 20).byte()}, policy.initial_state(1))


def test_bfloat16_is_near_float32() -> None:
    exact, fast = make(), make(precision="bfloat16")
    (reading,) = readings(1)
    observation = {**reading, "pixels": first_stack(reading["pixels"], 3)}
    difference = exact.choose(observation) - fast.choose(observation)
    assert 0 < difference.abs().max() < 0.05


def test_values_are_of_two_networks_that_share_what_they_read() -> None:
    torch.manual_seed(0)
    encoders = Encoders(ObservationSpec((PIXELS, STATE)), torch.float32)
    critic = TwinCritic(encoders, 2, 6, True, (12,))
    (reading,) = readings(1)
    seen = encoders({**reading, "pixels": first_stack(reading["pixels"], 3)})
    values = critic(seen, torch.zeros(4, 2))
    inputs = torch.cat([critic.head(seen), torch.zeros(4, 2)], 1)
    assert inputs.shape == (4, 6 + 5 + 2) and inputs[:, :6].abs().max() <= 1.0  # after tanh
    assert torch.equal(inputs[:, 6:11], reading["state"])
    assert torch.equal(values, torch.cat([critic.first(inputs), critic.second(inputs)], 1).T)
