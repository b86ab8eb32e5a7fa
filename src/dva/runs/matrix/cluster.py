"""Sessions as tasks of a Ray cluster. The folder of the runs must be one that all machines share.

Ray is the extra `dva-rl[ray]`; it is imported when a cluster is asked for. It places the sessions
and says how they ended; what is tried again is up to the schedule, as on one machine.
"""

import importlib
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dva.compute.errors import UsageError, one_line
from dva.runs.matrix.workers import Ending, Job, launch

__all__ = ["RayCluster", "RayWorkers"]

POLL = 0.2
"""Seconds between two looks of a task at its process."""
KNOCK_SECONDS = 10.0
"""How long a cluster may take to answer."""


class RayCluster:
    """A connection to a running cluster, as a context manager.

    Args:
        address: of its head, such as "192.0.2.1:6379", or "auto" for that of this machine.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str) -> None:
        try:
            self.ray: Any = importlib.import_module("ray")
            self.strategies: Any = importlib.import_module("ray.util.scheduling_strategies")
        except ImportError as error:
            raise UsageError(
                f"--ray needs Ray, which cannot be imported ({one_line(error)}). Install the "
                'extra, in the folder of the checkout: pip install -e ".[ray]"'
            ) from error
        self.address = address

    def __enter__(self) -> "RayCluster":
        try:
            _knock(self.address)
            self.ray.init(self.address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"There is no Ray cluster at {self.address!r}: {one_line(error)}. Start one with "
                "`ray start --head`, and join it from other machines with `ray start --address`."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    @property
    def device(self) -> str:
        """cuda where the cluster has GPUs, cpu elsewhere."""
        return "cuda" if self.ray.cluster_resources().get("GPU") else "cpu"

    def threads(self, device: str) -> int:
        """Returns the CPU threads of a run that has a machine, or a machine's GPU, for itself;
        where machines differ, on the smallest."""
        per_run = [
            int(node["Resources"]["CPU"] // max(1, node["Resources"].get("GPU", 0)))
            for node in self.machines(device)
        ]
        return max(1, min(per_run))

    def machines(self, device: str) -> list[dict[str, Any]]:
        """Lists the machines that have what runs need.

        Raises:
            UsageError: there is none.
        """
        needed = ("CPU", "GPU") if device == "cuda" else ("CPU",)
        found = [
            node
            for node in self.ray.nodes()
            if node["Alive"] and all(node["Resources"].get(name, 0) >= 1 for name in needed)
        ]
        if not found:
            raise UsageError(
                f"No machine of the Ray cluster at {self.address!r} has {' and '.join(needed)}. "
                "Add one, or choose another --device."
            )
        return found


class RayWorkers:
    """Tasks of a cluster, each with CPUs for its threads and, on CUDA, a GPU of its own.

    Args:
        cluster: an open connection.
        jobs: how many at a time; None: as many as there is room for.
        threads: CPU threads of each.
        device: cpu or cuda.

    Raises:
        UsageError: no machine has room for one.
    """

    def __init__(self, cluster: RayCluster, jobs: int | None, threads: int, device: str) -> None:
        self._ray, self._strategies = cluster.ray, cluster.strategies
        gpus = 1 if device == "cuda" else 0
        room = {}
        for node in cluster.machines(device):
            resources = node["Resources"]
            count = int(resources["CPU"] // threads)
            room[node["NodeID"]] = min(count, int(resources["GPU"])) if gpus else count
        if not any(room.values()):
            raise UsageError(
                f"A run of {threads} thread(s) does not fit on any machine of the Ray cluster. "
                "Give fewer --threads to a new benchmark, or add a larger machine."
            )
        self.capacity = jobs or sum(room.values())
        self.places: Sequence[str | None] = [node for node, count in room.items() if count]
        self._carry_out = cluster.ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(
            carry_out
        )
        self._running: dict[Any, Job] = {}
        """By the reference of what the task returns."""

    def start(self, job: Job) -> None:
        """See `Workers`."""
        task = self._carry_out
        if job.place is not None:
            affinity = self._strategies.NodeAffinitySchedulingStrategy(job.place, soft=False)
            task = task.options(scheduling_strategy=affinity)
        self._running[task.remote(job, os.getcwd())] = job

    def ended(self) -> list[Ending]:
        """See `Workers`."""
        references = list(self._running)
        if not references:
            return []
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        return [self._end(reference) for reference in ready]

    def _end(self, reference: Any) -> Ending:
        job = self._running.pop(reference)
        try:
            return Ending(job, self._ray.get(reference))
        except (self._ray.exceptions.RayError, OSError) as error:
            return Ending(job, None, f"{type(error).__name__}: {one_line(error)}")

    def stop(self) -> None:
        """See `Workers`."""
        for reference in self._running:
            self._ray.cancel(reference)

    def kill(self) -> None:
        """See `Workers`. The system ends the processes of tasks that have gone."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()


def _knock(address: str) -> None:
    """Makes sure that something listens at an address: Ray itself would try for minutes.

    Raises:
        OSError, ValueError: nothing does, or it is no address.
    """
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.rpartition("/")[2], int(port)), KNOCK_SECONDS).close()


def carry_out(job: Job, folder: str) -> int:
    """Runs a job in the worker of a cluster; returns its exit status.

    A task that is cancelled passes that on, and waits for the checkpoint.

    Args:
        job: what to run.
        folder: where the benchmark was started, used where this machine has it: tasks and
            algorithms of one's own lie there.
    """
    process = launch(job, (), {}, Path(folder) if Path(folder).is_dir() else None)
    try:
        while process.poll() is None:
            time.sleep(POLL)
    except KeyboardInterrupt:
        process.terminate()
    return process.wait()
