"""`dva train` in two processes: one run on disk, whatever happens to either of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launching import start_two

from dva import runs
from dva.compute.distributed import Processes, join
from dva.runs import Run, UsageError, build
from dva.runs.build import require_group
from dva.runs.checkpoint import load_checkpoint
from dva.runs.metrics import is_timing

STEPS = 4 * 4
"""Environment steps of one iteration."""
VALUES: dict[str, Any] = {
    "num_envs": 4, "horizon": 4, "image_size": 32, "precision": "float32", "threads": 1,
    "device": "cpu", "env_steps": 4_000 * STEPS, "video_interval": 0, "evaluation_episodes": 0,
}  # fmt: skip
RELATIVE, ABSOLUTE = 1e-3, 1e-5
"""What rounding makes of metrics in a few iterations; other numbers differ by far more."""


def config(folder: Path, **changes: Any) -> runs.TrainConfig:
    return runs.default_config("cartpole", preset="cpu", **{**VALUES, "run_dir": folder, **changes})


def command(folder: Path) -> list[str]:
    """The same as a command line."""
    flags = [[f"--{name.replace('_', '-')}", str(value)] for name, value in VALUES.items()]
    return ["train", "cartpole", "--preset", "cpu", "--run-dir", str(folder), *sum(flags, [])]


def wait_for_rows(folder: Path, count: int, alive: Callable[[], bool]) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        rows = Run.open(folder).metrics() if (folder / "config.yaml").is_file() else []
        if len(rows) >= count:
            return rows
        assert alive()
        time.sleep(0.05)
    raise AssertionError(f"fewer than {count} rows")


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [row["iteration"] for row in found] == [row["iteration"] for row in expected]
    for one, other in zip(found, expected, strict=True):
        for name, value in other.items():
            if not is_timing(name):
                near = None if value is None else pytest.approx(value, RELATIVE, ABSOLUTE)
                assert one[name] == near, name


def test_a_run_of_two_processes_is_stopped_by_torchrun_and_continued_by_one(tmp_path):
    folder = tmp_path / "two"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [sys.executable, *launcher, "-m", "dva", *command(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_rows(folder, 3, lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert out.count("Training cartpole") == 1  # the other one is silent
    assert f"dva train --resume {folder}" in out, err
    run = Run.open(folder)
    rows = run.metrics()
    saved = load_checkpoint(run.checkpoints)
    assert saved.info["iteration"] == len(rows)
    assert saved.tensors["algorithm.env.physics.joint_q"].shape == (4, 2)
    alone = runs.train(config(tmp_path / "one", stop_at=3 * STEPS)).run
    assert_close(rows[:3], alone.metrics())

    stop = (len(rows) + 2) * STEPS
    outcome = runs.train(config(folder, stop_at=stop), resume=run)
    assert [row["env_steps"] for row in outcome.run.metrics()[-2:]] == [stop - STEPS, stop]
    assert [session["processes"] for session in Run.open(folder)._sessions] == [2, 1]


def test_a_run_of_one_process_is_continued_by_two_until_one_of_them_is_ended(tmp_path):
    alone = runs.train(config(tmp_path / "one", stop_at=2 * STEPS)).run
    folder = Path(shutil.copytree(alone.path, tmp_path / "two"))
    first, second = start_two(tmp_path / "said", "train", "--resume", str(folder))
    runs.train(config(alone.path, stop_at=5 * STEPS), resume=Run.open(alone.path))
    rows = wait_for_rows(folder, 5, first.process.is_alive)
    second.process.terminate()
    assert (first.wait()[0], second.wait()[0]) == (143, 143)
    assert_close(rows[:5], alone.metrics())
    saved = load_checkpoint(folder / "checkpoints").info["iteration"]
    assert saved == len(Run.open(folder).metrics())

    first, second = start_two(tmp_path / "said again", "train", "--resume", str(folder))
    wait_for_rows(folder, saved + 1, first.process.is_alive)
    second.process.kill()
    status, _, err = first.wait()
    assert status == 1
    assert err.startswith("error: another process of this run has ended") and err.count("\n") == 1
    assert f"dva train --resume {folder}" in err
    assert load_checkpoint(folder / "checkpoints").info["iteration"] >= saved


def test_what_cannot_be_shared_is_said_once(tmp_path):
    first, second = start_two(tmp_path / "said", *command(tmp_path / "run"), "--num-envs", "5")
    status, out, err = first.wait()
    assert (status, out) == (2, "")
    assert err.startswith("error: num_envs is 5; 2 processes share them equally. Give 4 or 6")
    assert err.count("\n") == 1
    assert second.wait() == (1, "", "")
    assert not (tmp_path / "run").exists()


def test_processes_get_their_share_or_an_error(tmp_path, monkeypatch):
    group = Processes(1, 4, 1, 2)
    assert group.share("num_envs", 12) == 3
    assert list(range(8))[group.rows] == [1, 5]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6))
    assert (group.threads(None), group.threads(2)) == (3, 2)
    assert (group.device("cuda"), group.device("cpu")) == ("cuda:1", "cpu")
    for changes, text in (
        ({"num_envs": 3}, "num_envs is 3; 4 processes share them equally. Give 4"),
        ({"device": "cuda:1"}, "device is 'cuda:1'; each of several processes has a device"),
    ):
        with pytest.raises(UsageError, match=text):
            require_group(config(tmp_path, **changes), group)
        with pytest.raises(UsageError, match=text), build(config(tmp_path, **changes), group):
            pass


def test_an_algorithm_that_trains_in_one_process_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2] / "examples")
    monkeypatch.syspath_prepend(".")
    search = runs.default_config("cartpole", "random_search:random-search", observe="state")
    with pytest.raises(UsageError, match="trains in one process, and these are 2.*dva, ppo, shac"):
        require_group(search, Processes(0, 2, 0, 2))


def test_a_process_that_finds_no_others_says_how_to_start_them(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="KeyError: 'RANK'.*torchrun --nproc-per-node"):
        join()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join().size == 1
