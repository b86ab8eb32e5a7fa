"""The replay of rollouts: what is drawn is what was seen, and it is saved piece by piece."""

from pathlib import Path

import pytest
import torch
from point_mass import PointMass
from safetensors import SafetensorError
from safetensors.torch import load_file
from small import small_dva

from dva.compute.errors import FileError
from dva.compute.files import is_temporary, write_tensors
from dva.learning.replay import RolloutReplay
from dva.learning.rollout import Rollout

HORIZON, ENVS, HELD = 4, 3, 3
CPU = torch.device("cpu")


def rollouts(count: int) -> list[Rollout]:
    """Rollouts one after the other, in which episodes end."""
    env = PointMass(ENVS, episode_length=6, observe=("pixels", "state"))
    algorithm = small_dva(env, horizon=HORIZON)
    found = []
    for _ in range(count):
        found.append(algorithm.rollout())
        for action in found[-1].actions:
            action.detach_()
    assert any(rollout.done.any() for rollout in found)
    return found


def new_replay() -> RolloutReplay:
    spec = PointMass(ENVS, observe=("pixels", "state")).policy_spec
    return RolloutReplay(spec, 4, ENVS, HORIZON, HELD, CPU)


def add(replay: RolloutReplay, rollout: Rollout) -> None:
    replay.add(rollout.frames, rollout.vectors, rollout.states)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def drawn_from(replay: RolloutReplay, kept: list[Rollout], newest: bool = False) -> set[int]:
    """Checks samples against the rollouts; returns which of the rollouts' samples were drawn."""
    images = torch.cat([r.frames["pixels"].observations(0, HORIZON * ENVS) for r in kept])
    states = torch.cat([r.states.flatten(0, 1) for r in kept])
    assert len(torch.unique(states, dim=0)) == len(states)
    seen, drawn = replay.sample(500, generator(), newest)
    which = (drawn[:, None] == states).all(-1).float().argmax(1)
    assert torch.equal(drawn, states[which])
    assert torch.equal(seen["pixels"], images[which])
    assert torch.equal(seen["state"], drawn)  # the policy sees it too
    return set(which.tolist())


def test_samples_are_of_the_rollouts_that_are_held() -> None:
    made, replay = rollouts(5), new_replay()
    each = HORIZON * ENVS
    for index, rollout in enumerate(made):
        add(replay, rollout)
        kept = made[max(0, index + 1 - HELD) : index + 1]
        assert drawn_from(replay, kept) == set(range(len(kept) * each))
        assert drawn_from(replay, made[index : index + 1], newest=True) == set(range(each))


def test_it_is_saved_in_pieces_and_comes_back(tmp_path: Path) -> None:
    made, replay, markers = rollouts(8), new_replay(), []
    for count in (1, 3, 4, 4, 8):
        while int(replay.count) < count:
            add(replay, made[int(replay.count)])
        markers.append(replay.save(tmp_path, markers))
        assert int(replay.count) == count
    assert [[piece[:2] for piece in m["pieces"]] for m in markers[:3]] == [
        [[0, 1]], [[0, 1], [1, 3]], [[1, 3], [3, 4]],
    ]  # fmt: skip
    assert markers[3] == markers[2]
    assert [piece[:2] for piece in markers[4]["pieces"]] == [[5, 8]]
    assert not [path for path in tmp_path.iterdir() if is_temporary(path)]
    for marker in markers:  # every one is live, and so is whole
        again = new_replay()
        again.load(tmp_path, marker)
        kept = made[max(0, marker["count"] - HELD) : marker["count"]]
        assert drawn_from(again, kept) == set(range(len(kept) * HORIZON * ENVS))
    again.save(tmp_path, [markers[2]])
    assert {path.name[9:-12] for path in tmp_path.iterdir()} == {
        "000000001-000000003", "000000003-000000004", "000000005-000000008",
    }  # fmt: skip
    # goes on as the one that was saved
    more = rollouts(9)[8]
    for one in (replay, again):
        add(one, more)
    assert torch.equal(replay.sample(50, generator())[1], again.sample(50, generator())[1])


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    made, replay = rollouts(2), new_replay()
    add(replay, made[0])
    add(replay, made[1])
    marker = replay.save(tmp_path, [])
    with pytest.raises(ValueError, match=r"pieces \[\(0, 1, 'ab'\)\] are not the rollouts 0 to 2"):
        new_replay().load(tmp_path, {"count": 2, "pieces": [[0, 1, "ab"]]})
    (path,) = tmp_path.iterdir()
    tensors = load_file(path)
    digest = write_tensors(path, {**tensors, ".states": tensors[".states"][:, :5]})
    with pytest.raises(ValueError, match="rollouts-0.* is not what was written"):
        new_replay().load(tmp_path, marker)
    with pytest.raises(ValueError, match="states in rollouts-0.* has another shape"):
        new_replay().load(tmp_path, {"count": 2, "pieces": [[0, 2, digest]]})
    path.unlink()
    with pytest.raises(OSError, match="rollouts-0"):
        new_replay().load(tmp_path, marker)


def test_a_full_disk_is_an_error_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = new_replay()
    add(replay, rollouts(1)[0])

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(FileError, match="No space left on device. Free some space"):
        replay.save(tmp_path, [])
    assert not list(tmp_path.iterdir())
