"""What policies see: curves of visual feedback, and saliency maps."""

import json

import pytest
import torch

from dva.policies import ActorPolicy
from dva.spec import ActionSpec, Entry, ObservationSpec
from dva.studies import sight


def small_policy() -> ActorPolicy:
    torch.manual_seed(0)
    entry = Entry("pixels", "image", (3, 16, 16), "uint8", 2, low=0.0, high=255.0)
    actions = ActionSpec(("left", "right"), 0.02)
    return ActorPolicy(ObservationSpec((entry,)), actions, 8, (8,), precision="float32")


def test_saliency_is_the_derivative_by_each_pixel() -> None:
    policy = small_policy()
    images = torch.randint(0, 256, (2, 6, 16, 16), dtype=torch.uint8)
    maps = sight.saliency(policy, images)
    assert maps.shape == (2, 16, 16)
    pixel = (1, 6, 9)  # of the second image
    squares = 0.0
    for channel in range(6):
        step = torch.zeros(2, 6, 16, 16)
        step[pixel[0], channel, pixel[1], pixel[2]] = 0.5
        up, down = (policy.mean({"pixels": images + sign * step}) for sign in (1, -1))
        assert torch.equal(up[0], down[0])  # the other image
        squares += float((255 * (up - down)[1]).square().sum())
    assert maps[pixel].item() == pytest.approx(squares**0.5, rel=0.02)
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_a_blind_policy_looks_at_nothing() -> None:
    policy = small_policy()
    torch.nn.init.zeros_(policy.actor.mean.weight)
    images = torch.randint(0, 256, (1, 6, 16, 16), dtype=torch.uint8)
    assert not sight.saliency(policy, images).any()
    blind = sight._Sight({"variant": "published", "seed": 0}, policy, images)
    look = sight._look(blind, images)
    assert look["largest"] == [0.0] and look["maps"] == [["00" * 16] * 16]


def test_every_variant_is_followed_and_two_are_shown() -> None:
    config = sight.Config(
        task="cartpole", iterations=2, num_envs=4, horizon=2, image_size=16, device="cpu"
    )
    result = json.loads(json.dumps(sight.measure(config)))
    rows = {row["variant"]: row for row in result["rows"]}
    assert list(rows) == list(sight.VARIANTS)
    for row in rows.values():
        assert len(row["visual_feedback"]) == len(row["reward"]) == 2
        assert row["final_feedback"] == row["visual_feedback"][-1] > 0.0
    final = {name: row["final_feedback"] for name, row in rows.items()}
    assert result["looks"]["most"]["variant"] == max(final, key=lambda name: final[name])
    assert result["looks"]["least"]["variant"] == min(final, key=lambda name: final[name])
    assert sight._from_text(result["images"][0], 3).shape == (16, 16, 3)
    for look in result["looks"].values():
        assert min(look["largest"]) > 0.0
        for one in look["maps"]:
            assert sight._from_text(one).shape == (16, 16) and sight._from_text(one).max() == 255
    assert sight.draw(result)
    assert len(sight.summary(result)) == 3 and "blind in 0 of 1" in sight.summary(result)[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "paper"}, "preset is 'paper'; it must be cpu or fast"),
        ({"seeds": 0}, "seeds is 0"),
        ({"iterations": 0}, "iterations is 0"),
    ],
)
def test_values_out_of_range_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sight.Config(**values)
