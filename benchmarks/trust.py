"""Breaks runs on purpose, and counts what was lost: kills, crashes, closed pipes, damaged files.

    python benchmarks/trust.py --trials 20 --output /tmp/trust --save benchmarks/results/trust.json

Each trial is a process forked from this one, which trains Cartpole, small, to the end of a plan.
What is allowed is one of these: it goes on as if nothing had happened, bit for bit; or it says what
is wrong in one line, with exit status 2. A traceback, a process that hangs, a checkpoint that
cannot be read, other metrics than those of an undisturbed run, or code that nobody asked for are
failures. The exit status is 1 if there is any. Give --seed to try other moments.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from _breaking import Process, crash_at, damage, wait_for
from _results import add_output_flags, report
from dva.cli import (  # noqa: F401 (imported once, before the forks)
    benchmark_command,
    compare_command,
    doctor_command,
    eval_command,
    train_command,
)
from dva.cli import main as dva
from dva.runs import Run
from dva.runs.checkpoint import load_checkpoint, read_pointer
from dva.runs.metrics import is_timing
from dva.studies.comparison import compare
from dva.studies.comparison_report import number_rows

STEPS = 16
"""Environment steps of an iteration."""
TINY = (
    "cartpole --preset cpu --device cpu --threads 1 --num-envs 4 --horizon 4 --image-size 32 "
    f"--video-interval 0 --evaluation-episodes 2 --checkpoint-interval {STEPS}"
).split()
BENCHMARK = (
    f"--tasks cartpole --algos dva ppo --seeds 1 --env-steps {8 * STEPS} --preset cpu --device cpu "
    f"--threads 1 --set num-envs=4 --set horizon=4 --set image-size=32 --set evaluation-episodes=2 "
    f"--set checkpoint-interval={STEPS}"
).split()
STRANGER = "from pathlib import Path\nPath({ran!r}).write_text('ran')\n"


class Trials:
    """Everything that is tried, around one undisturbed run.

    Args:
        folder: for the runs; it must be new.
        seed: of the moments and the damage.
        iterations: length of a run.
    """

    def __init__(self, folder: Path, seed: int, iterations: int = 12) -> None:
        self.folder, self.random, self.iterations = folder, random.Random(seed), iterations
        self.flags = [*TINY, "--env-steps", str(iterations * STEPS)]
        self.more = str((iterations + 1) * STEPS)
        folder.mkdir(parents=True)
        self.failures: list[str] = []
        self.table, self.benchmark_seconds = "", 0.0
        whole = str(folder / "whole")
        first = Process(folder, lambda: dva(["train", *self.flags, "--run-dir", whole])).wait()
        if first.status != 0:
            raise SystemExit(f"The undisturbed run failed: {first.errors}")
        self.rows, self.seconds = repeatable(folder / "whole"), first.seconds

    def train(self, path: Path, out: int | None = None) -> Process:
        """Begins a run, or goes on with it."""
        begun = (path / "config.yaml").is_file()
        line = ["--resume", str(path)] if begun else [*self.flags, "--run-dir", str(path)]
        return Process(self.folder, lambda: dva(["train", *line]), out)

    def finish(self, path: Path) -> str | None:
        """Brings a run to its end; says what differs from the undisturbed one."""
        ended = self.train(path).wait()
        told = "nothing to do" if "has finished" in ended.errors else ended.errors.strip()
        if ended.fault or (ended.status != 0 and told != "nothing to do"):
            return f"resuming: {ended.fault or ended.errors.strip():.300}"
        if repeatable(path) != self.rows:
            return "other metrics than those of the undisturbed run"
        if not (path / "evaluation.json").is_file():
            return "no evaluation"
        return None

    def fail(self, what: str) -> None:
        """Notes a failure."""
        self.failures.append(what)
        print(f"FAILED {what}", flush=True)

    def whole(self, path: Path) -> str | None:
        """Says what is wrong with the checkpoint of a run that was ended."""
        try:
            if read_pointer(path / "checkpoints", "latest") is not None:
                load_checkpoint(path / "checkpoints")
        except ValueError as error:
            return f"checkpoint: {error}"
        return None

    def benchmark(self, path: Path, *more: str) -> Process:
        """Begins a benchmark of two algorithms, or goes on with it."""
        line = ["benchmark", *BENCHMARK, "--output", str(path), *more]
        return Process(self.folder, lambda: dva(line))

    # ------------------------------------------------------------------ one kind each

    def kills(self, number: int) -> None:
        """Kills at a random moment, again and again, until the run is at its end."""
        path = self.folder / f"kill-{number}"
        for _ in range(3):
            process = self.train(path)
            time.sleep(self.random.uniform(0.0, self.seconds))
            process.kill(signal.SIGKILL)
            ended = process.wait()
            fault = ended.fault or self.whole(path)
            if fault:
                self.fail(f"kill {number}: {fault}")
        fault = self.finish(path)
        if fault:
            self.fail(f"kill {number}: {fault}")

    def crashes(self, number: int) -> None:
        """Ends the process at a random call to the system that writes files."""
        path = self.folder / f"crash-{number}"
        last = self.random.randrange(1, 18 * self.iterations)

        def run() -> int:
            crash_at(last)
            return dva(["train", *self.flags, "--run-dir", str(path)])

        ended = Process(self.folder, run).wait()
        fault = ended.fault or self.whole(path) or self.finish(path)
        if fault:
            self.fail(f"crash {number} at call {last}: {fault}")

    def pipes(self, number: int) -> None:
        """Closes the pipe that the output goes to, with Ctrl-C or without, as `| tee` does."""
        path = self.folder / f"pipe-{number}"
        reader, writer = os.pipe()
        process = self.train(path, writer)
        os.close(writer)
        wait_for(path / "metrics.jsonl")
        time.sleep(self.random.uniform(0.0, 0.7 * self.seconds))
        sent = self.random.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, None))
        if sent is not None:
            process.kill(sent)
        os.close(reader)
        ended = process.wait()
        # After training, while it is evaluated, a signal ends the process as it does any other.
        allowed = {0, 128 + (sent or signal.SIGHUP), 128 + signal.SIGHUP, -(sent or 0)}
        fault = ended.fault or (None if ended.status in allowed else f"status {ended.status}")
        rows = repeatable(path)
        saved = load_checkpoint(path / "checkpoints").info["iteration"]
        if not fault and saved != len(rows):
            fault = f"the checkpoint is of iteration {saved}, the last one was {len(rows)}"
        fault = fault or self.finish(path)
        if fault:
            self.fail(f"pipe {number}, signal {sent}: {fault}")

    def damages(self, number: int) -> None:
        """Damages one file of a run, then evaluates and resumes it."""
        path = self.folder / f"damage-{number}"
        shutil.copytree(self.folder / "whole", path)
        files = [
            file for file in sorted(path.rglob("*"))
            if file.is_file() and file.suffix in (".json", ".yaml", ".jsonl", ".safetensors")
        ]  # fmt: skip
        file = self.random.choice(files)
        how = damage(file, self.random)
        for line in (
            ["eval", str(path), "--episodes", "1", "--device", "cpu"],
            ["eval", str(path), "--episodes", "1", "--device", "cpu", "--checkpoint", "best"],
            ["train", "--resume", str(path), "--env-steps", self.more],
        ):
            ended = Process(self.folder, lambda line=line: dva(line)).wait()
            said = ended.errors.strip().count("\n") == 0 and ended.errors.startswith("error: ")
            fault = ended.fault
            if not fault and not (ended.status == 0 or (ended.status == 2 and said)):
                fault = f"status {ended.status}: {ended.errors.strip():.200}"
            if fault:
                self.fail(f"damage {number}, {how} of {file.name}, {line[0]}: {fault}")

    def strangers(self, number: int) -> None:
        """Names code of a stranger in the configuration, and opens the run in every way."""
        path, ran = self.folder / f"stranger-{number}", self.folder / f"ran-{number}"
        shutil.copytree(self.folder / "whole", path)
        module = f"stranger_{number}"
        (path / f"{module}.py").write_text(STRANGER.format(ran=str(ran)))
        values: dict[str, Any] = yaml.safe_load((path / "config.yaml").read_text())
        part, field = self.random.choice(
            [
                ("env", "task"),
                ("env", "simulator"),
                ("algorithm", "action_gradient"),
                (None, "algo"),
            ]
        )
        (values["config"][part] if part else values["config"])[field] = f"{module}:own"
        (path / "config.yaml").write_text(yaml.safe_dump(values))
        for line in (["eval", "."], ["train", "--resume", "."], ["compare", "."]):

            def run(line: list[str] = line) -> int:
                os.chdir(path)
                return dva(line)

            ended = Process(self.folder, run).wait()
            fault = ended.fault or ("it ran" if ran.exists() else None)
            if ended.status != 2 or str(path / f"{module}.py") not in ended.errors:
                fault = fault or f"status {ended.status}: {ended.errors.strip():.200}"
            if fault:
                self.fail(f"stranger {number}, {field}, {line[0]}: {fault}")

    def benchmarks(self, number: int) -> None:
        """Kills a benchmark, mostly with what it has started, and again; then lets it end."""
        if not self.table:
            whole = self.folder / "whole-benchmark"
            ended = self.benchmark(whole, "--no-warm-up").wait()
            if ended.status != 0:
                raise SystemExit(f"The undisturbed benchmark failed: {ended.errors}")
            self.table, self.benchmark_seconds = table(whole), ended.seconds
        path = self.folder / f"benchmark-{number}"
        for _ in range(2):
            process = self.benchmark(path, *self.random.choice(([], ["--no-warm-up"])))
            time.sleep(self.random.uniform(0.0, self.benchmark_seconds))
            process.kill(signal.SIGKILL, with_children=self.random.random() < 0.7)
            fault = process.wait().fault
            if fault:
                self.fail(f"benchmark {number}: {fault}")
        ended = self.benchmark(path, "--no-warm-up").wait()
        fault = ended.fault or (f"status {ended.status}" if ended.status else None)
        if not fault and table(path) != self.table:
            fault = "another table than that of the undisturbed benchmark"
        if fault:
            self.fail(f"benchmark {number}: {fault}")


def repeatable(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run without those that depend on the machine's speed or memory."""
    return [{k: v for k, v in row.items() if not is_timing(k)} for row in Run.open(path).metrics()]


