"""Measures everything that a GPU is needed for, in pieces that go on where the last call stopped.

    python benchmarks/gpu.py --output DIR --minutes 9
    python benchmarks/gpu.py --list

Correctness comes first (the tests that only a GPU runs), then iterations with the presets `paper`
and `fast`, CUDA graphs and bfloat16 against without, floors, simulator and camera over the number
of environments, training to given returns, and two studies at the paper's size. Each piece is a
process of its own. A call runs as many as fit into its minutes and says what is left; the same
command goes on from there. A piece that fails is noted, and the others follow.

In DIR: one gpu-NAME.json for each piece with its provenance, and gpu/ with the state, the outputs
of the pieces and the runs. Needs no network, and dva need not be installed as a package.
"""

import argparse
import fnmatch
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from _results import provenance
from dva.runs import Run

ROOT = Path(__file__).resolve().parents[1]
SLICE, TRAINING_CAP = 4.0, 30.0
"""Minutes of one training process, and of all of a run's."""
RESERVE = 1.0
"""Minutes for what comes before and after the training itself: kernels, and the evaluation."""
RETURNS = {
    "cartpole": (1000, 1500, 1700),
    "hopper": (2000, 3000, 4000),
    "ant": (2000, 3000, 5000),
    "humanoid": (200, 300, 1000, 3000),
    "cheetah": (3000, 5000),
    "anymal": (5000, 10_000),
}
"""Returns of training to look for; a run ends when it has reached its last one."""


@dataclass(frozen=True)
class Piece:
    """One process, or for a training as many as it needs."""

    name: str
    command: tuple[str, ...]
    """Arguments of Python; for a training those of a new run."""
    minutes: float
    """Roughly what it takes: it does not begin with less left."""
    task: str | None = None
    """For a training: its task."""


def plan(device: str, output: Path, tiny: bool) -> list[Piece]:
    """Lists all pieces in the order of their importance."""
    pieces: list[Piece] = []

    def add(name: str, minutes: float, *command: str, task: str | None = None) -> None:
        pieces.append(Piece(name, command, 0.1 if tiny else minutes, task))

    def script(name: str, minutes: float, file: str, *arguments: str) -> None:
        saved = ("--save", str(output / f"gpu-{name}.json"))
        add(name, minutes, f"benchmarks/{file}.py", *arguments, "--device", device, *saved)

    def iteration(name: str, task: str, preset: str, *arguments: str) -> None:
        small = ("--num-envs", "2", "--horizon", "2", "--image-size", "16", "--iterations", "1")
        script(name, 2, "iteration", task, "--preset", preset, *arguments, *(small if tiny else ()))

    def train(task: str, name: str, *arguments: str) -> None:
        small = (
            "--num-envs", "2", "--horizon", "2", "--image-size", "16", "--env-steps", "40",
            "--evaluation-episodes", "0",
        )  # fmt: skip
        add(
            name, 2.5, task, "--preset", "fast", "--device", device, "--video-interval", "0",
            *arguments, *(small if tiny else ()), task=task,
        )  # fmt: skip

    def study(name: str, minutes: float, study_name: str, *arguments: str) -> None:
        size = ("--num-envs", "2", "--horizon", "2", "--image-size", "24") if tiny else ("--full",)
        add(
            name, minutes, "-m", "dva", "study", study_name, *arguments, *size,
            "--device", device, "--output", str(output / f"gpu-{name}"),
        )  # fmt: skip

    main_tasks = ("cartpole",) if tiny else ("hopper", "ant", "humanoid")
    others = () if tiny else ("cartpole", "cheetah", "anymal")
    first = main_tasks[0]
    add("doctor", 1, "-m", "dva", "doctor", first, "--device", device)
    add("tests", 4, "-m", "pytest", "tests/sim/test_cuda.py", "-p", "no:cacheprovider")
    for task in main_tasks:
        iteration(f"iteration-fast-{task}", task, "fast")
    for task in main_tasks:
        sizes = () if tiny else ("--num-envs", "64", "256", "1024")
        iteration(f"iteration-paper-{task}", task, "paper", *sizes)
    for preset in ("paper", "fast"):
        iteration(f"iteration-{preset}-{first}-no-graphs", first, preset, "--no-cuda-graphs")
        iteration(f"iteration-{preset}-{first}-float32", first, preset, "--precision", "float32")
    every = (*main_tasks, *others)
    script("floors-paper", 2, "floors", *every, "--preset", "paper")
    script("floors-fast", 2, "floors", *every, "--preset", "fast")
    train(first, f"train-{first}")
    small = ("--num-envs", "2", "--horizon", "2", "--repeats", "1") if tiny else ()
    script("simulator", 3, "simulator", *every, *small)
    for task in main_tasks:
        script(f"simulator-growth-{task}", 3, "simulator", task, *(small or ("--sweep",)))
    small = ("--num-envs", "2", "--image-size", "16", "--repeats", "2") if tiny else ("--sweep",)
    for task in main_tasks:
        script(f"camera-{task}", 2, "camera", task, *small)
    repeats = ("--repeats", "1") if tiny else ()
    tasks = ("--tasks", first) if tiny else ()
    study("study-backward-time", 4, "backward-time", *tasks, *repeats)
    for task in main_tasks if tiny else ("cartpole", *main_tasks):
        study(f"study-peak-memory-{task}", 3, "peak-memory", "--tasks", task, "--sweeps")
    for sweep in () if tiny else ("horizon", "image-size", "geoms"):
        study(f"study-peak-memory-{sweep}", 6, "peak-memory", "--tasks", "--sweeps", sweep)
    for task in others:
        for preset in ("fast", "paper"):
            iteration(f"iteration-{preset}-{task}", task, preset)
    for task in () if tiny else main_tasks:
        iteration(f"iteration-paper-{task}-4096", task, "paper", "--num-envs", "4096")
    train(first, f"train-{first}-float32", "--precision", "float32")
    for task in (*main_tasks[1:], *others):
        train(task, f"train-{task}")
    return pieces


