"""The policy of an actor network: rebuilt from its description it acts the same."""

import json

import pytest
import torch

from dva.policies import NO_MEMORY, ActorPolicy
from dva.spec import ActionSpec, Entry, Observation, ObservationSpec

PIXELS = Entry("pixels", "image", (3, 16, 20), "uint8", 3, "", 0.0, 255.0)
DEPTH = Entry("depth", "image", (1, 16, 16), "float32", 1, "m", 0.0, 50.0)
STATE = Entry("state", "vector", (5,))
ANGLES = Entry("angles", "vector", (2,), frame_stack=2)
ACTIONS = ActionSpec(("hip", "knee"), 1 / 60)
CPU = torch.device("cpu")
SPECS = [(PIXELS,), (STATE,), (ANGLES, PIXELS, DEPTH)]


def observe(n: int) -> Observation:
    """More than any of the policies reads."""
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (n, 9, 16, 20), generator=generator, dtype=torch.uint8)
    return {
        "pixels": pixels,
        "depth": 50 * torch.rand(n, 1, 16, 16, generator=generator),
        "state": torch.randn(n, 5, generator=generator),
        "angles": torch.randn(n, 4, generator=generator),
    }


def make(entries: tuple[Entry, ...], seed: int = 0) -> ActorPolicy:
    torch.manual_seed(seed)
    policy = ActorPolicy(
        ObservationSpec(entries), ACTIONS, 8, (16, 12), -0.5, "float32", center_features=True
    )
    policy.actor.recenter(observe(3), 1.0)
    for normalizer in policy.normalizers.values():
        normalizer.update(3 + 2 * torch.randn(50, len(normalizer.mean)))
    return policy


@pytest.mark.parametrize("entries", SPECS)
def test_rebuilt_from_its_description_it_acts_the_same(entries: tuple[Entry, ...]) -> None:
    policy = make(entries)
    actions, memory = policy.act(observe(11), policy.initial_state(11))
    assert actions.shape == (11, 2) and actions.abs().max() <= 1 and actions.std() > 0
    assert not actions.requires_grad and memory == NO_MEMORY
    description = json.loads(json.dumps(policy.description()))
    state = torch.get_rng_state()
    again = ActorPolicy.rebuild(description, CPU)
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn from the global generator
    assert not torch.equal(again.act(observe(11))[0], actions)
    again.load_state_dict(policy.state_dict())
    assert again.observation_spec == policy.observation_spec and again.action_spec == ACTIONS
    assert torch.equal(again.act(observe(11))[0], actions)
    assert again.description() == policy.description()
    # threads share a batch of images and change nothing
    threaded = ActorPolicy.rebuild(description, CPU, threads=2)
    threaded.load_state_dict(policy.state_dict())
    parts = [torch.cat([policy.act(_rows(i, 8))[0] for i in (0, 8)]), threaded.act(observe(11))[0]]
    torch.testing.assert_close(parts[0], parts[1], rtol=1e-5, atol=1e-6)


def _rows(start: int, count: int) -> Observation:
    return {name: value[start : start + count] for name, value in observe(11).items()}


def test_vectors_are_normalised_and_images_are_not() -> None:
    policy = make((ANGLES, PIXELS))
    assert list(policy.normalizers) == ["angles"]
    seen = {name: observe(4)[name] for name in policy.observation_spec}
    normalised = {**seen, "angles": policy.normalizers["angles"](seen["angles"])}
    expected = torch.tanh(policy.actor(normalised)[0])
    assert torch.equal(policy.act(seen)[0], expected)


def test_what_it_does_not_read_does_not_matter() -> None:
    policy = make((STATE,))
    assert torch.equal(policy.act(observe(3))[0], policy.act({"state": observe(3)["state"]})[0])
    with pytest.raises(ValueError, match="no 'state', which the policy reads; it has pixels"):
        policy.act({"pixels": observe(3)["pixels"]})


def test_memory_is_handed_on() -> None:
    policy = make((STATE,))
    memory = policy.initial_state(3)
    assert memory == NO_MEMORY
    assert policy.reset(memory, torch.tensor([True, False, True])) is memory


@pytest.mark.parametrize(
    "change", [{"observation": [{"name": "x"}]}, {"precision": "half"}, {"trunk_size": "wide"}]
)
def test_a_damaged_description_is_refused(change: dict) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        ActorPolicy.rebuild({**make((PIXELS,)).description(), **change}, CPU)
