"""Two processes with half of the environments each do what one does with all of them.

What is close differs by round-off: sums are taken in another order.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from processes import CASES, ENVS, GUIDED, SharedPointMass, make_dva, run_in_two
from small import without_times
from torch.testing import assert_close

from dva.compute.distributed import ALONE

Cases = dict[str, Any]
EXACT = [
    "dva_of_pixels", "dva_of_states", "shac_of_states", "action_gradient", "broken_environment",
    "nonfinite_update", "normalizer", "restarts", "ppo_of_pixels",
]  # fmt: skip
"""Cases in which nothing but rounding may differ."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def one(folder: Path) -> Cases:
    """What one process finds."""
    found = {"saved": CASES["saved"](ALONE, folder), "guided": CASES["guided"](ALONE, folder)}
    torch.save(found["saved"][0], folder / "saved.pt")  # for the others to read
    torch.save(found["guided"]["marker"], folder / "marker.pt")
    return found | {name: CASES[name](ALONE, folder) for name in EXACT}


@pytest.fixture(scope="module")
def two(one: Cases, folder: Path) -> list[Cases]:
    """What each of two processes finds."""
    return run_in_two(folder)


def close(found: Any, expected: Any) -> None:
    # A shade of the pictures may fall to the other side; the positions that they show are there.
    found, expected = (_comparable(value, "env.stack") for value in (found, expected))
    assert_close(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def _comparable(value: Any, left_out: str = "") -> Any:
    """Replaces None, which `assert_close` cannot compare, and leaves out what has one name."""
    if isinstance(value, dict):
        return {name: _comparable(x, left_out) for name, x in value.items() if name != left_out}
    if isinstance(value, list | tuple):
        return [_comparable(x, left_out) for x in value]
    return torch.nan if value is None else value


@pytest.mark.parametrize("case", EXACT)
def test_two_processes_do_what_one_does(one: Cases, two: list[Cases], case: str) -> None:
    close(two[0][case], one[case])


@pytest.mark.parametrize("case", CASES)
def test_processes_agree_bit_for_bit(two: list[Cases], case: str) -> None:
    # Process 0 alone has written, and knows the digests.
    first, second = (_comparable(found[case], "marker") for found in two)
    assert_close(first, second, rtol=0, atol=0, equal_nan=True)


def test_what_the_cases_are_about_happens(one: Cases, two: list[Cases]) -> None:
    for found in (one, *two):
        for result in found["broken_environment"]:
            assert result["metrics"]["nonfinite_count"] == 1
            assert result["metrics"]["skipped_updates"] == 0
        metrics, unchanged = found["nonfinite_update"]
        assert metrics["skipped_updates"] == 1 and unchanged
        assert found["normalizer"]["count"] == 2 * 5 * ENVS - 3
        ended, _, _ = found["restarts"]
        assert ended.any(0).all() and ended.sum(1).max() == 1  # all, never in both processes
        capped = found["action_gradient"][0].square().sum((0, 2)).sqrt()
        assert (capped > 0.999 * capped.max()).sum() > 1  # the longest were cut to one length
    assert one["dva_of_pixels"]["gradient"].norm() > 0.01


def test_ppo_goes_on_where_it_was_saved_and_takes_its_steps_alike(two: list[Cases]) -> None:
    (straight, continued), _ = two[0]["ppo_in_parts"]
    assert straight == continued
    assert straight["updates"] == 6 and straight["kl"] > 0.0


def test_two_processes_continue_what_one_saved(one: Cases, two: list[Cases]) -> None:
    close(two[0]["continued"], one["saved"][1])


def test_one_process_continues_what_two_saved(two: list[Cases]) -> None:
    state, rows = two[0]["saved"]
    algorithm = make_dva(ALONE)
    algorithm.load_state_dict(state)
    close([without_times(algorithm.iterate()) for _ in range(2)], rows)


def test_a_guide_learns_the_same_and_teaches_from_other_samples(
    one: Cases, two: list[Cases]
) -> None:
    found, expected = two[0]["guided"], one["guided"]
    close(found["gradient"], expected["gradient"])
    for metrics in (found["metrics"], expected["metrics"]):
        assert metrics.pop("imitation_error") > 0.0
    close(found["metrics"], expected["metrics"])


def test_the_replay_of_two_processes_is_saved_as_that_of_one(
    two: list[Cases], folder: Path
) -> None:
    algorithm = make_dva(ALONE, **GUIDED)
    assert algorithm.guide is not None
    replay = algorithm.guide.replay
    replay.load(folder / "replay-of-2", two[0]["guided"]["marker"])
    seen, states = replay.sample(500, torch.Generator().manual_seed(0))
    env = SharedPointMass(ALONE)
    env.num_envs = len(states)
    env.put_tensors({"joint_q": states[:, :2], "joint_qd": states[:, 2:], "steps": states,
                     "returns": states, "stack": states, "limits": states})  # fmt: skip
    assert torch.equal(seen["pixels"][:, -3:], env._paint())  # what these states look like
    assert len(states.unique(dim=0)) > 60  # of 80


def test_the_replay_of_one_process_is_loaded_by_two(two: list[Cases], folder: Path) -> None:
    (written,), (again,) = (
        list((folder / name).iterdir()) for name in ("replay-of-1", "replay-again")
    )
    assert again.name == written.name and again.read_bytes() == written.read_bytes()
