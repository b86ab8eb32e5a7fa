"""What is shown of images: the pixels themselves, and how much they matter."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from made_sources import task_source

from dva import learning, runs
from dva.policies import NO_MEMORY
from dva.runs.build import build
from dva.spec import ActionSpec, Entry, ObservationSpec
from dva.viewer.live.pictures import beside, heat, picture, seen
from dva.viewer.live.saliency import saliency
from dva.viewer.live.session import Session

PIXELS = Entry("pixels", "image", (3, 4, 5), "uint8", 2, "", 0.0, 255.0)
SMALL: dict[str, dict[str, Any]] = {
    "drqv2": {"replay_steps": 100, "action_repeat": 2, "seed_steps": 8, "batch_size": 4},
    "curl": {"replay_steps": 100, "action_repeat": 2, "seed_steps": 8, "batch_size": 4,
             "crop_size": 28},
    "dreamerv3": {"size": "tiny", "replay_steps": 100},
}  # fmt: skip


class LinearPolicy:
    """Acts by a linear map of the pixels."""

    observation_spec = ObservationSpec((PIXELS,))
    action_spec = ActionSpec(("a", "b"), 1 / 60)
    weight = torch.arange(2.0 * 6 * 4 * 5).reshape(2, 6, 4, 5).sin()

    def act(self, observation: Any, state: Any) -> Any:
        return torch.einsum("nchw,achw->na", observation["pixels"].float(), self.weight), state


def test_the_saliency_of_a_linear_policy_is_the_norm_of_its_weights():
    pixels = torch.randint(0, 255, (1, 6, 4, 5), dtype=torch.uint8)
    found = saliency(LinearPolicy(), {"pixels": pixels}, NO_MEMORY)  # type: ignore[arg-type]
    expected = LinearPolicy.weight.square().sum((0, 1)).sqrt()
    torch.testing.assert_close(found["pixels"], expected)


def test_a_policy_without_images_or_gradient_has_no_saliency(counting):
    session = Session(counting, 1)
    assert session.images == () and session.saliency() == {}
    blind = LinearPolicy()
    blind.act = lambda observation, state: (torch.zeros(2, 2), state)  # type: ignore[method-assign]
    pixels = torch.zeros(1, 6, 4, 5, dtype=torch.uint8)
    assert saliency(blind, {"pixels": pixels}, NO_MEMORY) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("algo", [x for x in learning.names() if x != "dagger"])
def test_every_algorithms_policy_acts_and_has_a_saliency(algo):
    """DAgger's is D.Va's, from an expert's run."""
    config = runs.default_config(
        "cartpole", algo, "cpu", num_envs=2, image_size=32, env_steps=64, device="cpu",
        observe=("pixels",), threads=1, **SMALL.get(algo, {}),
    )  # fmt: skip
    with build(config) as built:
        policy = built.algorithm.policy
    session = Session(task_source(policy=policy, config=config), 2)
    session.choose_robot(1)
    for _ in range(3):
        session.step()
    (entry,) = session.images
    found = session.saliency()[entry.name]
    assert found.shape == (32, 32) and found.isfinite().all() and found.max() > 0
    shown = seen(policy, entry, session.observed("pixels"))
    side = 28 if algo == "curl" else 32  # CURL cuts the middle out
    assert shown.shape == (3, side, side)
    if side < 32:
        assert found[0].max() == 0 and found[:, 0].max() == 0
    assert heat(picture(entry, shown), found).shape == (side, side, 3)
    session.close()


def test_saliency_agrees_with_a_small_change_of_one_pixel():
    config = runs.default_config(
        "cartpole", "dva", "cpu", num_envs=2, image_size=32, env_steps=64, device="cpu", threads=1,
        precision="float32",
    )  # fmt: skip
    with build(config) as built:
        policy = built.algorithm.policy
    with closing(task_source(observe="pixels").make_env(1)) as env:
        pixels = env.reset(seed=2)["pixels"].float()
    found = saliency(policy, {"pixels": pixels}, NO_MEMORY)["pixels"]
    row, column = divmod(int(found.argmax()), 32)
    squares = 0.0
    for channel in range(9):
        change = torch.zeros_like(pixels)
        change[0, channel, row, column] = 0.5
        up, down = (policy.act({"pixels": pixels + x}, NO_MEMORY)[0] for x in (change, -change))
        squares += float((up - down).square().sum())
    assert float(found.max()) == pytest.approx(squares**0.5, rel=0.02)


def test_a_picture_of_colours_has_the_very_pixels():
    stack = torch.randint(0, 255, (1, 6, 4, 5), dtype=torch.uint8)
    shown = picture(PIXELS, seen(None, PIXELS, stack))
    assert np.array_equal(shown, stack[0, 3:].permute(1, 2, 0).numpy())  # the newest is the last


def test_depth_is_grey_and_bodies_have_colours_of_their_own():
    depth = Entry("depth", "image", (1, 2, 2), "float32", 1, "m", 0.0, 10.0)
    grey = picture(depth, torch.tensor([[[0.0, 5.0], [10.0, 20.0]]]))
    assert grey[..., 0].tolist() == [[0, 127], [255, 255]] and (grey == grey[..., :1]).all()
    bodies = Entry("segmentation", "image", (1, 1, 4), "int32", 1, "", -1.0, 8.0)
    colours = picture(bodies, torch.tensor([[[-1, 0, 1, 1]]]))[0]
    assert colours[0].tolist() == [0, 0, 0] and np.array_equal(colours[2], colours[3])
    assert not np.array_equal(colours[1], colours[2])


def test_heat_is_bright_where_pixels_matter_and_grey_elsewhere():
    base = np.full((4, 4, 3), 100, np.uint8)
    cold = heat(base, torch.zeros(4, 4))
    assert (cold == 60).all()
    one = torch.zeros(4, 4)
    one[1, 2] = 3.0
    warm = heat(base, one)
    assert warm[1, 2].sum() > 600 and np.array_equal(warm[0, 0], cold[0, 0])
    assert beside([base, warm]).shape == (4, 10, 3)
