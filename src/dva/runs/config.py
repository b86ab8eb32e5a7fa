"""The configuration of a training run: one dataclass, written to and read from YAML."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from dva.runs.errors import UsageError, require_known

__all__ = [
    "TrainConfig",
    "config_from_dict",
    "config_to_dict",
    "default_config",
    "require_task",
    "resolve_device",
]

LearnerConfig = TypeVar("LearnerConfig")


@dataclasses.dataclass
class TrainConfig(Generic[LearnerConfig]):
    """Everything that defines a training run."""

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
    """Task to train on; `dva list` shows them. MODULE:NAME for one of your own."""
    learner: Annotated[LearnerConfig, tyro.conf.arg(name="")]
    """Hyperparameters of the algorithm (a dataclass such as `learning.DvaConfig`)."""
    algo: str = "dva"
    """Algorithm; `dva list` shows them."""
    preset: str = "cpu"
    """Hyperparameters to start from: paper (default on CUDA), cpu (default on a CPU), or fast (many
    environments, for a GPU)."""
    seed: int = 0
    """Seed of the starts, the networks and the exploration noise."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX; auto takes a GPU when there is one."""
    threads: int | None = None
    """CPU threads; none: as many as torch would use, which is one for each core."""
    cuda_graphs: bool = True
    """On a GPU replay the parts of an iteration as CUDA graphs, on a CPU the kernels of a control
    step in one call. Off to look for faults."""
    state_storage: Literal["full", "recompute"] = "full"
    """recompute: keep less of the physics for its gradient, and compute each step twice."""
    minutes: float | None = None
    """Stop after this wall time, set-up included; the learning-rate schedule keeps its plan."""
    stop_at: int | None = None
    """Stop at this iteration; the learning-rate schedule keeps its plan."""
    checkpoint_interval: int | None = None
    """Iterations between checkpoints; none: one a minute."""
    video_interval: int | None = None
    """Iterations between videos of the deterministic policy; none: one after 1, 2, 4, 8, ...
    minutes; 0: no videos."""
    evaluation_episodes: int = 64
    """Episodes of the evaluation at the end; 0: no evaluation."""
    nan_guard: bool = False
    """Save any state that makes the physics non-finite under nan/, for `dva doctor --replay`."""
    run_dir: Path | None = None
    """Folder of the run; none: runs/TASK-ALGO-sSEED-TIME."""

    @property
    def planned_iterations(self) -> int:
        """The iterations that the learning-rate schedule is laid out for."""
        return int(self.learner.iterations)  # type: ignore[attr-defined]

    @property
    def last_iteration(self) -> int:
        """The iteration after which training stops (if time does not stop it before)."""
        planned = self.planned_iterations
        return planned if self.stop_at is None else min(planned, self.stop_at)

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of one iteration: num_envs times horizon."""
        return int(self.learner.num_envs * self.learner.horizon)  # type: ignore[attr-defined]

    def set_env_steps(self, env_steps: int) -> None:
        """Plans as many iterations as it takes to make at least `env_steps` environment steps."""
        iterations = math.ceil(env_steps / self.steps_per_iteration)
        self.learner.iterations = iterations  # type: ignore[attr-defined]

    def validate(self) -> None:
        """Checks names and ranges.

        Raises:
            UsageError: a value is not allowed; the text says which are.
        """
        from dva.learning import ALGORITHMS, PRESETS

        require_task(self.task)
        require_known("algorithm", self.algo, ALGORITHMS)
        require_known("preset", self.preset, PRESETS)
        resolve_device(self.device)
        positive: dict[str, float | None] = {
            "iterations": self.planned_iterations,
            "steps of an iteration (num-envs x horizon)": self.steps_per_iteration,
            "minutes": self.minutes,
            "stop-at": self.stop_at,
            "checkpoint-interval": self.checkpoint_interval,
            "threads": self.threads,
        }
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise UsageError(f"{name} is {value}; it must be greater than 0.")
        for name in ("video_interval", "evaluation_episodes", "seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                flag = name.replace("_", "-")
                raise UsageError(f"{flag} is {value}; it must be 0 or more.")


def resolve_device(device: str) -> str:
    """Returns "cpu", "cuda" or "cuda:INDEX" for a device flag; "auto" picks what there is.

    Raises:
        UsageError: the device is not known or this machine has none.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise UsageError(f"Unknown device {device!r}. Allowed: auto, cpu, cuda, cuda:INDEX.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "This machine offers PyTorch no CUDA device. Use --device cpu, or install a CUDA build "
            "of PyTorch and a driver that fits it (`dva doctor` shows what is there)."
        )
    if index and int(index) >= torch.cuda.device_count():
        raise UsageError(
            f"Device {device!r} does not exist. This machine has {torch.cuda.device_count()} "
            "CUDA device(s), counted from 0."
        )
    return device


def default_config(task: str, algo: str = "dva", preset: str | None = None, **changes: Any):
    """Returns the configuration of a preset.

    Args:
        preset: "paper", "cpu" or "fast"; none: "paper" on a GPU, "cpu" elsewhere.
        changes: fields of `TrainConfig` or of the algorithm's own configuration.

    Raises:
        UsageError: the task, the algorithm, the preset or a field is not known.
    """
    from dva.learning import ALGORITHMS, PRESETS
    from dva.learning import preset as learner_preset

    require_task(task)
    require_known("algorithm", algo, ALGORITHMS)
    if preset is None:
        on_gpu = resolve_device(changes.get("device", "auto")).startswith("cuda")
        preset = "paper" if on_gpu else "cpu"
    require_known("preset", preset, PRESETS)
    try:
        observe = changes.get("observe")
        learner = learner_preset(algo, task, preset, observe)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(str(error)) from error
    run_fields = {field.name for field in dataclasses.fields(TrainConfig)}
    learner_fields = {field.name for field in dataclasses.fields(learner)}
    for name in changes:
        require_known("field", name, run_fields | learner_fields)
    own = {name: value for name, value in changes.items() if name in run_fields}
    rest = {name: value for name, value in changes.items() if name not in run_fields}
    try:
        learner = dataclasses.replace(learner, **rest)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return TrainConfig(task=task, algo=algo, preset=preset, learner=learner, **own)


def require_task(task: str) -> None:
    """Makes sure that there is a task of this name; see `dva.tasks.get`.

    Raises:
        UsageError: there is none; the text lists all and suggests the closest.
    """
    from dva.tasks import get

    try:
        get(task)
    except ValueError as error:
        raise UsageError(str(error)) from error


def config_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Returns the configuration as plain values that YAML can hold (tuples become lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        return str(value) if isinstance(value, Path) else value

    return plain(dataclasses.asdict(config))


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Rebuilds a configuration that `config_to_dict` wrote.

    Raises:
        UsageError: a name or a field is not known to this version.
    """
    values = dict(values)
    base = default_config(values["task"], values["algo"], values["preset"])
    return _fill(base, values)


def _fill(base: Any, values: Mapping[str, Any]) -> Any:
    """Copies values into a dataclass, taking the kind of container from its default."""
    changes: dict[str, Any] = {}
    allowed = [field.name for field in dataclasses.fields(base)]
    for name, value in values.items():
        require_known("field of the stored configuration", name, allowed)
        default = getattr(base, name)
        if dataclasses.is_dataclass(default):
            value = _fill(default, value)
        elif isinstance(value, list) and not isinstance(default, list):
            value = tuple(value)
        elif name == "run_dir" and value is not None:
            value = Path(str(value))
        changes[name] = value
    return dataclasses.replace(base, **changes)
