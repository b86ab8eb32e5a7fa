"""A folder of somebody else's runs no code by being opened, unless the user says so."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dva import runs
from dva.cli import main
from dva.compute import plugins
from dva.learning import registry as algorithms
from dva.learning.first_order import action_gradient
from dva.runs import Run, UsageError
from dva.runs.matrix.plan import MATRIX, Matrix, read_matrix, write_matrix
from dva.runs.matrix.workers import Job, launch
from dva.runs.nan_guard import dump_nonfinite
from dva.runs.trust import require_trust
from dva.sim import registry as simulators
from dva.studies.peak_memory import ROUTES, measure_apart
from dva.tasks import registry

pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment")  # of tests before
STEPS = 4 * 4
CODE = """
from pathlib import Path
import dataclasses
from dva import tasks
with (Path(__file__).parent / "ran").open("a") as file:
    file.write(__name__ + " ")
tasks.register(dataclasses.replace(tasks.get("cartpole"), name="stranger"), replace=True)
"""
MODULE = "code_of_a_stranger"
NAME = f"{MODULE}:stranger"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder one works in, with a module that tells when it is run."""
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_TRUSTED", set())
    monkeypatch.setattr(sys, "path", [x for x in sys.path if x not in ("", str(tmp_path))])
    for known in (
        registry._TASKS, algorithms._ALGORITHMS, simulators._SIMULATORS, action_gradient._ESTIMATORS
    ):  # fmt: skip
        monkeypatch.setattr(known, "entries", dict(known.entries))
    yield tmp_path
    sys.modules.pop(MODULE, None)


@pytest.fixture
def stored(here: Path, tiny: Callable[..., runs.TrainConfig]) -> Callable[[str, str], Path]:
    """Makes a run whose stored configuration names code in one of its fields."""
    outcome = runs.train(tiny(stop_at=STEPS, actor_hidden=(8,), trunk_size=4))

    def change(part: str, field: str) -> Path:
        path = here / f"of-{part}-{field}"
        shutil.copytree(outcome.run.path, path)
        values = yaml.safe_load((path / "config.yaml").read_text())
        (values["config"][part] if part else values["config"])[field] = NAME
        (path / "config.yaml").write_text(yaml.safe_dump(values))
        return path

    return change


def refused(line: list[str], capsys: pytest.CaptureFixture, here: Path) -> str:
    """Gives a command that must not import the module; returns what it says."""
    assert main(line) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--trust-code" in err
    assert NAME in err and f"would import {here / MODULE}.py" in err
    assert not (here / "ran").exists() and MODULE not in sys.modules
    assert str(here) not in sys.path and "" not in sys.path
    return err


FIELDS = [("env", "task"), ("", "algo"), ("env", "simulator"), ("algorithm", "action_gradient")]


def test_no_command_imports_what_a_stored_configuration_names(stored, here, capsys):
    for part, field in FIELDS:
        path = str(stored(part, field))
        for line in (
            ["eval", path, "--episodes", "1", "--device", "cpu"],
            ["train", "--resume", path],
            ["compare", path],
            ["report", path, "-o", str(here / "report.html")],
            ["export", path, str(here / "policy.onnx")],
            ["transfer", path, "--episodes", "1"],
            ["study", "visual-shac", "--runs", path],
        ):
            err = refused(line, capsys, here)
            assert f"{path}/config.yaml: " in err and f"{field} is " in err
        with pytest.raises(UsageError, match="trust_code=True"):
            runs.load_policy(path)
        with pytest.raises(UsageError, match="trust_code=True"):
            runs.make_env(path)
    expert = ["train", "cartpole", "--algo", "dagger", "--device", "cpu", "--expert"]
    err = refused([*expert, str(here / "of-env-task")], capsys, here)
    assert "The expert cannot be loaded" in err


def test_the_flag_lets_a_stored_task_be_evaluated_resumed_and_compared(stored, here, capsys):
    path = str(stored("env", "task"))
    assert main(["eval", path, "--episodes", "1", "--device", "cpu", "--trust-code"]) == 0
    assert (here / "ran").read_text() == f"{MODULE} "
    assert str(here) not in sys.path
    # Its module is imported: nothing more would be run.
    assert main(["eval", path, "--episodes", "1", "--device", "cpu"]) == 0
    resume = ["train", "--resume", path, "--env-steps", str(2 * STEPS)]
    assert main([*resume, "--stop-at", str(2 * STEPS), "--trust-code"]) == 0
    assert len(Run.open(path).metrics()) == 2


@pytest.mark.parametrize(
    "line",
    [["report", "-o", "report.html"], ["transfer", "--episodes", "1"], ["export", "policy.onnx"]],
    ids=lambda line: line[0],
)
def test_the_flag_lets_a_stored_task_be_carried_away(stored, here, line):
    if line[0] == "export" and not os.environ.get("CI"):
        pytest.importorskip("onnxruntime")
    name, *rest = line
    assert main([name, str(stored("env", "task")), *rest, "--trust-code"]) == 0
    assert (here / "ran").exists() == (name != "report")  # which only reads numbers


