"""Trained policies of the package: read, unpacked, played."""

from pathlib import Path

import pytest
import torch

from dva import runs
from dva.cli import main
from dva.runs.pretrained import pack_policy


@pytest.mark.parametrize("task", runs.pretrained_names())
def test_a_trained_policy_unpacks_as_a_run(task: str, tmp_path: Path) -> None:
    run = runs.unpack_pretrained(task, tmp_path / "run")
    env = runs.make_env(run, 2)
    policy = runs.load_policy(run)
    action, _ = policy.act(env.reset(), policy.initial_state(2))
    assert action.shape == (2, env.action_size) and action.isfinite().all()
    assert set(runs.pretrained_about(task)["trained"]) == {
        "command", "commit", "device", "date", "return",
    }  # fmt: skip


def test_the_trained_cart_swings_its_pole_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "cartpole", "--pretrained", "--episodes", "3"]) == 0
    printed = capsys.readouterr().out
    promised = runs.pretrained_about("cartpole")["trained"]["return"]
    assert float(printed.split()[2]) > promised["mean"] - 5 * promised["std"]


def test_packing_keeps_small_tensors_to_half_precision(tmp_path: Path) -> None:
    run = runs.unpack_pretrained("cartpole", tmp_path / "run")
    path = tmp_path / "again.safetensors"
    pack_policy(run, path, {"command": "dva train cartpole"})
    shipped = Path(runs.__file__).parents[1] / "pretrained" / "cartpole.safetensors"
    assert path.stat().st_size == pytest.approx(shipped.stat().st_size, rel=0.01)
    assert path.stat().st_size < 3e6


def test_the_largest_entry_of_a_row_is_exact_and_the_others_to_a_127th(tmp_path: Path) -> None:
    run = runs.unpack_pretrained("cartpole", tmp_path / "run")
    weight = runs.load_policy(run).state_dict()["actor.images.pixels.linear.weight"]
    steps = weight / weight.abs().amax(1, keepdim=True) * 127
    torch.testing.assert_close(steps, steps.round(), rtol=0.0, atol=1e-3)


def test_names_without_a_policy_and_full_folders_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "humanoid", "--pretrained"]) == 2
    assert "There is no trained policy of 'humanoid'" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(runs.UsageError, match="is not empty"):
        runs.unpack_pretrained("hopper", tmp_path)


def test_the_list_says_what_each_returns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrained"]) == 0
    printed = capsys.readouterr().out
    for task in runs.pretrained_names():
        assert f"{task}: returns" in printed and f"dva train {task} " in printed
