"""`dva benchmark`: trains every algorithm on every task with every seed; can be started again."""

import contextlib
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from dva import learning, tasks
from dva.cli.flags import parse
from dva.cli.train_command import new_config, require_parts
from dva.compute.arguments import require
from dva.compute.device import resolve_device
from dva.compute.errors import explain_file_errors, usage_errors
from dva.runs.locks import hold_lock
from dva.runs.matrix.cluster import RayCluster, RayWorkers
from dva.runs.matrix.plan import LOCK, Cell, Matrix, extend, read_matrix, read_options, write_matrix
from dva.runs.matrix.schedule import Outcome, run_matrix
from dva.runs.matrix.workers import LocalWorkers, Workers, available_cores

__all__ = ["run"]

SEEDS = 3


@dataclasses.dataclass
class BenchmarkFlags:
    """Train every algorithm on every task with every seed, each run in a process of its own.

    The same command goes on where it was stopped or killed, and so does `dva benchmark --output
    FOLDER` alone: finished runs are kept, others are resumed. Tasks, algorithms and seeds may be
    added. `dva compare FOLDER` draws the results.
    """

    tasks: tuple[str, ...] = ()
    """Tasks; none: all of the package."""
    algos: tuple[str, ...] = ()
    """Algorithms; none: all of the package."""
    seeds: int | None = None
    """Number of seeds, from 0 on; None: 3."""
    minutes: float | None = None
    """Training time of each run, all of its sessions together, without the evaluation at its end;
    this or env-steps must be given."""
    env_steps: int | None = None
    """Environment steps of each run."""
    preset: str | None = None
    """Hyperparameters to start from; None: paper on a GPU, cpu elsewhere."""
    device: str | None = None
    """auto, cpu or cuda; None: auto."""
    threads: int | None = None
    """CPU threads of each run; None: the cores, divided by the jobs."""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="[ALGO.]FLAG=VALUE")
    ] = ()
    """A flag of `dva train` for one algorithm or for all, such as dva.horizon=16 or image-size=48;
    several values are parted by spaces, and true and false switch."""
    jobs: int | None = None
    """Runs at a time; None: 1, on a cluster as many as it has room for."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Address of a Ray cluster to run on, or auto; needs the extra dva-rl[ray]. The output must be
    a folder that all machines share."""
    output: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/benchmark")
    """Folder of the runs."""
    retries: int = 2
    """How often a run that ends early is tried again before it counts as failed."""
    trust_code: bool = False
    """Import code that the benchmark in the folder, or the run of an expert, names as MODULE:NAME.
    What this command line names is imported anyway."""
    warm_up: bool = True
    """Train one iteration of each kind of run first and throw it away, so that no run spends its
    time on compiling kernels."""


def run(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    flags = parse(BenchmarkFlags, arguments, "benchmark")
    folder = flags.output.resolve() if flags.ray else flags.output
    with contextlib.ExitStack() as stack:
        given = [option.partition("=")[2] for option in flags.set]
        typed = (*flags.tasks, *flags.algos, *(word for value in given for word in value.split()))
        stored = read_matrix(folder, flags.trust_code, typed)
        cluster = None if flags.ray is None else stack.enter_context(RayCluster(flags.ray))
        with usage_errors():
            matrix = _matrix(flags, stored, cluster)
            _validate(matrix, flags.trust_code)
            workers = _workers(flags, matrix, cluster)
        with explain_file_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        refusal = f"Another process runs the benchmark in {folder}. Wait for it, or stop it."
        stack.enter_context(hold_lock(folder / LOCK, refusal))
        if matrix != stored:
            write_matrix(folder, matrix)
        # Whatever code the matrix names is trusted by now.
        trust_code = flags.trust_code or matrix.names_code
        outcome = run_matrix(
            folder, matrix, workers, _say, flags.retries, flags.warm_up, trust_code
        )
    return _conclude(flags, outcome, trust_code)


def _say(line: str) -> None:
    print(line, flush=True)


def _matrix(flags: BenchmarkFlags, stored: Matrix | None, cluster: RayCluster | None) -> Matrix:
    """Builds the matrix of a new benchmark, or adds to the one that is stored."""
    chosen_tasks, chosen_algos = flags.tasks, flags.algos
    if stored is None:
        chosen_tasks = chosen_tasks or tuple(tasks.names())
        chosen_algos = chosen_algos or tuple(learning.names())
    known = chosen_algos or (() if stored is None else stored.algos)
    device = None if flags.device == "auto" else flags.device
    given: dict[str, Any] = {
        "tasks": chosen_tasks,
        "algos": chosen_algos,
        "options": read_options(flags.set, known),
        "device": device,
        **{
            name: getattr(flags, name)
            for name in ("seeds", "threads", "minutes", "env_steps", "preset")
        },
    }
    if stored is not None:
        return extend(stored, given, flags.output)
    if device is None:
        device = resolve_device("auto").type if cluster is None else cluster.device
    threads = given["threads"]
    if threads is None:
        cores = len(available_cores())
        local = max(1, cores // (flags.jobs or 1))
        threads = local if cluster is None else cluster.threads(device)
    seeds = SEEDS if flags.seeds is None else flags.seeds
    return Matrix(**{**given, "device": device, "threads": threads, "seeds": seeds})


def _validate(matrix: Matrix, trust_code: bool) -> None:
    """Reads the flags of every kind of run as `dva train` will, so that a wrong one is said at
    once. The device is left out: it may be another machine's."""
    for task in matrix.tasks:
        for algo in matrix.algos:
            words = matrix.flags(Cell(task, algo, 0))
            place = words.index("--device")
            config = new_config([*words[:place], "--device", "cpu", *words[place + 2 :]])
            require_parts(config, trust_code=trust_code)


def _workers(flags: BenchmarkFlags, matrix: Matrix, cluster: RayCluster | None) -> Workers:
    require("jobs", flags.jobs, flags.jobs is None or flags.jobs >= 1, "1 or more")
    require("retries", flags.retries, flags.retries >= 0, "0 or more")
    if cluster is not None:
        return RayWorkers(cluster, flags.jobs, matrix.threads, matrix.device)
    resolve_device(matrix.device)
    return LocalWorkers(flags.jobs or 1, matrix.threads)


def _conclude(flags: BenchmarkFlags, outcome: Outcome, trust_code: bool) -> int:
    """Says what is done, what failed, and what to do next."""
    folder = shlex.quote(str(flags.output))
    print(f"\n{len(outcome.finished)} run(s) finished, {len(outcome.failed)} failed")
    for name, reason in outcome.failed.items():
        print(f"  {name}: {reason}")
    again = f"dva benchmark --output {folder}"
    for name in ("jobs", "ray"):
        value = getattr(flags, name)
        again += "" if value is None else f" --{name} {shlex.quote(str(value))}"
    again += " --trust-code" if trust_code else ""
    if outcome.signal is not None:
        print(f"\nStopped. To go on:\n  {again}")
        return 128 + outcome.signal
    if outcome.failed:
        print(f"\nTo try them again:\n  {again}")
    print(f"\nTo draw the results:\n  dva compare {folder}")
    return 1 if outcome.failed else 0
