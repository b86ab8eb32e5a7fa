"""What goes wrong around a command is one line and status 2; a bug keeps its traceback."""

import errno
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dva.cli import list_command, main
from dva.runs.checkpoint import load_checkpoint
from dva.runs.video import VideoWriter
from dva.tasks import registry

TINY = (
    "train cartpole --preset cpu --device cpu --threads 1 --num-envs 4 --horizon 4 --image-size 32 "
    "--evaluation-episodes 0 --video-interval 0 --env-steps 1600000"
).split()
CONTROL_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "dva", *sys.argv[1:]])
"""


def refusal(line: list[str], capsys: pytest.CaptureFixture) -> str:
    assert main(line) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    "line",
    [
        [*TINY, "--run-dir", "/proc/run"],
        [*TINY, "--run-dir", "/dev/null/run"],
        ["random", "cartpole", "--steps", "2", "--video", "/proc/video.mp4"],
        ["random", "cartpole", "--steps", "2", "--video", "/dev/null/video.mp4"],
    ],
)
def test_a_place_that_takes_no_file_is_named(line, capsys):
    err = refusal(line, capsys)
    assert line[-1] in err and "cannot be written: " in err


@pytest.mark.parametrize(
    "line",
    [
        [*TINY, "--run-dir", "/tmp/" + 300 * "a"],
        ["eval", "/tmp/" + 300 * "a"],
        ["train", "--resume", "/tmp/" + 300 * "a"],
        ["random", "cartpole", "--steps", "2", "--video", f"/tmp/{300 * 'a'}.mp4"],
        ["doctor", "--replay", f"/tmp/{300 * 'a'}.safetensors"],
    ],
)
def test_a_name_that_is_too_long_is_one_line(line, capsys):
    assert "File name too long" in refusal(line, capsys)


def test_output_that_the_terminal_cannot_show_is_replaced(monkeypatch, capsys):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(list_command, "run", lambda arguments: print("12.3 ± 0.5") or 0)
    assert main(["list"]) == 0
    assert raw.getvalue() == b"12.3 ? 0.5\n"


def test_the_status_of_a_command_outlives_its_output(monkeypatch):
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        def fileno(self) -> int:
            return spare

    spare = os.open(os.devnull, os.O_WRONLY)
    for status in (0, 129):
        monkeypatch.setattr(sys, "stdout", Gone())
        monkeypatch.setattr(list_command, "run", lambda arguments: status)  # noqa: B023
        assert main(["list"]) == status
    os.close(spare)


def command(line: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs `dva` in a process of its own."""
    code = "import sys; from dva.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-P", "-c", code, *line], text=True, **options)


def test_output_onto_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = command(["list"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device.\n"


def test_training_ends_as_it_does_though_its_output_cannot_be_written(tmp_path):
    small = ["--env-steps", "16", "--evaluation-episodes", "0", "--video-interval", "0"]
    with open("/dev/full", "w") as full:
        line = [*TINY, *small, "--run-dir", str(tmp_path / "full")]
        done = command(line, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert "The display has failed; training goes on without" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "full" / "checkpoints" / "latest.json").is_file()


def test_streams_that_are_closed_take_no_file_with_them(tmp_path):
    small = ["--env-steps", "16", "--evaluation-episodes", "0", "--video-interval", "0"]
    line = [*TINY, *small, "--run-dir", str(tmp_path / "closed")]
    done = command(line, preexec_fn=lambda: os.closerange(0, 3))
    assert done.returncode == 0
    assert (tmp_path / "closed" / "checkpoints" / "latest.json").is_file()
    (row,) = (tmp_path / "closed" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(row)["env_steps"] == 16


def test_a_value_that_an_environment_refuses_is_one_line(tmp_path, capsys, monkeypatch):
    code = (Path(__file__).parents[2] / "examples" / "slide_task.py").read_text()
    code = code.replace('name: str = "slide"', 'name: str = "broken"')
    code = code.replace('robot: str = "cartpole"', 'robot: str = "broken.xml"')
    (tmp_path / "broken_task.py").write_text(code)
    (tmp_path / "broken.xml").write_text("<mujoco><worldbody><bdy/></worldbody></mujoco>")
    monkeypatch.chdir(tmp_path)
    # other tests list all tasks
    monkeypatch.setattr(registry._TASKS, "entries", dict(registry._TASKS.entries))
    flags = TINY[2:]
    for line in (["random", "broken_task:broken"], ["train", "broken_task:broken", *flags]):
        assert f"MuJoCo cannot compile {tmp_path / 'broken.xml'}" in refusal(line, capsys)
    assert not (tmp_path / "runs").exists()
    del sys.modules["broken_task"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_fault_of_the_disk_anywhere_is_one_line(capsys, monkeypatch, number):
    def fail(arguments):
        raise OSError(number, os.strerror(number), "/some/where")

    monkeypatch.setattr(list_command, "run", fail)
    assert f"/some/where: {os.strerror(number)}. Check" in refusal(["list"], capsys)


@pytest.mark.parametrize("error", [ValueError("a fault"), OSError(9, "Bad file descriptor")])
def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch, error):
    def fail(arguments):
        raise error

    monkeypatch.setattr(list_command, "run", fail)
    with pytest.raises(type(error)):
        main(["list"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_leaves_no_half_of_a_film(monkeypatch, tmp_path, number):
    def film(arguments):
        with VideoWriter(tmp_path / "film.mp4", 30.0) as writer:
            writer.add(torch.zeros(3, 16, 16, dtype=torch.uint8))
            os.kill(os.getpid(), number)
            writer.add(torch.zeros(3, 16, 16, dtype=torch.uint8))

    monkeypatch.setattr(list_command, "run", film)
    with pytest.raises(SystemExit) as ended:
        main(["list"])
    assert ended.value.code == 128 + number
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_that_the_caller_ignores_stays_ignored(monkeypatch):
    monkeypatch.setattr(list_command, "run", lambda arguments: os.kill(os.getpid(), signal.SIGHUP))
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["list"]) is None
    finally:
        signal.signal(signal.SIGHUP, former)


def wait_for(path: Path, rows: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if path.is_file() and path.read_text().count("\n") >= rows:
            return
        time.sleep(0.05)
    raise AssertionError("training did not start")


def test_a_closed_terminal_leaves_a_checkpoint(tmp_path):
    folder = tmp_path / "run"
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROL_TERMINAL, *TINY, "--run-dir", str(folder)],
        stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(slave)
    os.set_blocking(master, False)
    deadline = time.monotonic() + 200
    metrics = folder / "metrics.jsonl"
    while not (metrics.is_file() and metrics.read_text()) and time.monotonic() < deadline:
        try:  # a terminal that nobody reads stops whoever writes to it
            os.read(master, 1 << 16)
        except BlockingIOError:
            time.sleep(0.02)
    os.close(master)  # the window is closed: SIGHUP, and every write fails
    assert process.wait(60) in (1, 128 + signal.SIGHUP)
    assert load_checkpoint(folder / "checkpoints").info["iteration"] >= 1


def test_a_reader_that_goes_away_leaves_a_checkpoint(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "dva", *TINY, "--run-dir", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    wait_for(folder / "metrics.jsonl", 2, process)
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGHUP
    assert process.stderr.read() == ""
    assert load_checkpoint(folder / "checkpoints").info["iteration"] >= 2
