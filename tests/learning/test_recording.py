"""Recorded iterations against plain ones; a tape of operations stands in for CUDA graphs."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small import small_dva, small_ppo, small_shac
from tape import Broken, Tape, record_with

import dva
from dva.compute.recording import Blocks
from dva.envs import VectorEnv
from dva.learning.rollout_learner import RolloutLearner

Make = Callable[[], Any]
Kind = Callable[..., RolloutLearner]
ITERATIONS = 6


def point_mass(observe: str) -> PointMass:
    return PointMass(observe=(observe,))


def hopper(observe: str, **changes: Any) -> VectorEnv:
    env = dva.make(
        "hopper", 3, device="cpu", image_size=24, observe=observe, final_observations=False,
        threads=1, **changes,
    )  # fmt: skip
    env._may_look = False  # as on CUDA, where the host does not wait to see whether episodes ended
    return env


def train(algorithm: RolloutLearner, count: int = ITERATIONS) -> list[dict[str, float | None]]:
    rows = [algorithm.iterate() for _ in range(count)]
    return [
        {name: value for name, value in row.items() if not name.startswith("seconds_")}
        for row in rows
    ]


def small(env: Any, kind: Kind, seed: int = 3) -> RolloutLearner:
    horizon = 5 if isinstance(env, PointMass) else 3
    return kind(env, seed=seed, iterations=10, horizon=horizon, trunk_size=8)


def both(make: Make, kind: Kind) -> tuple[RolloutLearner, RolloutLearner]:
    plain, recorded = (small(make(), kind) for _ in range(2))
    record_with(recorded, Tape())
    return plain, recorded


@pytest.mark.parametrize(
    ("make", "kind", "observe"),
    [
        *itertools.product([point_mass, hopper], [small_dva, small_ppo], ["pixels", "state"]),
        *itertools.product([point_mass, hopper], [small_shac], ["state"]),
    ],
)
def test_recorded_iterations_are_plain_iterations(make: Any, kind: Kind, observe: str) -> None:
    plain, recorded = both(lambda: make(observe), kind)
    expected, found = train(plain), train(recorded)
    assert recorded._fixed is not None
    assert found == expected
    for name, value in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[name], value), name


def test_gradients_of_pixels_are_recorded() -> None:
    changes = {"camera": "differentiable", "image_gradient": True}
    make = lambda: hopper("pixels", **changes)  # noqa: E731
    plain, recorded = both(make, small_shac)
    assert train(recorded) == train(plain)


def test_centres_are_recorded() -> None:
    kind = functools.partial(small_dva, center_features=True)
    plain, recorded = both(lambda: hopper("pixels"), kind)
    assert train(recorded) == train(plain)
    one, other = (x.actor.trunks["pixels"].center for x in (plain, recorded))
    assert one is not None and other is not None and torch.equal(one, other)


def test_recomputed_physics_is_recorded() -> None:
    plain, recorded = both(lambda: hopper("state", state_storage="recompute"), small_dva)
    assert train(recorded) == train(plain)


def test_a_recorded_algorithm_is_saved_and_loaded() -> None:
    plain, recorded = both(lambda: point_mass("pixels"), small_dva)
    expected = train(plain, 12)
    train(recorded, 5)
    other = small(point_mass("pixels"), small_dva, seed=7)
    record_with(other, Tape())
    train(other, 4)  # recorded by now, and to be recorded anew
    other.load_state_dict(recorded.state_dict())
    assert train(other, 7) == expected[5:]


def test_training_goes_on_where_recording_fails() -> None:
    plain, recorded = both(lambda: point_mass("pixels"), small_dva)
    # rollout, its measures and the action gradient are recorded, the actor is improved
    record_with(recorded, Broken(4))
    expected = train(plain)
    with pytest.warns(UserWarning, match="out of luck"):
        found = train(recorded)
    assert found == expected


def test_what_reads_the_device_is_not_recorded() -> None:
    class Reading(PointMass):
        def step(self, action: torch.Tensor) -> Any:
            assert action.sum().item() < 1e6
            return super().step(action)

    algorithm = small(Reading(observe=("state",)), small_dva)
    record_with(algorithm, Tape())
    with pytest.warns(UserWarning, match="reads the device"):
        rows = train(algorithm)
    assert rows == train(small(point_mass("state"), small_dva))


def test_an_environment_that_was_moved_is_recorded_anew() -> None:
    plain, recorded = both(lambda: hopper("state"), small_dva)
    for algorithm in (plain, recorded):
        train(algorithm, 5)
        state = algorithm.env.state_dict()
        algorithm.env.reset()
        algorithm.env.load_state_dict(state)
        joint_q, joint_qd = algorithm.env.state.joint_q, algorithm.env.state.joint_qd
        algorithm.env.set_state(joint_q, joint_qd)  # type: ignore[attr-defined]
    assert recorded._fixed is not None and recorded._fixed.left
    assert train(recorded) == train(plain)
    assert recorded._fixed is not None and not recorded._fixed.left


def test_blocks_replay_what_they_recorded() -> None:
    blocks, total = Blocks(Tape()), torch.zeros(())
    results = [blocks("add", lambda x: total.add_(1.0) * x, torch.tensor(2.0)) for _ in range(3)]
    assert total.item() == 3.0
    assert [result.item() for result in results] == [6.0, 6.0, 6.0]  # one tensor


def test_only_steps_on_the_device_alone_are_recorded(camera: Any, simulator: Any) -> None:
    env = hopper("state")
    assert env.recordable
    env.on_nonfinite = lambda state, action, mask: None
    assert not env.recordable
    # A sensor and a simulator of one's own say so themselves.
    for part, arguments in (
        (camera, {"observe": "pixels", "sensors": [camera]}),
        (simulator, {"observe": "state", "simulator": simulator.build}),
    ):
        assert hopper(**arguments).recordable
        part.recordable = False
        assert not hopper(**arguments).recordable
