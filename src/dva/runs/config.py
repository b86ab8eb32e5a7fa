"""The configuration of a training run: three dataclasses, written to and read from YAML."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from dva import learning, tasks
from dva.compute.device import resolve_device
from dva.compute.errors import UsageError, require_known, usage_errors
from dva.envs import EnvConfig
from dva.runs.fields import (
    field_kinds,
    read_dataclass,
    read_value,
    require_fields,
    require_finite,
    require_restorable,
    to_plain,
)

__all__ = [
    "FORMAT",
    "RunConfig",
    "TrainConfig",
    "config_from_dict",
    "config_to_dict",
    "default_config",
    "title",
]

AlgorithmConfig = TypeVar("AlgorithmConfig")
FORMAT = 2
"""Version of the stored configuration; a reader refuses what it does not know."""


@dataclass
class RunConfig:
    """How long, on what, and what is written.

    Raises:
        ValueError: a value is outside its range, or of another kind than its field.
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
    """Plan as many steps as fit into this wall time, set-up included, but no more than env-steps:
    learning rates reach their final value just before. Measured and set once, after some twenty
    iterations; the evaluation at the end comes on top. A run that has such a plan keeps it when it
    is resumed, and only stops after this time."""
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
        if isinstance(self.run_dir, str):
            self.run_dir = Path(self.run_dir)
        require_restorable("run", self)
        for name in ("env_steps", "threads", "minutes", "stop_at", "checkpoint_interval"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{_flag(name)} is {value}; it must be greater than 0.")
        for name in ("video_interval", "evaluation_episodes", "seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 2**63:
                raise ValueError(f"{_flag(name)} is {value}; it must be from 0 to 2^63 - 1.")

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
        """Checks the names of task, algorithm and preset, the device, and that every value will
        come back from the stored configuration; the parts have checked their own ranges.

        Raises:
            UsageError: a name is not known, this machine has no such device, or a value is of
                another kind than its field.
        """
        for name in ("algo", "preset"):
            read_value(name, str, getattr(self, name))
        with usage_errors():
            entry = learning.get(self.algo)
        for name, kind in _kinds_of_parts(entry.config).items():
            part = getattr(self, name)
            if type(part) is not kind:
                raise UsageError(
                    f"{name} is a {type(part).__name__}; with algorithm {self.algo} it must be a "
                    f"{kind.__name__}."
                )
            require_restorable(name, part)
            require_finite(name, part)
        with usage_errors():
            tasks.get(self.env.task)
            resolve_device(self.run.device)
        require_known("preset", self.preset, entry.presets)

    @property
    def title(self) -> str:
        """Task, algorithm and seed, for titles and folders, joined by hyphens."""
        return title(self.env.task, self.algo, self.run.seed)


def title(task: str, algo: str, seed: int) -> str:
    """Joins the names of a task and an algorithm, without their modules, and a seed by hyphens."""
    return f"{task.rpartition(':')[2]}-{algo.rpartition(':')[2]}-s{seed}"


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
    if isinstance(changes.get("observe"), str):
        changes["observe"] = (changes["observe"],)
    kinds = {part: field_kinds(kind) for part, kind in _kinds_of_parts(entry.config).items()}
    for name in changes:
        require_known("field", name, [field for part in kinds.values() for field in part])
    own = {
        part: {
            name: read_value(f"{part}.{name}", of_fields[name], to_plain(value))
            for name, value in changes.items()
            if name in of_fields
        }
        for part, of_fields in kinds.items()
    }
    if not own["env"].get("observe"):
        own["env"].pop("observe", None)
    with usage_errors():
        if preset is None:
            on_gpu = resolve_device(own["run"].get("device", "auto")).type == "cuda"
            preset = entry.presets[0 if on_gpu else min(1, len(entry.presets) - 1)]
        require_known("preset", preset, entry.presets)
        if entry.preset is None:
            values = learning.Preset(entry.config())
        else:
            observe = own["env"].get("observe")
            values = entry.preset(task.rpartition(":")[2], preset, observe)
        return TrainConfig(
            env=EnvConfig(task, **{**values.env, **own["env"]}),
            algorithm=dataclasses.replace(values.algorithm, **own["algorithm"]),
            run=RunConfig(**{"env_steps": values.env_steps, **own["run"]}),
            algo=algo,
            preset=preset,
        )


def _kinds_of_parts(algorithm: type) -> dict[str, type]:
    return {"env": EnvConfig, "algorithm": algorithm, "run": RunConfig}


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Returns the configuration as plain values that YAML can hold (tuples become lists)."""

    return {
        "algo": config.algo,
        "preset": config.preset,
        "env": to_plain(config.env),
        "algorithm": to_plain(config.algorithm),
        "run": to_plain(config.run),
    }


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Rebuilds a configuration that `config_to_dict` wrote. It must be complete: a default of this
    version might not be what the run had.

    Raises:
        UsageError: a field is missing or not known, or its value is not of its kind; the text
            names it.
    """
    require_fields("the configuration", values, ("algo", "preset", "env", "algorithm", "run"))
    algo = str(values["algo"])
    with usage_errors():
        entry = learning.get(algo)
    kinds = _kinds_of_parts(entry.config)
    parts = {part: read_dataclass(part, kind, values[part]) for part, kind in kinds.items()}
    return TrainConfig(**parts, algo=algo, preset=str(values["preset"]))
