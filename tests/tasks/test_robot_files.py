"""A task's own robot file is found beside the file of the task."""

import importlib

import pytest

from dva import robots
from dva.tasks import Task
from dva.tasks.cartpole import Cartpole

MODULE = """
from dataclasses import dataclass
from dva.tasks.cartpole import Cartpole

@dataclass(frozen=True)
class Own(Cartpole):
    name: str = "own"
    robot: str = "robots/mine.xml"
"""
CHILD = """
from dataclasses import dataclass
from {module} import Own

@dataclass(frozen=True)
class Child(Own):
    name: str = "child"
"""


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Makes the folders "code" with a task's file, and "work", where we work."""
    code, work = tmp_path / "code", tmp_path / "work"
    for folder in (code, work):
        (folder / "robots").mkdir(parents=True)
    name = f"robot_files_{tmp_path.name}".replace("-", "_")
    (code / f"{name}.py").write_text(MODULE)
    (work / f"{name}_child.py").write_text(CHILD.format(module=name))
    monkeypatch.syspath_prepend(code)
    monkeypatch.syspath_prepend(work)
    monkeypatch.chdir(work)
    return code, work, name


def test_beside_the_task_first_and_then_in_the_working_folder(places):
    code, work, name = places
    task: Task = importlib.import_module(name).Own()
    text = robots.mjcf_path("cartpole").read_text()
    (work / "robots" / "mine.xml").write_text(text)
    assert task.mjcf == work / "robots" / "mine.xml"
    (code / "robots" / "mine.xml").write_text(text)
    assert task.mjcf == code / "robots" / "mine.xml"
    (work / "robots" / "mine.xml").unlink()
    child: Task = importlib.import_module(f"{name}_child").Child()
    assert child.mjcf == code / "robots" / "mine.xml"  # beside the class that it inherits from


def test_a_missing_file_names_the_places_that_were_tried(places):
    code, work, name = places
    task: Task = importlib.import_module(name).Own()
    with pytest.raises(ValueError, match="Task 'own': There is no robot file") as caught:
        _ = task.mjcf
    text = str(caught.value)
    assert f"{code}/robots/mine.xml and {work}/robots/mine.xml" in text and "\n" not in text


def test_tasks_of_the_package_do_not_look_into_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no robot file 'cartpole.xml'"):
        _ = Cartpole(robot="cartpole.xml").mjcf
    absolute = robots.mjcf_path("cartpole")
    assert Cartpole(robot=str(absolute)).mjcf == absolute