class Measurement:
    """What has been measured in a folder, and what is left."""

    def __init__(self, output: Path, pieces: Sequence[Piece], device: str, minutes: float) -> None:
        self.output, self.pieces, self.device = output, pieces, device
        self.folder = output / "gpu"
        self.path = self.folder / "state.json"
        self.state: dict[str, dict[str, Any]] = (
            json.loads(self.path.read_text()) if self.path.exists() else {}
        )
        self.minutes, self.began = minutes, time.monotonic()

    def status(self, piece: Piece) -> str:
        """Returns "done", "failed", "skipped", "begun" or "left"."""
        return self.state.get(piece.name, {}).get("status", "left")

    @property
    def unfinished(self) -> list[Piece]:
        """The pieces that are still to run."""
        return [piece for piece in self.pieces if self.status(piece) in ("left", "begun")]

    @property
    def minutes_left(self) -> float:
        """Minutes of this call that are left."""
        return self.minutes - (time.monotonic() - self.began) / 60

    def run(self) -> None:
        """Runs pieces while there is time; one that needs more than is left waits for the next
        call, unless it is the first of this one."""
        first = True
        while fitting := [p for p in self.unfinished if first or p.minutes <= self.minutes_left]:
            piece = fitting[0]
            print(f"{piece.name} ({self.minutes_left:.1f} min left)", flush=True)
            self._measure(piece, whole=first)
            first = False
            print(f"  {self.describe(piece)}", flush=True)

    def describe(self, piece: Piece) -> str:
        """Says how a piece stands, in one line."""
        noted = self.state.get(piece.name, {})
        return " ".join(str(noted[key]) for key in ("status", "note") if key in noted) or "left"

    def _measure(self, piece: Piece, whole: bool) -> None:
        if "pytest" in piece.command and importlib.util.find_spec("pytest") is None:
            self._note(piece, "skipped", "pytest is not installed here")
            return
        try:
            if piece.task is None:
                self._measure_once(piece, whole)
            else:
                self._train(piece, piece.task)
        except Exception as error:  # the other pieces must follow
            self._note(piece, "failed", f"{type(error).__name__}: {error}")

    def _measure_once(self, piece: Piece, whole: bool) -> None:
        code, seconds, text = self._process(piece.name, piece.command)
        if code is None and not whole:
            return  # it gets the whole time of the next call
        self._judge(piece, code, seconds)
        result = self.output / f"gpu-{piece.name}.json"
        if not result.exists():
            row = {"exit_status": code, "seconds": round(seconds, 1), "output": text[-200:]}
            self._save(result, [row])

    def _train(self, piece: Piece, task: str) -> None:
        """Trains for a slice, and collects the run when it has ended."""
        path = self.folder / "runs" / piece.name
        ended, note = self._progress(path, task)
        if not ended:
            reserve = RESERVE if self.minutes > 2 * RESERVE else 0.25 * self.minutes
            minutes = max(0.5, min(SLICE, self.minutes_left - reserve))
            new = (*piece.command, "--run-dir", str(path))
            where = ("--resume", str(path)) if (path / "config.yaml").exists() else new
            # Stopped by a signal: --minutes would plan the whole training for this slice.
            code, seconds, _ = self._process(piece.name, ("-m", "dva", "train", *where), minutes)
            if code not in (0, None):
                self._judge(piece, code, seconds)
                return
            ended, note = self._progress(path, task)
        if not ended:
            self._note(piece, "begun", note)
            return
        returns = tuple(str(value) for value in RETURNS[task])
        saved = ("--save", str(self.output / f"gpu-{piece.name}.json"))
        command = ("benchmarks/learning.py", str(path), "--returns", *returns, *saved)
        code, seconds, _ = self._process(f"{piece.name}-collect", command)
        self._judge(piece, code, seconds, note)

    def _progress(self, path: Path, task: str) -> tuple[bool, str]:
        """Says whether a run has reached its last return, plan or cap, and how it stands."""
        run = Run.open(path) if (path / "config.yaml").exists() else None
        rows = run.metrics() if run else []
        if run is None or not rows:
            return False, "no iteration yet"
        minutes, best = rows[-1]["wall_time"] / 60, max(row["return"] or 0.0 for row in rows)
        ended = (
            rows[-1]["env_steps"] >= run.config.run.last_step
            or best >= RETURNS[task][-1]
            or minutes >= TRAINING_CAP
        )
        return ended, f"best return {best:.0f} in {minutes:.1f} min"

    def _process(
        self, name: str, command: Sequence[str], minutes: float | None = None
    ) -> tuple[int | None, float, list[str]]:
        """Runs Python for at most so many minutes (None: what this call has left); returns exit
        status (None: out of time), seconds and lines of output."""
        log = self.folder / "logs" / f"{name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        paths = [str(ROOT / "src"), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        began = time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                limit = max(0.5, self.minutes_left) if minutes is None else minutes
                code = process.wait(timeout=60 * limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _stop(process)
        return code, time.monotonic() - began, log.read_text(errors="replace").splitlines()

    def _judge(self, piece: Piece, code: int | None, seconds: float, note: str = "") -> None:
        if code == 0:
            self._note(piece, "done", note or f"in {seconds:.0f} s")
            return
        why = f"took longer than {seconds:.0f} s" if code is None else f"exit status {code}"
        self._note(piece, "failed", f"{why}; see gpu/logs/{piece.name}.txt")

    def _note(self, piece: Piece, status: str, note: str) -> None:
        self.state[piece.name] = {"status": status, "note": note, "command": list(piece.command)}
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.state, indent=1) + "\n")
        temporary.replace(self.path)

    def _save(self, path: Path, rows: list[dict[str, Any]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        about = provenance(self.device) | {"rows": rows}
        path.write_text(json.dumps(about, indent=1) + "\n")


def _stop(process: subprocess.Popen) -> None:
    """Ends a process and those that it has started, if they have not ended."""
    for what, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, what)
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line and measures; returns 1 if a piece has failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--minutes", type=float, default=9.0, help="what this call may take")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="pieces; * stands for any text")
    parser.add_argument("--retry", action="store_true", help="also run again what has failed")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, to try this script")
    args = parser.parse_args(arguments)
    output = args.output.resolve()
    pieces = [
        piece
        for piece in plan(args.device, output, args.tiny)
        if not args.only or any(fnmatch.fnmatch(piece.name, name) for name in args.only)
    ]
    measurement = Measurement(output, pieces, args.device, args.minutes)
    if args.list:
        for piece in pieces:
            print(f"{piece.name:34} {piece.minutes:4.1f} min  {measurement.describe(piece)}")
        return 0
    if torch.device(args.device).type == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU here. Give --device cpu --tiny to try this script.")
    if args.retry:
        for piece in pieces:
            if measurement.status(piece) in ("failed", "skipped"):
                del measurement.state[piece.name]
    measurement.run()
    failed = [piece for piece in pieces if measurement.status(piece) == "failed"]
    for piece in failed:
        print(f"failed: {piece.name}: {measurement.describe(piece)}")
    left = [piece.name for piece in measurement.unfinished]
    print(f"left: {', '.join(left)}. The same command goes on." if left else "nothing is left")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
