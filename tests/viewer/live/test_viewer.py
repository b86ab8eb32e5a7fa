"""The viewer: its address, its thread, its command."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from made_sources import task_source

from dva.cli import main
from dva.runs import Run, UsageError
from dva.runs.checkpoint import load_checkpoint, save_checkpoint
from dva.viewer import Viewer, view
from dva.viewer.live import viewer as live
from dva.viewer.live.session import Session

pytestmark = pytest.mark.usefixtures("with_viser")


def until(condition, seconds: float = 30.0) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_listens_at_this_machine_alone_and_goes_on_in_a_thread():
    with view("cartpole", port=0, device="cpu", observe=("state",)) as viewer:
        assert viewer.url == f"http://127.0.0.1:{viewer.port}"
        with urllib.request.urlopen(viewer.url, timeout=30) as answer:
            assert answer.status == 200
        assert viewer.url in viewer._repr_html_()
        done = []
        viewer.do(lambda: done.append(viewer.session.step()))
        until(lambda: done)
        assert viewer.session.trace.steps == 1  # with nobody watching, nothing else moves
        port = viewer.port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # it is free again
    viewer.close()


def test_a_taken_port_leads_to_the_next_and_a_wrong_host_to_an_error():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert port < live._find_port("127.0.0.1", port) < port + 50
        for host, number, text in (
            ("203.0.113.7", 0, "203.0.113.7:0 cannot be listened at"),
            ("no such host", 0, "host is 'no such host'"),
            ("127.0.0.1", 70000, "port is 70000.*0 to 65535"),
        ):
            with pytest.raises(UsageError, match=text):
                live._find_port(host, number)


def test_time_passes_at_the_chosen_speed_and_steps_that_come_too_late_are_left_out():
    viewer = Viewer.__new__(Viewer)
    viewer._session = session = Session(task_source(), 1)
    session.choose_speed(2.0)
    steps: list[int] = []
    session.step = lambda: steps.append(1)  # type: ignore[method-assign]
    viewer._clock = now = time.perf_counter()
    assert viewer._pass_time(now + 0.101) and len(steps) == 12  # at 60 Hz, twice as fast
    session.step = lambda: time.sleep(0.02)  # type: ignore[method-assign]
    began = time.perf_counter()
    viewer._pass_time(now + 100.0)
    assert time.perf_counter() - began < 1.0 and viewer._clock == now + 100.0


def test_it_follows_training(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "_KEEP_UP", 0.05)
    run = Run.open(shutil.copytree(tiny_run().path, tmp_path / "run"))
    with view(run, port=0, device="cpu") as viewer:
        loaded = viewer.session.loaded
        assert loaded is not None and loaded.info["iteration"] == 2
        viewer.do(lambda: setattr(viewer.session, "follows_training", True))
        found = load_checkpoint(run.checkpoints)
        info = {**found.info, "env_steps": 64, "iteration": 9}
        save_checkpoint(run.checkpoints, found.tensors, info)
        until(lambda: viewer.session.loaded.info["iteration"] == 9)  # type: ignore[union-attr]


def test_faults_are_told_and_the_last_one_ends_the_viewer(monkeypatch):
    with view("cartpole", port=0, device="cpu", observe=("state",)) as viewer:
        said: list[str] = []
        monkeypatch.setattr(viewer._page, "complain", said.append)
        viewer.do(lambda: viewer.session.choose_robot(9))
        until(lambda: said)
        assert "robot is 9" in said[0]
        viewer.do(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            viewer.wait()
        assert "ZeroDivisionError" in said[1]


def test_without_viser_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view", "cartpole"]) == 2
    assert "pip install 'dva-rl[view]'" in capsys.readouterr().err


def test_the_command_says_its_address_and_ends_with_ctrl_c(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        command = [
            sys.executable, "-c", "import sys; from dva.cli import main; sys.exit(main())",
            "view", "slide_task:slide", "--device", "cpu", "--port", str(port),
        ]  # fmt: skip
        paths = [str(Path(live.__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            command, cwd=Path(__file__).parents[3] / "examples", text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            taken = next(line for line in lines if "is taken" in line)
            address = next(line for line in lines if line.startswith("viewer"))
            assert f"Port {port} is taken" in taken and "http://127.0.0.1:" in address
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
            assert process.returncode == 0 and "Traceback" not in rest, rest
        finally:
            process.kill()


def test_the_command_refuses_what_is_neither_run_nor_task(capsys):
    assert main(["view", "cartpol"]) == 2
    assert "Did you mean 'cartpole'" in capsys.readouterr().err