def test_python_trusts_by_an_argument_once_in_a_process(stored, here):
    path = stored("env", "task")
    run = Run.open(path, trust_code=True)
    assert not (here / "ran").exists()  # nothing is imported before it is needed
    assert Run.open(path).config == run.config
    with closing(runs.make_env(run, 2, device="cpu", threads=1)) as env:
        assert env.task.name == "stranger"


def test_a_dump_of_the_nan_guard_imports_nothing(here, capsys):
    state = {"joint_q": torch.zeros(1, 2), "joint_qd": torch.zeros(1, 2)}
    state["action"] = torch.zeros(1, 1)
    for info in ({"task": NAME}, {"task": "cartpole", "simulator": NAME}):
        path = dump_nonfinite(here / "nan", "state", state, info)
        err = refused(["doctor", "--replay", str(path)], capsys, here)
        assert err.startswith(f"error: {path.with_suffix('.json')}: ")
    path = dump_nonfinite(here / "nan", "state", state, {"task": NAME})
    assert main(["doctor", "--replay", str(path), "--trust-code"]) == 0
    assert (here / "ran").exists()


def matrix(**changes: Any) -> Matrix:
    values: dict[str, Any] = {
        "tasks": ("cartpole",), "algos": ("dva",), "seeds": 1, "device": "cpu", "threads": 1,
        "env_steps": 16,
    }  # fmt: skip
    return Matrix(**{**values, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": (NAME,)},
        {"algos": (NAME,)},
        {"options": {"dva": {"action-gradient": NAME}}},
        {"options": {"every": {"simulator": f"'{NAME}'"}}},
        {"options": {"every": {"observe": f"state {NAME}"}}},
    ],
)
def test_a_stored_benchmark_imports_nothing(here, capsys, changes):
    write_matrix(here / "benchmark", matrix(**changes))
    refused(["benchmark", "--output", "benchmark"], capsys, here)
    refused(["compare", "benchmark"], capsys, here)
    typed = (f"{MODULE}:other",)
    assert read_matrix(here / "benchmark", typed=typed) == matrix(**changes)


@pytest.mark.parametrize(
    "flags",
    [
        {"action-gradient=mine:own": "3"},
        {"image-size": "32 --resume elsewhere"},
        {"image-size": "32 '--trust-code'"},
        {"--image-size": "32"},
        {"trust-code": "true"},
    ],
)
def test_an_option_of_a_benchmark_is_one_flag(tmp_path, flags):
    with pytest.raises(ValueError, match="one flag with its values|set by the benchmark itself"):
        matrix(options={"every": flags})
    text = yaml.safe_dump({"format": 1, "matrix": {**vars(matrix()), "options": {"every": flags}}})
    (tmp_path / MATRIX).write_text(text.replace("!!python/tuple", ""))
    with pytest.raises(UsageError):
        read_matrix(tmp_path)


def test_only_names_of_modules_count():
    harmless = {
        "algo": "dva", "expert": "runs/a:b", "note": "a: b", "own": "dva.tasks.ant:ant",
        "known": "os:ant", "numbers": [1, None, 2.5], "odd": ["::", ":a", "a:", "1a:b", "a-b:c"],
    }  # fmt: skip
    require_trust(harmless)
    for values in ({"deep": [{"er": "no_module_of_mine:x"}]}, {"no_module_of_mine:x": 1}):
        with pytest.raises(UsageError, match="which is not found now"):
            require_trust(values)


def test_a_typed_name_is_found_in_the_folder_for_a_moment_only(here):
    assert main(["doctor", f"{MODULE}:nothing", "--device", "cpu"]) == 2
    assert (here / "ran").exists()
    assert str(here) not in sys.path and "" not in sys.path


def test_a_stray_file_is_not_taken_for_a_library(here):
    for name in ("ast", "dill", "torch"):
        (here / f"{name}.py").write_text("open('ran', 'w')\n")
    source = str(Path(plugins.__file__).parents[2])
    for start in (["-m", "dva"], ["-c", "import sys; from dva.cli import main; sys.exit(main())"]):
        done = subprocess.run(
            [sys.executable, *(["-P"] if start[0] == "-c" else []), *start, "list"],
            env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0 and "cartpole" in done.stdout, done.stderr
    assert not (here / "ran").exists()


def test_processes_that_commands_start_take_no_stray_file_either(here, monkeypatch):
    for name in ("dva", "dill", "torch", "runpy"):
        (here / f"{name}.py").write_text("open('ran', 'w')\n")
    source = str(Path(plugins.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", source)
    assert launch(Job("run", ("list",), here / "log"), (), {}).wait() == 0
    assert "cartpole" in (here / "log").read_text()
    size = {"num_envs": 1, "horizon": 1, "image_size": 16}
    about = {"task": "cartpole", "seed": 0, "device": "cpu", "state_storage": "full"}
    assert measure_apart(route=next(iter(ROUTES)), **about, **size)
    assert not (here / "ran").exists()
