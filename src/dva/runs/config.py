"""The configuration of a training run: three dataclasses, written to and read from YAML."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import tyro

from dva import learning, tasks
from dva.compute.device import resolve_device
from dva.compute.errors import UsageError, require_known, usage_errors
from dva.envs import EnvConfig

__all__ = [
    "FORMAT",
    "RunConfig",
    "TrainConfig",
    "config_from_dict",
    "config_to_dict",
    "default_config",
]

AlgorithmConfig = TypeVar("AlgorithmConfig")
FORMAT = 2
"""Version of the stored configuration; a reader refuses what it does not know."""


@dataclass
class RunConfig:
    """How long, on what, and what is written.

    Raises:
        ValueError: a value is outside its range.
    """

    env_steps: int = 1_000_000
    """Planned environment steps, summed over environments; learning rates reach their final value
    there."""
    seed: int = 0
    """Seed of the starts, the networks and the exploration noise."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX; auto takes a GPU when there is one."""
    threads: int | None = None
    """CPU threads; None: as many as torch would use, which is one for each core."""
    cuda_graphs: bool = True
    """On a GPU replay the parts of an iteration as CUDA graphs, on a CPU the kernels of a control
    step in one call. Off to look for faults."""
    minutes: float | None = None
    """Stop after this wall time, set-up included; the learning-rate schedule keeps its plan."""
    stop_at: int | None = None
    """Stop after this many environment steps; the learning-rate schedule keeps its plan."""
    checkpoint_interval: int | None = None
    """Environment steps between checkpoints; None: one a minute."""
    video_interval: int | None = None
    """Environment steps between videos of the deterministic policy; None: one after 1, 2, 4, 8, ...
    minutes; 0: no videos."""
    evaluation_episodes: int = 64
    """Episodes of the evaluation at the end; 0: no evaluation."""
    nan_guard: bool = False
    """Save any state that makes the physics non-finite under nan/, for `dva doctor --replay`."""
    run_dir: Path | None = None
    """Folder of the run; None: runs/TASK-ALGO-sSEED-TIME."""

    def __post_init__(self) -> None:
        for name in ("env_steps", "threads", "minutes", "stop_at", "checkpoint_interval"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{_flag(name)} is {value}; it must be greater than 0.")
        for name in ("video_interval", "evaluation_episodes", "seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 2**63:
                raise ValueError(f"{_flag(name)} is {value}; it must be 0 or more.")

    @property
    def last_step(self) -> int:
        """Environment steps after which training stops (if time does not stop it before)."""
        return self.env_steps if self.stop_at is None else min(self.env_steps, self.stop_at)


@dataclass
class TrainConfig(Generic[AlgorithmConfig]):
    """Everything that defines a training run."""

    env: Annotated[EnvConfig, tyro.conf.arg(name="")]
    """Task, robots, and what the policy sees."""
    algorithm: Annotated[AlgorithmConfig, tyro.conf.arg(name="")]
    """Hyperparameters of the algorithm (a dataclass such as `learning.DvaConfig`)."""
    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    """How long, on what, and what is written."""
    algo: str = "dva"
    """Algorithm; `dva list` shows them. MODULE:NAME for one of your own."""
    preset: str = "cpu"
    """Hyperparameters to start from: paper (default on CUDA), cpu (default on a CPU), or fast (many
    environments, for a GPU)."""

    def validate(self) -> None:
        """Checks the names of task, algorithm and preset, and the device; the parts have checked
        their own values.

        Raises:
            UsageError: a name is not known, or this machine has no such device.
        """
        with usage_errors():
            tasks.get(self.env.task)
            entry = learning.get(self.algo)
            resolve_device(self.run.device)
        require_known("preset", self.preset, entry.presets)

    @property
    def title(self) -> str:
        """Task, algorithm and seed, for titles and folders, joined by hyphens."""
        task, algo = (name.rpartition(":")[2] for name in (self.env.task, self.algo))
        return f"{task}-{algo}-s{self.run.seed}"


def _flag(name: str) -> str:
    return name.replace("_", "-")


def default_config(
    task: str, algo: str = "dva", preset: str | None = None, **changes: Any
) -> TrainConfig:
    """Returns the configuration of a preset.

    Args:
        task: name of the task, or MODULE:NAME.
        algo: name of the algorithm, or MODULE:NAME.
        preset: one of the algorithm's presets; None: "paper" on a GPU, "cpu" elsewhere (the first
            and the second of its presets).
        changes: fields of `EnvConfig`, `RunConfig` or the algorithm's own configuration.

    Raises:
        UsageError: the task, the algorithm, the preset or a field is not known, or a value is not
            allowed.
    """
    with usage_errors():
        tasks.get(task)
        entry = learning.get(algo)
        if preset is None:
            on_gpu = resolve_device(changes.get("device", "auto")).type == "cuda"
            preset = entry.presets[0 if on_gpu else min(1, len(entry.presets) - 1)]
        require_known("preset", preset, entry.presets)
        observe = changes.pop("observe", None)
        if isinstance(observe, str):
            observe = (observe,)
        if entry.preset is None:
            values = learning.Preset(entry.config())
        else:
            values = entry.preset(task.rpartition(":")[2], preset, observe and tuple(observe))
        parts = {
            "env": EnvConfig(task, **values.env),
            "algorithm": values.algorithm,
            "run": RunConfig(env_steps=values.env_steps),
        }
        if observe:
            changes["observe"] = tuple(observe)
        fields = {name: _names(part) for name, part in parts.items()}
        for name in changes:
            require_known("field", name, [x for names in fields.values() for x in names])
        for part, names in fields.items():
            own = {name: value for name, value in changes.items() if name in names}
            parts[part] = dataclasses.replace(parts[part], **own)
    return TrainConfig(**parts, algo=algo, preset=preset)


def _names(part: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(part)]


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Returns the configuration as plain values that YAML can hold (tuples become lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        return str(value) if isinstance(value, Path) else value

    return plain(
        {
            "algo": config.algo,
            "preset": config.preset,
            "env": dataclasses.asdict(config.env),
            "algorithm": dataclasses.asdict(config.algorithm),
            "run": dataclasses.asdict(config.run),
        }
    )


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Rebuilds a configuration that `config_to_dict` wrote. It must be complete: a default of this
    version might not be what the run had.

    Raises:
        UsageError: a field is missing or not known, or its value is not of its kind; the text
            names it.
    """
    _require_fields("the configuration", values, ("algo", "preset", "env", "algorithm", "run"))
    algo = str(values["algo"])
    with usage_errors():
        entry = learning.get(algo)
    return TrainConfig(
        env=_read_part("env", EnvConfig, values["env"]),
        algorithm=_read_part("algorithm", entry.config, values["algorithm"]),
        run=_read_part("run", RunConfig, values["run"]),
        algo=algo,
        preset=str(values["preset"]),
    )


def _require_fields(where: str, values: Any, names: tuple[str, ...]) -> None:
    if not isinstance(values, Mapping):
        raise UsageError(f"{where} is {values!r}; it must hold {', '.join(names)}.")
    missing = [name for name in names if name not in values]
    unknown = [str(name) for name in values if name not in names]
    if missing or unknown:
        lacks = f"lacks {', '.join(missing)}" if missing else ""
        has = f"has {', '.join(unknown)}, which this version does not know" if unknown else ""
        raise UsageError(
            f"{where} {' and '.join(filter(None, (lacks, has)))}. Another version wrote it, or it "
            "was edited: use the version of dva that its sessions name."
        )


def _read_part(where: str, kind: type, values: Any) -> Any:
    _require_fields(where, values, tuple(field.name for field in dataclasses.fields(kind)))
    read = {
        field.name: _read(f"{where}.{field.name}", field.type, values[field.name])
        for field in dataclasses.fields(kind)
    }
    with usage_errors():
        return kind(**read)


def _read(where: str, kind: Any, value: Any) -> Any:
    """Turns a plain value into one of the kind that a field is annotated with."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _read(where, arguments[0], value)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        return _read(where, next(x for x in arguments if x is not NoneType), value)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        kinds = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_read(where, k, v) for k, v in zip(kinds, value, strict=True))
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise UsageError(f"{where} is {value!r}; it must be {getattr(kind, '__name__', kind)}.")