def table(path: Path) -> str:
    """What `dva compare` says of a benchmark, and the metrics of its runs, without the times."""
    speeds = ("minutes", "second", "memory", "run")
    numbers = [
        {k: v for k, v in row.items() if not any(speed in k for speed in speeds)}
        for rows in number_rows(compare([path], (0.0,)))
        for row in rows
    ]
    runs = sorted(config.parent for config in path.glob("*/config.yaml"))
    return json.dumps([numbers, [[run.name, repeatable(run)] for run in runs]])


KINDS = ("kills", "crashes", "pipes", "damages", "strangers", "benchmarks")


def main() -> int:
    """Parses the command line and tries; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("kinds", nargs="*", default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--trials", type=int, default=20, help="of each kind")
    parser.add_argument("--iterations", type=int, default=12, help="of a run")
    parser.add_argument("--seed", type=int, default=0, help="of moments and damage")
    parser.add_argument("--output", type=Path, required=True, help="a new folder for the runs")
    add_output_flags(parser)
    args = parser.parse_args()
    trials = Trials(args.output.resolve(), args.seed, args.iterations)
    rows = []
    for kind in args.kinds:
        before = len(trials.failures)
        for number in range(args.trials):
            getattr(trials, kind)(number)
        failed = trials.failures[before:]
        rows.append({"kind": kind, "tried": args.trials, "failed": len(failed), "which": failed})
        print(f"{kind}: {args.trials} tried, {len(failed)} failed", flush=True)
    report(rows, args.json, args.save)
    return 1 if trials.failures else 0


if __name__ == "__main__":
    sys.exit(main())
