"""Benchmarks end to end: interrupted, killed, started again, and what they say and refuse."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from killing import repeatable
from started import RUN, interrupted, rows, timeless, wait_for

from dva.cli import main
from dva.runs import Run
from dva.runs.matrix.workers import Job, available_cores, launch
from dva.studies.comparison import compare
from dva.studies.comparison_report import number_rows


def children(process: subprocess.Popen) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in path.read_text().split()]


def ended(pid: int) -> bool:
    """Whether a process is gone, or nothing of it is left but its entry."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(600)
def test_interrupted_and_killed_it_ends_with_the_same_table(tiny_benchmark, capsys):
    command = tiny_benchmark("broken")
    flags = command[command.index("--env-steps") : command.index("--no-warm-up")]
    settings = [word.removeprefix("--set=").split("=") for word in command if "--set=" in word]
    whole = [*flags, *(word for name, value in settings for word in (f"--{name}", value))]
    algo = ["--algo", "matrix_algorithms:slow"]
    assert main(["train", "cartpole", *algo, *whole, "--run-dir", "whole"]) == 0

    assert interrupted(command, lambda: rows() >= 5) == 128 + signal.SIGINT
    out = capsys.readouterr().out
    assert "Stopping cartpole-slow-s0, each at its next checkpoint" in out
    assert "Stopped. To go on:\n  dva benchmark --output out --trust-code\n" in out
    reached = rows()
    assert 5 <= reached < 40
    assert not Path("out/cartpole-broken-s0").exists()

    go_on = ["benchmark", "--output", "out", "--no-warm-up", "--trust-code"]
    process = subprocess.Popen([sys.executable, "-m", "dva", *go_on], stdout=subprocess.DEVNULL)
    wait_for(lambda: rows() >= reached + 3, process)
    (child,) = children(process)
    for pid in (process.pid, child):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: ended(child))
    assert reached < rows() < 40

    capsys.readouterr()
    assert main([*go_on, "--retries", "0"]) == 1
    out = capsys.readouterr().out
    assert "2 runs in out: 0 finished, 1 to go on with, 1 to begin" in out
    assert "[1/2] cartpole-slow-s0 goes on after" in out
    assert "[1/2] cartpole-slow-s0 finished: return" in out
    assert "[2/2] cartpole-broken-s0 failed: exit status 1; see out/logs/cartpole-broken" in out
    assert "1 run(s) finished, 1 failed" in out
    assert "RuntimeError: it broke" in Path("out/logs/cartpole-broken-s0.log").read_text()

    assert repeatable(Run.open(RUN)) == repeatable(Run.open("whole"))
    tables = [number_rows(compare([path], (0.0,))) for path in (RUN, Path("whole"))]
    for found, expected in zip(*tables, strict=True):
        assert timeless(found) == timeless(expected)
    assert tables[0][0][0]["evaluation"] is not None
    (note,) = [n for n in compare([Path("out")]).notes if "broken" in n]
    assert note == "Incomplete: out/cartpole-broken-s0 has 16 of 640 steps."


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's end")
def test_what_a_killed_benchmark_leaves_ends_at_a_checkpoint(algorithms):
    """The child of a process that is killed hears of it, on the cores that were its own."""
    train = (
        "train cartpole --algo matrix_algorithms:slow --num-envs 4 --observe state --device cpu "
        f"--env-steps 100000 --threads 1 --evaluation-episodes 0 --run-dir {RUN}"
    )
    core = available_cores()[-1]
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys, time; from pathlib import Path\n"
            "from dva.runs.matrix.workers import Job, launch\n"
            f"launch(Job('run', tuple({train!r}.split()), Path('log'), 1), [{core}], {{}})\n"
            "time.sleep(1000)",
        ]
    )  # fmt: skip
    wait_for(lambda: rows() >= 3, parent)
    (child,) = children(parent)
    assert os.sched_getaffinity(child) == {core}
    assert os.getsid(child) != os.getsid(parent.pid)  # Ctrl-C is passed on, not heard twice
    parent.kill()
    parent.wait()
    wait_for(lambda: ended(child))
    assert (RUN / "checkpoints" / "latest.json").is_file()
    log = Path("log").read_text()
    assert log.splitlines()[0].endswith(f"dva {train}") and "a checkpoint is saved" in log


def test_a_child_whose_parent_has_gone_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    process = launch(Job("run", ("--version",), tmp_path / "log"), (), {})
    assert process.wait() == (128 + signal.SIGTERM if sys.platform == "linux" else 0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["--minutes", "1"], "either minutes or env-steps"),
        (["--tasks", "carpole"], "Did you mean 'cartpole'"),
        (["--algos", "dvaa"], "Did you mean 'dva'"),
        (["--set", "horizn=3"], "Not known here: --horizn"),
        (["--set", "horizon=three"], "--horizon is 'three'; it must be a whole number"),
        (["--set", "horizon"], "is no FLAG=VALUE"),
        (["--set", "seed=1"], "The flag seed is set by the benchmark itself"),
        (["--set", "dva.simulator=bulet"], "bulet"),
        (["--jobs", "1000", "--threads", "1"], "1000 job(s) of 1 thread(s) each need 1000 cores"),
        (["--jobs", "0"], "jobs is 0; it must be 1 or more"),
        (["--retries", "-1"], "retries is -1; it must be 0 or more"),
        (["--seeds", "0"], "seeds is 0; it must be 1 or more"),
        (["--device", "tpu"], "device is 'tpu'; it must be cpu or cuda"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    changes, text, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = ["benchmark", "--env-steps", "32", "--tasks", "cartpole", "--algos", "dva"]
    assert main([*command, "--output", "out", *changes]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_matrix_and_a_busy_folder_are_refused(tmp_path, capsys, monkeypatch):
    from dva.cli import benchmark_command
    from dva.runs.locks import hold_lock
    from dva.runs.matrix.plan import read_matrix
    from dva.runs.matrix.schedule import Outcome

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark_command, "run_matrix", lambda *_: Outcome(["a"]))
    common = ["benchmark", "--output", "out"]
    new = [*common, "--tasks", "cartpole", "--algos", "dva", "--env-steps", "32", "--jobs", "1"]
    assert main([*new, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "1 run(s) finished, 0 failed" in out and out.endswith("dva compare out\n")
    stored = read_matrix(Path("out"))
    assert stored is not None and stored.threads == len(available_cores())
    assert main([*common, "--env-steps", "64"]) == 2
    assert "has env-steps = 32; it cannot go on with 64" in capsys.readouterr().err
    assert main([*common, "--seeds", "5", "--algos", "dva", "shac", "--device", "auto"]) == 0
    more = read_matrix(Path("out"))
    assert more is not None and (more.seeds, more.algos) == (5, ("dva", "shac"))
    with hold_lock(Path("out/.lock"), ""):
        assert main(common) == 2
    assert "Another process runs the benchmark in out" in capsys.readouterr().err
    assert main([*common, "--ray", "auto"]) == 2 or "ray" in sys.modules
