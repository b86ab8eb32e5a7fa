"""The sensors that every task has, through `dva.make`, and a policy that reads two of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

import dva
from dva import runs
from dva.learning import DVA, DvaConfig, TrainingContext
from dva.sensors import Camera, CameraSensor, DifferentiableCamera, JointAngles, View

SMALL: dict[str, Any] = {
    "horizon": 3, "trunk_size": 8, "actor_hidden": (16,), "critic_hidden": (16,),
    "critic_iterations": 2, "precision": "float32",
}  # fmt: skip


@pytest.mark.parametrize("name", ["depth", "segmentation"])
def test_images_are_what_the_camera_renders(make, name):
    env = make("hopper", observe=name, image_size=(16, 24), frame_stack=2)
    entry = env.observation_spec[name]
    assert entry.shape == (1, 16, 24) and entry.frame_stack == 2
    assert list(env.observation_spec) == [name, "state"] and list(env.policy_spec) == [name]
    env.reset(seed=0)
    for _ in range(2):
        observation = env.step(torch.ones(3, 3))[0]
    camera = Camera(
        env.simulator.model, env.task.view, env.task.scene, 3, (16, 24), outputs=(name,)
    )
    expected = camera.render(env.state.joint_q.detach())[name][:, None]
    assert torch.equal(env.newest(name), expected)
    seen = observation[name]
    assert seen.shape == (3, 2, 16, 24) and seen.dtype == entry.torch_dtype
    assert torch.equal(seen[:, 1:], expected)
    assert not torch.equal(seen[:, :1], expected)
    assert not seen.requires_grad
    assert seen.min() >= entry.low and seen.max() <= entry.high


def test_depth_is_in_metres_and_segmentation_numbers_bodies(make):
    env = make("cartpole", observe=("depth", "segmentation"), image_size=32)
    spec, observation = env.observation_spec, env.reset(seed=0)
    assert (spec["depth"].units, spec["depth"].high) == ("m", 10.0)
    assert observation["depth"].dtype == torch.float32
    # The camera stands some metres away, and sees the floor or the wall behind at most.
    assert 0.5 < observation["depth"].min() < observation["depth"].max() == 10.0
    bodies = observation["segmentation"]
    assert bodies.dtype == torch.int32
    names = [env.simulator.model.body_names[i] for i in bodies.unique().tolist() if i > 0]
    assert names == ["cart", "pole"]  # the rail is too thin for this picture


def test_joint_angles_are_the_coordinates_of_hinges_and_slides_with_their_graph(make):
    env = make("cartpole", observe="joint_angles")
    observation = env.reset(seed=0)
    assert torch.equal(observation["joint_angles"], env.state.joint_q)
    action = torch.zeros(3, 1, requires_grad=True)
    observation = env.step(action)[0]
    (gradient,) = torch.autograd.grad(observation["joint_angles"].sum(), action)
    assert (gradient != 0).all()
    env = make("ant", observe="joint_angles")
    observation = env.reset(seed=0)
    # the free joint's position and quaternion come first, and are no angles
    assert torch.equal(observation["joint_angles"], env.state.joint_q[:, 7:])
    assert env.observation_spec["joint_angles"].shape == (8,)


def test_sensors_of_ones_own_stand_beside_the_standard_ones_and_replace_them(make):
    above = View(eye=(0.0, 0.0, 8.0), target=(0.1, 0.0, 0.0), fovy=50.0)
    mine = [
        CameraSensor("top", view=above, image_size=(20, 16), frame_stack=1),
        JointAngles(frame_stack=4),
    ]
    env = make(sensors=mine, observe=("pixels", "top", "joint_angles"), image_size=16)
    observation = env.reset(seed=0)
    shapes = {name: tuple(x.shape[1:]) for name, x in observation.items()}
    assert shapes == {
        "pixels": (9, 16, 16), "joint_angles": (8,), "top": (3, 20, 16), "state": (5,),
    }  # fmt: skip
    assert not torch.equal(observation["top"][:, :, :16], observation["pixels"][:, -3:])


def test_what_is_not_observed_is_not_built(make):
    env = make(observe="state")
    assert list(env.observation_spec) == ["state"]
    assert env.reset()["state"].shape == (3, 5)


@pytest.mark.parametrize("name", ["depth", "segmentation"])
def test_what_the_differentiable_camera_does_not_give_is_refused(make, name):
    with pytest.raises(ValueError, match=f'needs .{name}. images.*Use camera="hard"'):
        make(observe=name, camera="differentiable")


def test_a_camera_has_the_softness_asked_for(make):
    seen = {"observe": "pixels", "camera": "differentiable", "image_size": 24}
    soft = make("hopper", **seen)
    sharp = make("hopper", **seen, sensors=[CameraSensor(softness=0.2)])
    images = [env.reset(seed=0)["pixels"][:, -3:].numpy() for env in (soft, sharp)]
    camera = DifferentiableCamera(
        sharp.simulator.model, sharp.task.view, sharp.task.scene, 3, 24, softness=0.2
    )
    expected = camera.render(sharp.state.joint_q.detach())["rgb"].round()
    assert (images[1] == expected.numpy()).all() and (images[0] != images[1]).any()
    with pytest.raises(ValueError, match="softness is 0.0"):
        make(**seen, sensors=[CameraSensor(softness=0.0)])


def algorithm(observe: tuple[str, ...], seed: int) -> DVA:
    env = dva.make(
        "hopper", 3, device="cpu", image_size=24, observe=observe, threads=1,
        final_observations=False,
    )  # fmt: skip
    return DVA(env, DvaConfig(**SMALL), TrainingContext(1_000, seed))


@pytest.mark.parametrize(
    "observe", [("pixels", "joint_angles"), ("depth", "state"), ("segmentation", "pixels")]
)
def test_a_policy_of_several_sensors_trains_and_resumes_bit_for_bit(observe: tuple[str, ...]):
    straight = algorithm(observe, seed=0)
    before = {name: x.clone() for name, x in straight.actor.state_dict().items()}
    rows = [straight.iterate() for _ in range(4)]
    assert all(row["skipped_updates"] == 0 and row["nonfinite_count"] == 0 for row in rows)
    for name, value in straight.actor.state_dict().items():
        assert not torch.equal(value, before[name]), name
    first = algorithm(observe, seed=0)
    for _ in range(2):
        first.iterate()
    second = algorithm(observe, seed=7)
    second.load_state_dict(first.state_dict())
    for expected in rows[2:]:
        found = second.iterate()
        names = [name for name in found if not name.startswith("seconds_")]
        assert [found[name] for name in names] == [expected[name] for name in names]
    expected_state = straight.state_dict()
    for name, value in second.state_dict().items():
        assert torch.equal(value, expected_state[name]), name


def test_a_run_of_several_sensors_is_resumed_and_its_policy_loaded(tmp_path: Path):
    def train(name: str, **changes: Any) -> runs.Run:
        values: dict[str, Any] = {
            "num_envs": 3, "image_size": 24, "observe": ("pixels", "joint_angles"),
            "env_steps": 4 * 9, "device": "cpu", "threads": 1, "evaluation_episodes": 0,
            "video_interval": 0, "run_dir": tmp_path / name,
        }  # fmt: skip
        config = runs.default_config("cartpole", preset="cpu", **{**SMALL, **values, **changes})
        return runs.train(config).run

    whole = train("whole")
    part = train("part", stop_at=2 * 9)
    runs.train(resume=runs.Run.open(part.path))
    for ours, theirs in zip(part.metrics(), whole.metrics(), strict=True):
        names = [x for x in theirs if x in ("actor_loss", "critic_loss", "actor_grad_norm")]
        assert len(names) == 3 and [ours[x] for x in names] == [theirs[x] for x in names]
    policies = [runs.load_policy(run, device="cpu") for run in (whole, part)]
    env = runs.make_env(whole, 2, device="cpu", threads=1)
    observation = env.reset()
    assert list(policies[0].observation_spec) == ["pixels", "joint_angles"]
    actions = [policy.act(observation, {})[0] for policy in policies]
    assert actions[0].shape == (2, 1) and torch.equal(*actions)
