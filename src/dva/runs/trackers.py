"""Trackers: services that collect the metrics of many runs, told of each iteration of a run.

They are extras, imported when they are asked for. A fault of one is said once and ends it, never
the training: everything is in the run's own folder as well.
"""

import importlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from dva.compute.errors import UsageError, one_line, require_known
from dva.runs.config import config_to_dict
from dva.runs.files import read_json_object, write_json
from dva.runs.run import Run

__all__ = ["TRACKERS", "Tracking", "require_tracker", "tracking"]

PROJECT = "dva"
"""Name of the project or experiment that runs are collected in."""
PATIENCE = 30
"""Seconds that a tracker may keep training waiting at its start and at its end."""
_MOST_PARAMS = 100
"""Parameters that MLflow takes at once."""
FILE = "trackers.json"
"""In a run's folder: what each tracker calls the run, so that a resumed one goes on there."""


class _Tracker(Protocol):
    identity: str
    """What the tracker calls the run."""

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Takes the metrics of one iteration."""
        ...

    def close(self, evaluation: Mapping[str, Any] | None, finished: bool) -> None:
        """Takes the evaluation, if one was made, and ends the session."""
        ...


class _Wandb:
    """Weights & Biases; WANDB_MODE=offline keeps everything in the run's folder."""

    module = "wandb"

    def __init__(self, run: Run, known: str | None) -> None:
        wandb = importlib.import_module(self.module)
        settings = wandb.Settings(
            silent=True, console="off", init_timeout=PATIENCE, finish_timeout=PATIENCE,
            finish_timeout_raises=True,
        )  # fmt: skip
        self._run = wandb.init(
            project=PROJECT, name=run.name, id=known, resume="allow", dir=str(run.path),
            config=config_to_dict(run.config), settings=settings,
        )  # fmt: skip
        self.identity = str(self._run.id)

    @classmethod
    def require(cls) -> None:
        """Makes sure that nobody has to be asked for a key in the middle of a training."""
        wandb = importlib.import_module(cls.module)
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
            raise UsageError(
                "Weights & Biases has no API key here: give one with `wandb login`, or keep "
                "everything in the run's folder with WANDB_MODE=offline."
            )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self, evaluation: Mapping[str, Any] | None, finished: bool) -> None:
        self._run.summary.update(_evaluation_numbers(evaluation))
        self._run.finish(exit_code=0 if finished else 1)


class _Mlflow:
    """MLflow; without MLFLOW_TRACKING_URI everything is kept in the run's folder, in mlruns/."""

    module = "mlflow"

    def __init__(self, run: Run, known: str | None) -> None:
        mlflow = importlib.import_module(self.module)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE // 3))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        self._entities = importlib.import_module("mlflow.entities")
        # Chosen by the environment's variable, or else local.
        place = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else _local(run.path)
        self._client = mlflow.MlflowClient(tracking_uri=place)
        self._told = 0
        if known is None:
            found = self._client.get_experiment_by_name(PROJECT)
            experiment = (
                self._client.create_experiment(PROJECT) if found is None else found.experiment_id
            )
            made = self._client.create_run(experiment, run_name=run.name)
            self.identity = str(made.info.run_id)
            flat = _flat(config_to_dict(run.config)).items()
            params = [self._entities.Param(name, str(value)) for name, value in flat]
            for start in range(0, len(params), _MOST_PARAMS):
                part = params[start : start + _MOST_PARAMS]
                self._client.log_batch(self.identity, params=part)
        else:
            self.identity = known
            self._client.update_run(known, status="RUNNING")
            history = self._client.get_metric_history(known, "env_steps")
            self._told = max((metric.step for metric in history), default=0)

    @classmethod
    def require(cls) -> None:
        """Needs nothing but its package."""
        importlib.import_module(cls.module)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        if step <= self._told:  # computed once more after a kill, with the same result
            return
        self._told = step
        self._send(numbers, step)

    def _send(self, numbers: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(name, x, now, step) for name, x in numbers.items()]
        self._client.log_batch(self.identity, metrics=metrics)

    def close(self, evaluation: Mapping[str, Any] | None, finished: bool) -> None:
        numbers = _evaluation_numbers(evaluation)
        if numbers:
            self._send(numbers, self._told)
        self._client.set_terminated(self.identity, "FINISHED" if finished else "KILLED")


TRACKERS = {"wandb": _Wandb, "mlflow": _Mlflow}
"""Trackers by the name that `dva train --track` takes, which is also that of their extra."""


def require_tracker(name: str) -> None:
    """Makes sure that a tracker can be used.

    Raises:
        UsageError: it is not known, its package is missing, or it would have to ask for a key.
    """
    tracker = TRACKERS[require_known("tracker", name, TRACKERS)]
    try:
        tracker.require()
    except ImportError as error:
        raise UsageError(
            f"The tracker {name} needs its package ({one_line(error)}). Install it: pip install "
            f"'dva-rl[{name}]', in a checkout pip install -e '.[{name}]'."
        ) from error


class Tracking:
    """Tells a tracker of a run, until it fails.

    Args:
        name: of `TRACKERS`; None: nobody is told.
        run: the run.
        say: takes a line about a fault.
    """

    def __init__(self, name: str | None, run: Run, say: Any) -> None:
        self._name, self._say = name, say
        self._tracker: _Tracker | None = None
        self.evaluation: Mapping[str, Any] | None = None
        self.finished = False
        """Whether the session ends as planned."""
        if name is not None:
            with self._dispensable():
                self._tracker = self._open(name, run)

    def log(self, row: Mapping[str, Any]) -> None:
        """Takes a row of the metrics."""
        numbers = {
            name: float(x) for name, x in row.items() if x is not None and name != "iteration"
        }
        if self._tracker is not None:
            with self._dispensable():
                self._tracker.log(numbers, row["iteration"])

    def close(self) -> None:
        """Ends the session of the tracker."""
        if self._tracker is not None:
            with self._dispensable():
                self._tracker.close(self.evaluation, self.finished)
        self._tracker = None

    @staticmethod
    def _open(name: str, run: Run) -> _Tracker:
        path = run.path / FILE
        known = read_json_object(path) if path.is_file() else {}
        tracker = TRACKERS[name](run, known.get(name))
        if known.get(name) != tracker.identity:
            write_json(path, {**known, name: tracker.identity})
        return tracker

    @contextmanager
    def _dispensable(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever it is: training has taken longer
            self._tracker = None
            text = one_line(error) or type(error).__name__
            self._say(f"{self._name} is told no more; training goes on: {text:.300}.")


@contextmanager
def tracking(name: str | None, run: Run, say: Any) -> Iterator[Tracking]:
    """Opens a `Tracking`, and closes it however training ends."""
    found = Tracking(name, run, say)
    try:
        yield found
    finally:
        found.close()


def _local(path: Path) -> str:
    """Names the place for files in a run's folder, which MLflow only takes when it is told to."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    return (path / "mlruns").absolute().as_uri()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Names nested values by their path, joined by points."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def _evaluation_numbers(evaluation: Mapping[str, Any] | None) -> dict[str, float]:
    names = ("mean", "std", "episode_length")
    return {} if evaluation is None else {f"evaluation_{x}": evaluation[x] for x in names}
