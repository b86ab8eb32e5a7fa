"""Recorded iterations against plain ones; a tape of operations stands in for CUDA graphs."""

import itertools
from typing import Any

import pytest
import torch
from point_mass import PointMass
from tape import Tape

import dva
from dva.compute.recording import Blocks
from dva.envs import VectorEnv
from dva.learning import DVA, SHAC, DvaConfig, Learner, ShacConfig

SMALL: dict[str, Any] = {
    "trunk_size": 8, "actor_hidden": (16,), "critic_hidden": (16,), "critic_iterations": 2,
    "iterations": 10, "precision": "float32",
}  # fmt: skip
ITERATIONS = 6


def point_mass(observe: str) -> tuple[PointMass, dict[str, Any]]:
    return PointMass(), {"num_envs": 6, "horizon": 5, "image_size": 16, "observe": observe}


def hopper(observe: str, **changes: Any) -> tuple[VectorEnv, dict[str, Any]]:
    pixels = observe == "pixels"
    env = dva.make(
        "hopper", 3, device="cpu", image_size=24, pixels=pixels, final_pixels=False, threads=1,
        **changes,
    )  # fmt: skip
    env._may_look = False  # as on CUDA, where the host does not wait to see whether episodes ended
    return env, {"num_envs": 3, "horizon": 3, "image_size": 24, "observe": observe}


def record_with(learner: Learner, recorder: Any) -> None:
    """Makes a learner on a CPU record as it would on CUDA."""
    learner._cuda_graphs = True
    learner._new_recorder = lambda: recorder  # type: ignore[method-assign]


def train(learner: Learner, count: int = ITERATIONS) -> list[dict[str, float | None]]:
    rows = [learner.iterate() for _ in range(count)]
    return [
        {name: value for name, value in row.items() if not name.startswith("seconds_")}
        for row in rows
    ]


def both(make: Any, kind: type[Learner], config: Any) -> tuple[Learner, Learner]:
    learners = [kind(make()[0], config(**make()[1], **SMALL), seed=3) for _ in range(2)]
    record_with(learners[1], Tape())
    return learners[0], learners[1]


@pytest.mark.parametrize(
    ("make", "kind", "config", "observe"),
    [
        *itertools.product([point_mass, hopper], [DVA], [DvaConfig], ["pixels", "state"]),
        *itertools.product([point_mass, hopper], [SHAC], [ShacConfig], ["state"]),
    ],
)
def test_recorded_iterations_are_plain_iterations(
    make: Any, kind: type[Learner], config: Any, observe: str
) -> None:
    plain, recorded = both(lambda: make(observe), kind, config)
    expected, found = train(plain), train(recorded)
    assert recorded._places is not None
    assert found == expected
    for name, value in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[name], value), name


def test_gradients_of_pixels_are_recorded() -> None:
    changes = {"camera": "differentiable", "pixel_gradient": True}
    make = lambda: hopper("pixels", **changes)  # noqa: E731
    plain, recorded = both(make, SHAC, ShacConfig)
    assert train(recorded) == train(plain)


def test_recomputed_physics_is_recorded() -> None:
    plain, recorded = both(lambda: hopper("state", state_storage="recompute"), DVA, DvaConfig)
    assert train(recorded) == train(plain)


def test_a_recorded_learner_is_saved_and_loaded() -> None:
    plain, recorded = both(lambda: point_mass("pixels"), DVA, DvaConfig)
    expected = train(plain, 12)
    train(recorded, 5)
    env, values = point_mass("pixels")
    other = DVA(env, DvaConfig(**values, **SMALL), seed=7)
    record_with(other, Tape())
    train(other, 4)  # recorded by now, and to be recorded anew
    other.load_state_dict(recorded.state_dict())
    assert train(other, 7) == expected[5:]


def test_training_goes_on_where_recording_fails() -> None:
    class Broken(Tape):
        count = 0

        def record(self, function: Any) -> Any:
            result = super().record(function)
            self.count += 1
            if self.count == 3:  # rollout and action gradient are recorded, the actor is improved
                raise RuntimeError("out of luck") from ValueError("no room")
            return result

    plain, recorded = both(lambda: point_mass("pixels"), DVA, DvaConfig)
    record_with(recorded, Broken())
    expected = train(plain)
    with pytest.warns(UserWarning, match="out of luck"):
        found = train(recorded)
    assert found == expected


def test_what_reads_the_device_is_not_recorded() -> None:
    class Reading(PointMass):
        def step(self, action: torch.Tensor) -> Any:
            assert action.sum().item() < 1e6
            return super().step(action)

    env, values = Reading(), point_mass("state")[1]
    learner = DVA(env, DvaConfig(**values, **SMALL), seed=3)
    record_with(learner, Tape())
    with pytest.warns(UserWarning, match="reads the device"):
        rows = train(learner)
    assert rows == train(DVA(point_mass("state")[0], DvaConfig(**values, **SMALL), seed=3))


def test_an_environment_that_was_moved_is_recorded_anew() -> None:
    plain, recorded = both(lambda: hopper("state"), DVA, DvaConfig)
    for learner in (plain, recorded):
        train(learner, 5)
        state = learner.env.state_dict()
        learner.env.reset()
        learner.env.load_state_dict(state)
        learner.env.set_state(*learner.env.get_state())  # type: ignore[attr-defined]
    assert recorded._places is not None and recorded._places.left
    assert train(recorded) == train(plain)
    assert recorded._places is not None and not recorded._places.left


def test_blocks_replay_what_they_recorded() -> None:
    blocks, total = Blocks(Tape()), torch.zeros(())
    results = [blocks("add", lambda x: total.add_(1.0) * x, torch.tensor(2.0)) for _ in range(3)]
    assert total.item() == 3.0
    assert [result.item() for result in results] == [6.0, 6.0, 6.0]  # one tensor


def test_only_steps_on_the_device_alone_are_recorded() -> None:
    env, _ = hopper("state")
    assert env.recordable
    env.nan_guard = True
    assert not env.recordable
    camera = hopper("pixels")[0]._camera
    assert camera is not None
    other, _ = hopper("pixels", camera=camera)
    assert not other.recordable  # who knows what a camera of one's own does
