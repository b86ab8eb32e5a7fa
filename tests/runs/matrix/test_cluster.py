"""A benchmark on a Ray cluster of two machines, which are processes of this one."""

import importlib
import os
import signal
import threading
from pathlib import Path

import pytest
from killing import repeatable
from started import RUN, interrupted, rows, wait_for

from dva.cli import main
from dva.runs import Run, UsageError
from dva.runs.matrix.cluster import RayCluster, RayWorkers

OTHER = Path("out/cartpole-slow-s1")


def test_without_ray_the_error_names_the_extra(monkeypatch):
    def missing(name: str):
        raise ImportError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"No module named 'ray'.*pip install -e \"\.\[ray\]\""):
        RayCluster("auto")


@pytest.fixture
def address(algorithms):
    """The address of a cluster of two machines with a CPU each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def process_of(run: Path) -> int:
    """Finds the process that trains a run."""
    for folder in Path("/proc").glob("[0-9]*"):
        words = (folder / "cmdline").read_bytes().split(b"\0")
        if str(run.resolve()).encode() in words and b"train" in words:
            return int(folder.name)
    raise AssertionError(f"nothing trains {run}")


@pytest.mark.timeout(900)
def test_a_benchmark_on_a_cluster_is_interrupted_killed_and_finished(
    address, tiny_benchmark, capsys
):
    command = [*tiny_benchmark(), "--seeds", "2", "--ray", address]
    place = command.index("--threads")  # as many as a machine has
    command = [*command[:place], *command[place + 2 :]]
    both = interrupted(command, lambda: rows() >= 5 and rows(OTHER) >= 5)
    out = capsys.readouterr().out
    assert both == 128 + signal.SIGINT
    assert "up to 2 at a time, 1 thread(s) each" in out
    assert f"dva benchmark --output out --ray {address}" in out
    reached = {run: rows(run) for run in (RUN, OTHER)}
    assert all(Run.open(run).metrics()[-1]["iteration"] < 40 for run in reached)
    assert all((run / "checkpoints" / "latest.json").is_file() for run in reached)

    def kill() -> None:
        wait_for(lambda: rows() >= reached[RUN] + 2)
        os.kill(process_of(RUN), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    assert main(["benchmark", "--output", "out", "--no-warm-up", "--ray", address]) == 0
    thread.join()
    out = capsys.readouterr().out
    assert "[1/2] cartpole-slow-s0 ended early (killed by SIGKILL): tried again" in out
    assert "2 run(s) finished, 0 failed" in out
    flags = [word for name in ("env-steps", "num-envs", "observe", "checkpoint-interval")
             for word in (f"--{name}", {"env-steps": "640", "num-envs": "4", "observe": "state",
                                        "checkpoint-interval": "32"}[name])]  # fmt: skip
    algo = ["--algo", "matrix_algorithms:slow", "--device", "cpu", "--threads", "1"]
    assert main(["train", "cartpole", *algo, *flags, "--run-dir", "whole"]) == 0
    assert repeatable(Run.open(RUN)) == repeatable(Run.open("whole"))


def test_what_a_cluster_has_room_for(address):
    with RayCluster(address) as cluster:
        assert (cluster.device, cluster.threads("cpu")) == ("cpu", 1)
        workers = RayWorkers(cluster, None, 1, "cpu")
        assert workers.capacity == 2 and len(set(workers.places)) == 2
        assert RayWorkers(cluster, 1, 1, "cpu").capacity == 1
        with pytest.raises(UsageError, match="A run of 2 .* does not fit on any machine"):
            RayWorkers(cluster, None, 2, "cpu")
        with pytest.raises(UsageError, match="No machine of the Ray cluster .* has CPU and GPU"):
            RayWorkers(cluster, None, 1, "cuda")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:one"])
def test_no_cluster_is_named(address, monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: None)  # Ray is not asked
    with pytest.raises(UsageError, match=f"There is no Ray cluster at '{address}'"):
        with RayCluster(address):
            pass


def test_no_cluster_of_this_machine_is_named(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match="There is no Ray cluster at 'auto'"):
        with RayCluster("auto"):
            pass
