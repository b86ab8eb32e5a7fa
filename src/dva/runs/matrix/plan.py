"""What a matrix of runs consists of, and the file that keeps it."""

import dataclasses
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dva.compute.arguments import require
from dva.compute.errors import UsageError, explain_file_errors, one_line
from dva.compute.files import is_temporary, write_atomically
from dva.compute.plugins import module_of
from dva.runs.config import title
from dva.runs.fields import read_dataclass, to_plain
from dva.runs.files import dump_yaml, parse_yaml
from dva.runs.trust import require_trust

__all__ = [
    "EVERY",
    "LOCK",
    "MATRIX",
    "Cell",
    "Matrix",
    "extend",
    "read_matrix",
    "read_options",
    "write_matrix",
]

MATRIX = "benchmark.yaml"
LOCK = ".lock"
FORMAT = 1
"""Version of the file; a reader refuses what it does not know."""
HEADER = "# The runs of a dva benchmark; `dva benchmark --output FOLDER` goes on with it.\n"
EVERY = "every"
"""Stands for all algorithms among the options."""
UNLIMITED = 10**12
"""Planned environment steps of a run that time alone limits: it plans by its pace before."""
OWN = frozenset(
    {
        "task", "algo", "seed", "run-dir", "resume", "minutes", "env-steps", "stop-at", "device",
        "preset", "threads", "trust-code",
    }
)  # fmt: skip
"""Flags of `dva train` that the matrix itself sets."""
_FLAG = re.compile(r"[a-z0-9][a-z0-9.-]*", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a matrix."""

    task: str
    algo: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return title(self.task, self.algo, self.seed)


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Which runs there are, and what all of them have in common.

    Raises:
        ValueError: a value is not allowed.
    """

    tasks: tuple[str, ...]
    """Tasks, each a name or MODULE:NAME."""
    algos: tuple[str, ...]
    """Algorithms, each a name or MODULE:NAME."""
    seeds: int
    """Number of seeds, from 0 on."""
    device: str
    """Device of every run: cpu, or cuda, one GPU for each that runs."""
    threads: int
    """CPU threads of every run."""
    minutes: float | None = None
    """Training time of each run, all of its sessions together; None: `env_steps` limits it."""
    env_steps: int | None = None
    """Environment steps of each run; None: `minutes` limits it."""
    preset: str | None = None
    """Hyperparameters to start from; None: those of `dva train`."""
    options: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    """Further flags of `dva train` with their values, for an algorithm or for `EVERY` one."""

    def __post_init__(self) -> None:
        for name in ("tasks", "algos"):
            values = getattr(self, name)
            once = len(values) == len(set(values)) > 0
            require(name, values, once, "one name or more, each of them once")
        require("device", self.device, self.device in ("cpu", "cuda"), "cpu or cuda")
        require("seeds", self.seeds, self.seeds >= 1, "1 or more")
        require("threads", self.threads, self.threads >= 1, "1 or more")
        given = (self.minutes is None) + (self.env_steps is None)
        if given != 1:
            raise ValueError(
                "A benchmark needs either minutes or env-steps, the budget of each of its runs: "
                "give one of the two, such as --minutes 10."
            )
        for name in ("minutes", "env_steps"):
            value = getattr(self, name)
            require(name, value, value is None or 0 < value < math.inf, "greater than 0")
        names = [cell.name for cell in self.cells()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Two runs of the benchmark would share the folder {twice[0]}: tasks are "
                f"{self.tasks} and algos {self.algos}. Leave one of them out, or rename it."
            )
        for flags in self.options.values():
            for flag, value in flags.items():
                if not _FLAG.fullmatch(flag) or any(x.startswith("--") for x in shlex.split(value)):
                    raise ValueError(
                        f"The option {flag}={value} is not one flag with its values. Give each "
                        "flag an option of its own, such as --set image-size=48."
                    )
                if flag in OWN:
                    raise ValueError(
                        f"The flag {flag} is set by the benchmark itself. Leave it out of the "
                        f"options; `dva benchmark --help` has its own flags."
                    )

    def cells(self) -> Iterator[Cell]:
        """Lists the runs, seeds outermost: a benchmark that is cut short has every algorithm."""
        for seed in range(self.seeds):
            for task in self.tasks:
                for algo in self.algos:
                    yield Cell(task, algo, seed)

    @property
    def names_code(self) -> bool:
        """Whether a module is among its names."""
        return any(module_of(name) for name in self.names)

    @property
    def names(self) -> list[str]:
        """What may be a name: tasks, algorithms, and each word of the options."""
        values = [value for flags in self.options.values() for value in flags.values()]
        words = [word for value in values for word in shlex.split(value)]
        return [*self.tasks, *self.algos, *words]

    def flags(self, cell: Cell) -> list[str]:
        """Returns what `dva train` is given to begin a run, all but its folder."""
        values = {"video-interval": "0", **self.options.get(EVERY, {})}
        values |= self.options.get(cell.algo, {})
        values |= {"algo": cell.algo, "seed": str(cell.seed), "device": self.device}
        values |= {"threads": str(self.threads)}
        if self.preset is not None:
            values["preset"] = self.preset
        if self.minutes is not None:
            values["minutes"] = repr(self.minutes)
        values["env-steps"] = str(UNLIMITED if self.env_steps is None else self.env_steps)
        return [cell.task, *(word for pair in values.items() for word in _flag(*pair))]


def _flag(name: str, value: str) -> list[str]:
    """Writes a flag as `dva train` reads it: true and false are said by the flag itself."""
    if value.lower() in ("true", "false"):
        return [f"--{name}" if value.lower() == "true" else f"--no-{name}"]
    return [f"--{name}", *shlex.split(value)]


def extend(stored: Matrix, given: Mapping[str, Any], folder: Path) -> Matrix:
    """Returns a stored matrix with the tasks, algorithms and seeds that are added.

    Args:
        stored: the matrix of a benchmark that has begun.
        given: fields of `Matrix`; None, or nothing in it, stands for what is stored.
        folder: of the benchmark, for the message.

    Raises:
        UsageError: something is left out, or differs.
    """
    changes: dict[str, Any] = {}
    for name in ("tasks", "algos"):
        values, wanted = getattr(stored, name), given.get(name) or ()
        if wanted and not set(values) <= set(wanted):
            raise _other(folder, name, " ".join(values), " ".join(wanted))
        changes[name] = (*values, *(value for value in wanted if value not in values))
    changes["seeds"] = given.get("seeds") or stored.seeds
    if changes["seeds"] < stored.seeds:
        raise _other(folder, "seeds", stored.seeds, changes["seeds"])
    for name in ("device", "threads", "minutes", "env_steps", "preset"):
        value, wanted = getattr(stored, name), given.get(name)
        if wanted is not None and wanted != value:
            raise _other(folder, name.replace("_", "-"), value, wanted)
    changes["options"] = dict(stored.options)
    for algo, flags in (given.get("options") or {}).items():
        before = stored.options.get(algo, {})
        begun = algo == EVERY or algo in stored.algos
        if begun and any(before.get(flag) != value for flag, value in flags.items()):
            raise _other(folder, f"options of {algo}", before, flags)
        changes["options"][algo] = {**before, **flags}
    return dataclasses.replace(stored, **changes)


def _other(folder: Path, name: str, before: object, given: object) -> UsageError:
    return UsageError(
        f"The benchmark in {folder} has {name} = {before}; it cannot go on with {given}. Only "
        "tasks, algos and seeds may be added to it. Leave the flag out, or give another --output."
    )


def read_matrix(
    folder: Path, trust_code: bool = False, typed: tuple[str, ...] = ()
) -> Matrix | None:
    """Reads the matrix of a folder; None where there is nothing in it yet.

    Args:
        folder: of the benchmark.
        trust_code: let modules be imported that its file names as MODULE:NAME.
        typed: names that the user has given, which are trusted therefore.

    Raises:
        UsageError: the folder holds other things, or its file cannot be read, or names code that is
            not trusted.
    """
    file = folder / MATRIX
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Give a folder as --output.")
    if not file.is_file():
        with explain_file_errors(folder, "read"):
            entries = list(folder.iterdir()) if folder.exists() else []
        if any(entry.name != LOCK and not is_temporary(entry, MATRIX) for entry in entries):
            raise UsageError(
                f"{folder} is not empty, and there is no {MATRIX} in it. Give another --output."
            )
        return None
    with explain_file_errors(file, "read"):
        content = file.read_bytes()
    try:
        stored = parse_yaml(content)
        found = stored.get("format") if isinstance(stored, dict) else None
        if found != FORMAT:
            raise UsageError(f"its format is {found!r}, this version reads {FORMAT}")
        matrix = read_dataclass("matrix", Matrix, stored.get("matrix"))
        require_trust({"the matrix": matrix.names}, trust_code, typed)
        return matrix
    except RecursionError:
        raise UsageError(f"{file} cannot be read: it is nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(
            f"{file} cannot be read: {one_line(error)}. Put back the file that the benchmark "
            "wrote, or give another --output."
        ) from error


def write_matrix(folder: Path, matrix: Matrix) -> None:
    """Writes the matrix into the folder of a benchmark, which is made if need be.

    Raises:
        FileError: it cannot be written; the former one is whole.
    """
    with explain_file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    stored = {"format": FORMAT, "matrix": to_plain(matrix)}
    text = HEADER + dump_yaml(stored)
    write_atomically(
        folder / MATRIX, lambda temporary: temporary.write_text(text, encoding="utf-8")
    )


def read_options(texts: Sequence[str], algos: Sequence[str]) -> dict[str, dict[str, str]]:
    """Reads options given as FLAG=VALUE, for every algorithm, or ALGO.FLAG=VALUE.

    Args:
        texts: one for each option.
        algos: names of the algorithms.

    Raises:
        UsageError: a text is none.
    """
    options: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        owner = next((algo for algo in algos if name.startswith(f"{algo}.")), EVERY)
        flag = name if owner == EVERY else name.removeprefix(f"{owner}.")
        flag = flag.removeprefix("--").replace("_", "-")
        if not equals or not flag or not value.strip():
            raise UsageError(
                f"The option {text!r} is no FLAG=VALUE. Write such as --set image-size=48 for all "
                f"algorithms, or --set {algos[0]}.horizon=16 for one."
            )
        options.setdefault(owner, {})[flag] = value
    return options
