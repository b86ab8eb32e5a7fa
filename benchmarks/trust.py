"""Breaks runs on purpose, and counts what was lost: kills, crashes, closed pipes, damaged files.

    python benchmarks/trust.py --trials 20 --output /tmp/trust --save benchmarks/results/trust.json

Each trial is a process forked from this one, which trains Cartpole, small, to the end of a plan.
What is allowed is one of these: it goes on as if nothing had happened, bit for bit; or it says what
is wrong in one line, with exit status 2. A traceback, a process that hangs, a checkpoint that
cannot be read, other metrics than those of an undisturbed run, or code that nobody asked for are
failures. The exit status is 1 if there is any. Give --seed to try other moments.
"""

import argparse
import contextlib
import dataclasses
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from _results import add_output_flags, report
from dva.cli import doctor_command, eval_command, train_command  # noqa: F401 (imported once)
from dva.cli import main as dva
from dva.runs import Run
from dva.runs.checkpoint import load_checkpoint, read_pointer
from dva.runs.metrics import is_timing

STEPS = 16
"""Environment steps of an iteration."""
TINY = (
    "cartpole --preset cpu --device cpu --threads 1 --num-envs 4 --horizon 4 --image-size 32 "
    f"--video-interval 0 --evaluation-episodes 2 --checkpoint-interval {STEPS}"
).split()
HANGS = 600.0
"""Seconds after which a process counts as hanging."""
STRANGER = "from pathlib import Path\nPath({ran!r}).write_text('ran')\n"


@dataclasses.dataclass
class Ended:
    """How a process ended."""

    status: int
    """Exit status; minus the signal that killed it."""
    errors: str
    """What it wrote to standard error."""
    seconds: float

    @property
    def fault(self) -> str | None:
        """What must not happen, whatever was done to the process."""
        if self.status == -signal.SIGALRM:
            return f"hung for {HANGS:g} s"
        if "Traceback" in self.errors or "Exception ignored" in self.errors:
            return f"traceback: {self.errors.strip().splitlines()[-1]:.200}"
        return None


class Process:
    """A fork that runs something, with its output in files.

    Args:
        folder: where those lie.
        run: what it does; returns the exit status.
        out: descriptor of its standard output; None: a file.
    """

    def __init__(self, folder: Path, run: Callable[[], int], out: int | None = None) -> None:
        self._errors, self._began = folder / "errors.txt", time.monotonic()
        sys.stdout.flush()
        self.number = os.fork()
        if self.number:
            return
        status = 70
        try:
            signal.alarm(int(HANGS))
            os.setpgid(0, 0)
            descriptor = os.open(self._errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 2)
            os.dup2(descriptor if out is None else out, 1)
            # Whatever the parent has put in their place writes elsewhere.
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            status = run()
            sys.stdout.flush()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def kill(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.number, number)

    def wait(self) -> Ended:
        """Waits for the end."""
        _, status = os.waitpid(self.number, 0)
        errors = self._errors.read_text(errors="replace") if self._errors.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), errors, time.monotonic() - self._began)


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


def repeatable(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run without those that depend on the machine's speed or memory."""
    return [{k: v for k, v in row.items() if not is_timing(k)} for row in Run.open(path).metrics()]


def wait_for(path: Path) -> None:
    """Waits until there is something in a file."""
    deadline = time.monotonic() + HANGS
    while time.monotonic() < deadline and not (path.is_file() and path.stat().st_size):
        time.sleep(0.02)


def crash_at(last: int) -> None:
    """Lets this process end, without tidying up, at a call to the system that writes files."""
    count = 0
    for owner, name in (
        (os, "fsync"), (os, "replace"), (os, "chmod"), (Path, "mkdir"), (Path, "touch"),
        (Path, "unlink"), (Path, "write_text"),
    ):  # fmt: skip
        call = getattr(owner, name)

        def counted(*arguments: Any, call: Any = call, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == last:
                if call.__name__ == "write_text":
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os._exit(9)
            return call(*arguments, **options)

        setattr(owner, name, counted)


def damage(file: Path, chance: random.Random) -> str:
    """Damages a file; says how."""
    content = bytearray(file.read_bytes())
    place = chance.randrange(max(1, len(content)))
    how = chance.choice(("flipped bit", "cut", "zeros", "empty", "blank line", "missing", "folder"))
    if how == "flipped bit" and content:
        content[place] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del content[place:]
    elif how == "zeros":
        content[place : place + 64] = bytes(64)
    elif how == "blank line":
        content[place:place] = b"\n\n"
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how != "missing":
        file.write_bytes(b"" if how == "empty" else bytes(content))
    return how


KINDS = ("kills", "crashes", "pipes", "damages", "strangers")


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
