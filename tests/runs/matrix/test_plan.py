"""What a matrix of runs consists of, how it is stored, and what may be added to it."""

from pathlib import Path
from typing import Any

import pytest

from dva.runs import UsageError
from dva.runs.matrix.plan import (
    EVERY,
    MATRIX,
    UNLIMITED,
    Cell,
    Matrix,
    extend,
    read_matrix,
    read_options,
    write_matrix,
)
from dva.runs.matrix.workers import share_cores

FOLDER = Path("folder")


def matrix(**changes: Any) -> Matrix:
    values: dict[str, Any] = {
        "tasks": ("cartpole", "hopper"), "algos": ("dva", "shac"), "seeds": 2, "device": "cpu",
        "threads": 3, "env_steps": 100,
    }  # fmt: skip
    return Matrix(**{**values, **changes})


def test_seeds_are_outermost():
    assert [cell.name for cell in matrix().cells()] == [
        f"{task}-{algo}-s{seed}"
        for seed in (0, 1)
        for task in ("cartpole", "hopper")
        for algo in ("dva", "shac")
    ]


def test_names_leave_modules_out():
    assert Cell("mine:slide", "others:search", 7).name == "slide-search-s7"


def test_flags_of_a_run():
    own = {"horizon": "8", "guide": "false", "actor-hidden": "8 4", "cap": "true"}
    options = {EVERY: {"image-size": "32", "horizon": "4"}, "dva": own}
    flags = matrix(options=options, preset="cpu").flags(Cell("hopper", "dva", 1))
    assert " ".join(flags) == (
        "hopper --video-interval 0 --image-size 32 --horizon 8 --no-guide --actor-hidden 8 4 --cap "
        "--algo dva --seed 1 --device cpu --threads 3 --preset cpu --env-steps 100"
    )
    assert "--horizon 4" in " ".join(matrix(options=options).flags(Cell("hopper", "shac", 1)))


def test_minutes_leave_steps_open():
    flags = matrix(env_steps=None, minutes=0.1).flags(Cell("hopper", "dva", 0))
    assert flags[-4:] == ["--minutes", "0.1", "--env-steps", str(UNLIMITED)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tasks": ()}, "tasks is (); it must be one name or more"),
        ({"algos": ("dva", "dva")}, "each of them once"),
        ({"seeds": 0}, "seeds is 0; it must be 1 or more"),
        ({"threads": 0}, "threads is 0"),
        ({"device": "cuda:1"}, "device is 'cuda:1'; it must be cpu or cuda"),
        ({"env_steps": 0}, "env_steps is 0; it must be greater than 0"),
        ({"minutes": 1.0}, "either minutes or env-steps"),
        ({"env_steps": None}, "either minutes or env-steps"),
        ({"tasks": ("a:one", "b:one")}, "share the folder one-dva-s0"),
        ({"options": {"dva": {"seed": "1"}}}, "The flag seed is set by the benchmark itself"),
    ],
)
def test_what_cannot_be_is_refused(changes, text):
    with pytest.raises(ValueError) as error:
        matrix(**changes)
    assert text in str(error.value)


def test_tasks_algorithms_and_seeds_may_be_added():
    stored = matrix(options={"dva": {"horizon": "8"}})
    more = extend(
        stored,
        {
            "tasks": ("ant", "hopper", "cartpole"), "algos": ("dva", "shac", "ppo"), "seeds": 5,
            "env_steps": 100, "minutes": None, "options": {"ppo": {"clip": "1"},
            "dva": {"horizon": "8"}},
        },
        FOLDER,
    )  # fmt: skip
    assert (more.tasks, more.algos) == (("cartpole", "hopper", "ant"), ("dva", "shac", "ppo"))
    assert more.seeds == 5
    assert more.options == {"dva": {"horizon": "8"}, "ppo": {"clip": "1"}}
    assert extend(stored, {}, FOLDER) == stored


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tasks": ("hopper",)}, "has tasks = cartpole hopper; it cannot go on with hopper."),
        ({"algos": ("dva", "ppo")}, "has algos = dva shac"),
        ({"seeds": 1}, "has seeds = 2"),
        ({"env_steps": 200}, "has env-steps = 100; it cannot go on with 200"),
        ({"minutes": 2.0}, "has minutes = None"),
        ({"threads": 1}, "has threads = 3"),
        ({"device": "cuda"}, "has device = cpu"),
        ({"preset": "fast"}, "has preset = None"),
        ({"options": {"dva": {"horizon": "9"}}}, "has options of dva = {'horizon': '8'}"),
        ({"options": {"dva": {"image-size": "9"}}}, "has options of dva"),
        ({"options": {EVERY: {"image-size": "9"}}}, "has options of every = {}"),
    ],
)
def test_another_matrix_is_refused(given, text):
    with pytest.raises(UsageError) as error:
        extend(matrix(options={"dva": {"horizon": "8"}}), given, FOLDER)
    assert text in str(error.value)
    assert "folder" in str(error.value) and "another --output" in str(error.value)


def test_a_matrix_comes_back_from_its_file(tmp_path):
    folder = tmp_path / "new" / "folder"
    assert read_matrix(folder) is None
    stored = matrix(minutes=0.1, env_steps=None, options={"dva": {"guide": "false", "n": "8 4"}})
    write_matrix(folder, stored)
    assert read_matrix(folder) == stored
    assert [path.name for path in folder.iterdir()] == [MATRIX]


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / f".{MATRIX}.1.tmp").touch()  # of a process that was killed
    assert read_matrix(tmp_path) is None
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UsageError, match="is not empty, and there is no benchmark.yaml in it"):
        read_matrix(tmp_path)
    with pytest.raises(UsageError, match="thesis.txt is a file"):
        read_matrix(tmp_path / "thesis.txt")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("format: 9\n", "its format is 9, this version reads 1"),
        ("- 1\n", "its format is None"),
        ("format: 1\nmatrix:\n  tasks: [hopper]\n", "matrix lacks algos"),
        ("format: [1\n", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, text):
    (tmp_path / MATRIX).write_text(content)
    with pytest.raises(UsageError) as error:
        read_matrix(tmp_path)
    assert text in str(error.value) and str(tmp_path / MATRIX) in str(error.value)


def test_options_of_one_algorithm_and_of_all():
    texts = ["image-size=32", "dva.actor_hidden=8 4", "dva.--guide=false", "a:b.c=1", "env.x=1=2"]
    assert read_options(texts, ["dva", "a:b"]) == {
        EVERY: {"image-size": "32", "env.x": "1=2"},
        "dva": {"actor-hidden": "8 4", "guide": "false"},
        "a:b": {"c": "1"},
    }


@pytest.mark.parametrize("text", ["image-size", "=3", "dva.=3", "dva.horizon= "])
def test_what_is_no_option_is_refused(text):
    with pytest.raises(UsageError, match="is no FLAG=VALUE"):
        read_options([text], ["dva"])


def test_cores_are_shared_evenly():
    assert share_cores([0, 1, 2, 3, 8], 2, 2) == [[0, 1], [2, 3]]
    assert share_cores([5], 1, 1) == [[5]]
    with pytest.raises(
        UsageError, match=r"2 job\(s\) of 3 thread\(s\) each need 6 cores, and 5 are"
    ):
        share_cores(range(5), 2, 3)
