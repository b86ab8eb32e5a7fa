"""Kills, full disks, read-only folders and closed terminals: nothing is lost, and why is said."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
import torch

from dva import runs
from dva.cli import main
from dva.compute import arguments
from dva.compute.errors import FileError, usage_errors
from dva.runs import Run, UsageError, session
from dva.runs.checkpoint import load_checkpoint, save_checkpoint
from dva.runs.events import EventWriter
from dva.runs.extras import Extras

STEPS = 4 * 4
"""Environment steps of an iteration of `tiny`."""
JOINT_Q = "algorithm.env.physics.joint_q"


class Killed(BaseException):
    pass


SYSTEM_CALLS = (
    (os, "chmod"), (os, "fsync"), (os, "replace"), (os, "open"), (fcntl, "flock"),
    (Path, "mkdir"), (Path, "open"), (Path, "write_text"), (Path, "unlink"), (Path, "iterdir"),
)  # fmt: skip


def kill_at_call(patch: pytest.MonkeyPatch, last: int) -> Callable[[], int]:
    """Ends the process, as far as files can tell, at the call number `last` of those above.

    From then on every call fails, so that nothing is tidied up; a text is written by half.
    """
    count = 0

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == last and call.__name__ == "write_text":
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            if count >= last:
                raise Killed
            return call(*arguments, **options)

        return run

    for owner, name in SYSTEM_CALLS:
        patch.setattr(owner, name, wrapped(getattr(owner, name)))
    return lambda: count


def test_a_folder_is_free_or_holds_a_run_wherever_its_making_is_killed(tiny, monkeypatch):
    config = tiny()
    for last in range(1, 100):
        shutil.rmtree(config.run.run_dir, ignore_errors=True)
        with monkeypatch.context() as patch:
            calls = kill_at_call(patch, last)
            try:
                Run.create(config)
                break
            except Killed:
                pass
        if (config.run.run_dir / "config.yaml").exists():
            assert Run.open(config.run.run_dir).config == config
        else:
            run = Run.create(config)
            names = sorted(path.name for path in run.path.iterdir())
            assert names == [".lock", "config.yaml"], f"killed at call {last}"
    assert last > 10 and calls() < last


def test_what_others_put_into_a_folder_keeps_it_taken(tiny):
    config = tiny()
    config.run.run_dir.mkdir()
    (config.run.run_dir / ".notes").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        Run.create(config)


def test_of_two_that_make_the_same_run_one_is_refused(tiny, monkeypatch):
    config = tiny()
    require = Run.require_free
    checks = []

    def slow(path):
        require(path)
        if not checks:
            checks.append(path)
            Run.create(config)  # the other process, between this one's check and its lock

    monkeypatch.setattr(Run, "require_free", staticmethod(slow))
    with pytest.raises(UsageError, match="There is a run in"):
        Run.create(config)


# ---------------------------------------------------------------------- disks

NUMBERS = [errno.ENOSPC, errno.EACCES, errno.EROFS]


def fail_for(name: str, number: int) -> Callable[..., Any]:
    """Stands in for os.fsync: files whose path has `name` in it cannot be written."""
    fsync = os.fsync

    def run(descriptor: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    return run


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", ["config.yaml", ".safetensors", "step-", "latest.json"])
def test_a_disk_that_takes_no_more_costs_no_checkpoint(tiny, monkeypatch, name, number):
    run = runs.train(tiny(checkpoint_interval=STEPS, stop_at=2 * STEPS)).run
    before = load_checkpoint(run.checkpoints)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_for(name, number))
        with pytest.raises(FileError) as caught:
            runs.train(resume=run)
    text = str(caught.value)
    assert "\n" not in text and str(run.path) in text and name.strip(".") in text
    assert os.strerror(number) in text
    assert load_checkpoint(run.checkpoints).info == before.info
    assert not [path for path in run.path.rglob("*.tmp")]
    assert runs.train(resume=run).run.metrics()[-1]["iteration"] == 20


@pytest.mark.parametrize("place", ["videos", "curve.png"])
def test_training_goes_on_without_videos_and_curves(tiny, place):
    config = tiny()
    messages = []

    def report(update: runs.Update) -> None:
        messages.append(update.message or "")
        if update.row is not None and update.row["iteration"] == 1:
            path = config.run.run_dir / place  # a file where a folder belongs, and the reverse
            path.write_text("") if place == "videos" else (path / "folder").mkdir(parents=True)

    config.run.video_interval = 20 * STEPS if place == "videos" else 0
    outcome = runs.train(config, report)
    assert outcome.reason == "finished"
    assert load_checkpoint(outcome.run.checkpoints).info["iteration"] == 20
    what = "video" if place == "videos" else "curve"
    (message,) = [text for text in messages if "left out" in text]
    assert message.startswith(f"The {what} is left out; training goes on: ")
    assert place in message and "\n" not in message


def test_training_goes_on_without_tensorboard_and_ffmpeg(tiny, monkeypatch):
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    monkeypatch.setattr(session, "VIDEO_STEPS", 1)
    config = tiny(video_interval=STEPS, env_steps=5 * STEPS)
    messages: list[str] = []

    def report(update: runs.Update) -> None:
        messages.extend([update.message] if update.message else [])

    def fail(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(EventWriter, "__init__", fail)
    for first, last in ((1, 5), (6, 10)):
        messages.clear()
        config.run.env_steps = last * STEPS
        resumed = Run.open(config.run.run_dir) if first > 1 else None
        outcome = runs.train(config, report, resumed)
        assert outcome.reason == "finished"
        iterations = [row["iteration"] for row in outcome.run.metrics()]
        assert iterations == list(range(1, last + 1))
        assert [text for text in messages if "left out" in text or "tries" in text] == [
            "TensorBoard is left out; training goes on: [Errno 13] Permission denied.",
            next(text for text in messages if text.startswith("The video is left out")),
            "The video has failed 3 times; this session tries no more.",
        ]


def test_a_video_that_fails_once_is_tried_again():
    said: list[str] = []
    extras, results = Extras(said.append), iter([OSError("full\ndisk"), None, ValueError(), None])
    done = []

    def do() -> None:
        found = next(results)
        if found is not None:
            raise found
        done.append(found)

    for _ in range(4):
        extras.attempt("The video", do)
    assert len(done) == 2
    assert said == ["The video is left out; training goes on: full disk."]

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extras.attempt("The video", interrupt)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except OSError:
        pytest.skip("there is no mount")
    if done.returncode != 0:
        pytest.skip("this user may not mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_small_disk_that_fills_up_keeps_its_checkpoint(tiny, small_disk, capsys):
    config = tiny(run_dir=small_disk / "run", stop_at=STEPS, actor_hidden=(8,), trunk_size=4)
    run = runs.train(config).run
    before = load_checkpoint(run.checkpoints)
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while True:
                    filler.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    assert main(["train", "--resume", str(run.path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "No space left on device. Free some space" in err
    assert load_checkpoint(run.checkpoints).info == before.info
    (small_disk / "filler").unlink()
    assert main(["train", "--resume", str(run.path), "--env-steps", str(3 * STEPS)]) == 0
    assert len(run.metrics()) == 3


def test_a_read_only_disk_is_named_and_its_runs_can_still_be_evaluated(tiny, small_disk, capsys):
    config = tiny(run_dir=small_disk / "run", stop_at=STEPS, actor_hidden=(8,), trunk_size=4)
    run = runs.train(config).run
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for line in (
        ["train", "--resume", str(run.path)],
        ["train", "cartpole", "--device", "cpu", "--run-dir", str(small_disk / "new")],
    ):
        assert main(line) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f"error: {line[-1]}" in err
        assert "Read-only file system. Let user" in err
    assert main(["eval", str(run.path), "--episodes", "1"]) == 0


# ---------------------------------------------------------------------- signals


def test_a_closed_terminal_ends_training_with_a_checkpoint(tiny):
    def report(update: runs.Update) -> None:
        if update.row is not None and update.row["iteration"] == 3:
            signal.raise_signal(signal.SIGHUP)
        if update.row is not None and update.row["iteration"] >= 3:
            raise OSError(errno.EIO, "Input/output error")

    outcome = runs.train(tiny(), report)
    assert (outcome.reason, outcome.signal) == ("interrupted", signal.SIGHUP)
    assert load_checkpoint(outcome.run.checkpoints).info["iteration"] == 3


def test_a_second_signal_during_the_save_does_not_throw_it_away(tiny, monkeypatch):
    save = session.save_checkpoint

    def slow_save(*arguments):
        signal.raise_signal(signal.SIGINT)
        return save(*arguments)

    def report(update: runs.Update) -> None:
        if update.row is not None and update.row["iteration"] == 3:
            signal.raise_signal(signal.SIGINT)

    config = tiny()
    monkeypatch.setattr(session, "save_checkpoint", slow_save)
    with pytest.raises(KeyboardInterrupt):
        runs.train(config, report)
    assert load_checkpoint(config.run.run_dir / "checkpoints").info["iteration"] == 3


def test_a_run_that_is_moved_while_it_trains_stops_and_makes_no_second_folder(tiny, tmp_path):
    config = tiny(checkpoint_interval=STEPS)

    def report(update: runs.Update) -> None:
        if update.row is not None and update.row["iteration"] == 3:
            config.run.run_dir.rename(tmp_path / "moved")

    with pytest.raises(UsageError, match="was moved or removed while it trained.*--resume"):
        runs.train(config, report)
    assert not config.run.run_dir.exists()
    run = Run.open(tmp_path / "moved")
    assert load_checkpoint(run.checkpoints).info["iteration"] == 2
    runs.train(resume=run)
    assert len(run.metrics()) == 20


def test_of_two_that_resume_at_once_the_one_that_comes_too_late_is_refused(tiny):
    run = runs.train(tiny(stop_at=2 * STEPS)).run
    others = []

    def report(update: runs.Update) -> None:
        if not others:  # while this one builds its environments
            others.append(runs.train(tiny(stop_at=4 * STEPS), resume=Run.open(run.path)))

    with pytest.raises(UsageError, match="Another process has trained in .* meanwhile"):
        runs.train(report=report, resume=Run.open(run.path))
    assert len(Run.open(run.path).sessions) == 2
    assert len(run.metrics()) == 4


# ---------------------------------------------------------------------- damaged runs


def test_a_checkpoint_of_another_layout_changes_nothing(tiny):
    run = runs.train(tiny(stop_at=2 * STEPS)).run
    checkpoint = load_checkpoint(run.checkpoints)
    for change, message in (
        (lambda t: t.pop("torch_generator"), "lacks the tensor 'torch_generator'"),
        (lambda t: t[JOINT_Q].fill_(float("nan")), "entries that are not finite"),
    ):
        tensors = {name: value.clone() for name, value in checkpoint.tensors.items()}
        change(tensors)
        save_checkpoint(run.checkpoints, tensors, checkpoint.info)
        with pytest.raises(UsageError, match=message):
            runs.train(resume=run)
    tensors = dict(checkpoint.tensors)
    name = next(n for n, x in tensors.items() if n.startswith("policy.actor.") and x.ndim == 2)
    save_checkpoint(run.checkpoints, {**tensors, name: tensors[name][:-1]}, checkpoint.info)
    short = name.removeprefix("policy.")
    with pytest.raises(UsageError, match=f"tensor '{short}' of shape"):
        runs.load_policy(run)


def test_a_value_error_of_ours_is_explained_and_another_keeps_its_traceback():
    with pytest.raises(UsageError, match="num_envs"):
        with usage_errors():
            arguments.count("num_envs", 0)
    with pytest.raises(ValueError) as caught:
        with usage_errors():
            torch.distributions.Normal(torch.tensor(float("nan")), 1.0)
    assert not isinstance(caught.value, UsageError)
