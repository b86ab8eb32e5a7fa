"""A run on disk: where everything lies, and the rule that no run overwrites another's files."""

import difflib
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dva.compute.errors import FileError, UsageError, explain_file_errors, one_line
from dva.compute.files import is_temporary, write_atomically
from dva.runs.config import FORMAT, TrainConfig, config_from_dict, config_to_dict
from dva.runs.curve import can_be_drawn
from dva.runs.fields import read_dataclass, to_plain
from dva.runs.files import dump_yaml, parse_yaml, read_json_object
from dva.runs.locks import hold_lock
from dva.runs.metrics import read_metrics
from dva.runs.pace import PacedPlan
from dva.runs.trust import require_trust

__all__ = ["CONFIG", "LOCK", "Run"]

CONFIG = "config.yaml"
LOCK = ".lock"
HEADER = "# Configuration of a dva run; `dva train --resume FOLDER` reads it. Do not edit.\n"


class Run:
    """The folder of one training run.

    Make one with `Run.create` or `Run.open`.

    Attributes:
        path: the folder.
        config: the run's configuration.
        paced: how its `env_steps` were planned by the run's pace, in order; () where they were not.
    """

    def __init__(
        self,
        path: Path,
        config: TrainConfig,
        sessions: list[dict[str, Any]],
        paced: tuple[PacedPlan, ...] = (),
    ) -> None:
        self.path = path
        self.config = config
        self.paced = paced
        self._sessions = sessions

    @classmethod
    def create(cls, config: TrainConfig) -> "Run":
        """Makes the folder of a new run: `config.run.run_dir`, or runs/TASK-ALGO-sSEED-TIME.

        Raises:
            UsageError: there is something in that folder already, or the path is a file.
        """
        chosen = config.run.run_dir
        cls.require_free(chosen)
        path = cls._new_folder(config) if chosen is None else Path(chosen)
        with explain_file_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        run = cls(path, config, [])
        with run.locked():
            cls.require_free(path)  # another process may have been faster
            for entry in path.iterdir():
                if is_temporary(entry, CONFIG):  # of a process that was killed here
                    entry.unlink(missing_ok=True)
            run.write_config()
        return run

    @staticmethod
    def require_free(path: Path | None) -> None:
        """Makes sure that a new run may be written to `path` (None: a folder of its own).

        A folder that holds nothing but what `create` leaves behind when it is killed is free.

        Raises:
            UsageError: there is a run or something else in it already, or it is a file.
        """
        if path is None:
            return
        path = Path(path)
        _require_text(path)
        if (path / CONFIG).exists():
            raise UsageError(
                f"There is a run in {path} already. Continue it with --resume {path}, or give "
                "another --run-dir."
            )
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file. Give a folder as --run-dir.")
        with explain_file_errors(path, "read"):
            entries = list(path.iterdir()) if path.exists() else []
        if any(entry.name != LOCK and not is_temporary(entry, CONFIG) for entry in entries):
            raise UsageError(f"{path} is not empty. Give a new folder as --run-dir.")

    @staticmethod
    def _new_folder(config: TrainConfig) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = f"{config.title}-{stamp}"
        for attempt in range(1, 1000):
            path = Path("runs") / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                with explain_file_errors(path):
                    path.mkdir(parents=True)
            except FileError as error:
                if error.errno == errno.EEXIST and path.is_dir():
                    continue  # another run started within the same second
                raise
            return path
        raise UsageError(f"runs/{name} and its successors exist. Give a --run-dir.")

    @classmethod
    def open(cls, path: str | Path, trust_code: bool = False) -> "Run":
        """Opens an existing run.

        Args:
            path: its folder.
            trust_code: let modules be imported that its configuration names as MODULE:NAME; without
                it, only those that are imported already may be named.

        Raises:
            UsageError: there is no run in that folder; the text names the closest match. Or its
                configuration cannot be read, or names code that is not trusted.
        """
        path = Path(path)
        _require_text(path)
        file = path / CONFIG
        if not file.is_file():
            raise UsageError(_describe_missing(path))
        with explain_file_errors(file, "read"):
            content = file.read_bytes()
        try:
            return cls(path, *_read_stored(parse_yaml(content), trust_code))
        except UsageError as error:
            raise UsageError(f"{file}: {error}") from error
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(
                f"{file} cannot be read: {type(error).__name__}: {one_line(error)}. Put back the "
                "file that training wrote."
            ) from error
        except RecursionError:
            raise UsageError(f"{file} cannot be read: it is nested too deeply.") from None

    def write_config(self, session: dict[str, Any] | None = None) -> None:
        """Writes `config.yaml`; `session` (see `describe_machine`) is added to its sessions.

        Raises:
            FileError: it cannot be written; the former one is whole.
        """
        if session is not None:
            self._sessions.append(session)
        stored = {
            "format": FORMAT,
            "config": config_to_dict(self.config),
            "paced": to_plain(self.paced),
            "sessions": self._sessions,
        }
        text = HEADER + dump_yaml(stored)
        write_atomically(
            self.path / CONFIG, lambda temporary: temporary.write_text(text, encoding="utf-8")
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for one process; the system lets go of it when that process ends.

        Raises:
            UsageError: another process is training in it.
        """
        refusal = f"Another process is training in {self.path}. Wait for it, or stop it."
        with hold_lock(self.path / LOCK, refusal):
            yield

    def require_in_place(self) -> None:
        """Makes sure that the folder is where it was: writing would make another one there.

        Raises:
            UsageError: it was moved or removed.
        """
        with explain_file_errors(self.path, "read"):
            if (self.path / CONFIG).is_file():
                return
        raise UsageError(
            f"{self.path} was moved or removed while it trained; what followed its latest "
            "checkpoint is lost. To continue where it is now: dva train --resume FOLDER"
        )

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.resolve().name

    @property
    def metrics_path(self) -> Path:
        """`metrics.jsonl`."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of the TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def videos(self) -> Path:
        """The folder of the videos."""
        return self.path / "videos"

    @property
    def curve(self) -> Path:
        """The learning curve, a PNG picture."""
        return self.path / "curve.png"

    @property
    def evaluation_path(self) -> Path:
        """The evaluation made at the end of training, JSON."""
        return self.path / "evaluation.json"

    @property
    def nan_dumps(self) -> Path:
        """The folder of the states that the NaN guard saved."""
        return self.path / "nan"

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What each session was made with; see `describe_machine`."""
        return self._sessions

    def metrics(self) -> list[dict[str, Any]]:
        """Reads every row of the metrics."""
        return read_metrics(self.metrics_path)

    def evaluation(self) -> dict[str, Any] | None:
        """Reads the evaluation made at the end of training; None before the first one.

        Raises:
            UsageError: it is damaged.
        """
        path = self.evaluation_path
        return read_json_object(path) if path.is_file() else None

    def lacks_evaluation(self, env_steps: int) -> bool:
        """Tells whether an evaluation is due after so many environment steps, and was not made."""
        try:
            found = self.evaluation() or {}
        except UsageError:  # damaged: it is made again
            found = {}
        numbers = (found.get(name) for name in ("mean", "std", "episodes"))
        whole = all(type(number) in (int, float) for number in numbers)
        made = whole and found.get("env_steps") == env_steps
        return self.config.run.evaluation_episodes > 0 and not made

    def lacks_curve(self) -> bool:
        """Tells whether there are returns to draw, and no picture of them."""
        if self.curve.is_file():
            return False
        try:
            return any(map(can_be_drawn, self.metrics()))
        except UsageError:  # damaged
            return False


def _read_stored(
    stored: Any, trust_code: bool
) -> tuple[TrainConfig, list[dict[str, Any]], tuple[PacedPlan, ...]]:
    """Reads what `write_config` wrote."""
    found = stored.get("format", 1) if isinstance(stored, dict) else None
    if found != FORMAT:
        raise UsageError(
            f"its format is {found!r}, this version reads {FORMAT}. Use the version of dva that "
            "its sessions name, or train anew."
        )
    sessions = stored.get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(x, dict) for x in sessions):
        raise UsageError(f"its sessions are {sessions!r}; they must be a list of mappings.")
    paced = stored.get("paced") or []
    paced = paced if isinstance(paced, list) else [paced]  # the first versions had one plan at most
    plans = tuple(read_dataclass("paced", PacedPlan, plan) for plan in paced)
    config = stored.get("config") or {}
    if isinstance(config, dict):  # "run" has folders, which may look like names of code
        parts = {name: part for name, part in config.items() if name != "run"}
        require_trust(parts, trust_code)
    return config_from_dict(config), sessions, plans


def _require_text(path: Path) -> None:
    """Makes sure that checkpoints can be read again: safetensors opens no other names of files.

    Raises:
        UsageError: the path is not UTF-8.
    """
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            f"The name {os.fsencode(path)!r} is not UTF-8; checkpoints in it could not be read. "
            "Rename the folder, or give another."
        ) from None


def _describe_missing(path: Path) -> str:
    """Says what is wrong with a path that should hold a run, and which runs there are."""
    if path.is_file():
        return f"{path} is a file. Give the folder of a run."
    text = f"There is no run in {path}"
    parents = [path.parent]
    if path.parent.resolve() != Path("runs").resolve():
        parents.append(Path("runs"))
    places = " or ".join(f"{parent}/" for parent in parents)
    found = [config.parent for parent in parents for config in sorted(parent.glob("*/config.yaml"))]
    if not found:
        return f"{text}, and none in {places} either. Train one: dva train cartpole."
    names = {run.name: run for run in reversed(found)}  # those beside the path last: they stay
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if close:
        return f"{text}. Did you mean {names[close[0]]}?"
    return f"{text}. There are {', '.join(map(str, found))}."
