"""The sensors that every task offers, through `dva.make`."""

import dataclasses

import pytest
import torch

import dva
from dva import tasks
from dva.envs import VectorEnv
from dva.sensors import Camera, View

OUTPUTS = ("pixels", "depth", "segmentation")


def make(observe: str | tuple[str, ...]) -> VectorEnv:
    return dva.make("hopper", 3, device="cpu", observe=observe, image_size=24, frame_stack=2)


def test_outputs_of_one_view_share_a_pass_and_equal_those_of_separate_cameras(monkeypatch):
    passes = []
    render = Camera.render

    def counted(camera, joint_q):
        passes.append(camera.outputs)
        return render(camera, joint_q)

    together, apart = make(OUTPUTS), {name: make(name) for name in OUTPUTS}
    monkeypatch.setattr(Camera, "render", counted)
    observation = together.reset(0)
    assert passes == [("rgb", "depth", "segmentation")]
    for env in apart.values():
        env.reset(0)
    generator = torch.Generator().manual_seed(0)
    ended = False
    for _ in range(70):
        # Full torque fells the robot, so that episodes end and begin anew.
        action = torch.rand(3, 3, generator=generator) - 1.0
        observation, _, terminated, _, info = together.step(action)
        ended = ended or bool(terminated.any())
        for name, env in apart.items():
            alone, _, _, _, alone_info = env.step(action)
            assert torch.equal(observation[name], alone[name])
            final = info["final_observation"], alone_info["final_observation"]
            assert torch.equal(final[0][name], final[1][name])
            older, newest = observation[name].chunk(2, dim=1)
            assert torch.equal(older[terminated], newest[terminated])
    assert ended


def test_depth_and_segmentation_are_what_their_entries_say():
    env = make(OUTPUTS)
    observation = env.reset(0)
    for name, dtype in zip(OUTPUTS, (torch.uint8, torch.float32, torch.int32), strict=True):
        entry = env.observation_spec[name]
        assert observation[name].dtype == entry.torch_dtype == dtype
        assert observation[name].shape == (3, *entry.stacked_shape)
        assert entry.low <= observation[name].min() and observation[name].max() <= entry.high
    depth, body = observation["depth"], observation["segmentation"]
    # The wall is 2 m behind the robot, which is 2.8 m from the camera.
    assert depth.isfinite().all() and 2.5 < depth.min() and depth.max() < 6.0
    assert body.unique().tolist() == [0, 1, 2, 3, 4]
    assert depth[body > 0].max() < 3.5


@pytest.mark.parametrize("observe", ["pixels", "depth", "state"])
def test_make_names_an_unknown_mount(observe):
    view = View((0.0, -3.0, 1.0), (0.0, 0.0, 1.0), mount="nose")
    task = dataclasses.replace(tasks.get("hopper"), view=view)
    with pytest.raises(ValueError, match="'nose'.*torso, thigh, leg, foot") as caught:
        dva.make(task, 2, device="cpu", observe=observe)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 20_000}, "image_size is 20000; .* from 1 to 4096"),
        ({"num_envs": 10**9}, "num_envs is 1000000000; .* between 1 and 1,000,000"),
        ({"frame_stack": 0}, "frame_stack is 0; .* between 1 and 1,000,000"),
        ({"observe": "depth", "camera": "differentiable"}, "'depth'.*Use camera=\"hard\""),
    ],
)
def test_make_refuses_what_cannot_be_rendered(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        dva.make("hopper", **{"num_envs": 2, "device": "cpu", **arguments})
    assert "\n" not in str(caught.value)
