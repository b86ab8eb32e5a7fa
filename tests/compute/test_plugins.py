"""What users register in modules of their own is found as MODULE:NAME."""

import builtins
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dva.compute.plugins import Registry, module_file, module_of


def find(name: str) -> int:
    known = Registry[int]("task", "Register it.")
    known.add("hopper", 1)
    known.add("ant", 2)
    return known.get(name)


def test_a_name_is_taken_once_unless_it_is_replaced() -> None:
    known = Registry[int]("task", "Register it.")
    known.add("ant", 2)
    known.add("ant", 2)  # the same again, as when a module is imported anew
    with pytest.raises(ValueError, match="The task 'ant' exists already.*replace=True"):
        known.add("ant", 3)
    known.add("ant", 3, replace=True)
    assert known.get("ant") == 3 and known.names() == ["ant"]
    with pytest.raises(ValueError, match="'a:b' of this task is not allowed"):
        known.add("a:b", 1)


def test_a_known_name_is_found() -> None:
    assert find("ant") == 2


def test_an_unknown_name_is_suggested_and_the_way_to_register_said() -> None:
    with pytest.raises(ValueError, match="task 'hoper'.* Did you mean 'hopper'.*Register it"):
        find("hoper")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no such/thing:ant", "does not begin with the name of a module"),
        ("no_such_module_at_all:ant", "cannot be imported.* in the folder you work in"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find(name)


def test_a_module_with_a_mistake_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plugin.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="broken_plugin.*cannot be imported"):
        find("broken_plugin:ant")


MODULES = {
    "plugin_own": "registry_.add('crab', 1)\n",
    "plugin_none": "import dva.tasks\n",
    "plugin_outer": "import plugin_own\n",
    "plugin_helper": "def put(name, value):\n    registry_.add(name, value)\n",
    "plugin_through": "import plugin_helper\nplugin_helper.put('newt', 2)\n",
}


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[int]]:
    """A list that modules in a folder add to; "ant" is in it already."""
    known = Registry[int]("task", "Register it.")
    known.add("ant", 0)
    known._modules["ant"] = ["dva.tasks.ant", "dva.tasks"]  # as if built in
    monkeypatch.setattr(builtins, "registry_", known, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    yield known
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("module", ["os", "plugin_none"])
def test_a_module_that_registers_nothing_is_refused(known: Registry[int], module: str) -> None:
    with pytest.raises(ValueError) as error:
        known.get(f"{module}:ant")
    assert str(error.value) == (
        f"Unknown task '{module}:ant'. The module '{module}' registers no task. Did you mean "
        "'ant'? Known: ant. Register it."
    )


def test_a_name_is_found_by_the_module_that_adds_it_again_and_again(known: Registry[int]) -> None:
    for _ in range(2):
        assert known.get("plugin_own:crab") == known.get("crab") == 1
        assert known.get("dva.tasks:ant") == known.get("dva.tasks.ant:ant") == 0
        assert known.get("plugin_through:newt") == 2
    with pytest.raises(ValueError, match="module 'plugin_own' registers: crab. Did you mean 'ant'"):
        known.get("plugin_own:ant")
    with pytest.raises(ValueError, match="Did you mean 'plugin_own:crab'"):
        known.get("plugin_own:crap")
    with pytest.raises(ValueError, match="Known: ant, plugin_own:crab, plugin_through:newt. Reg"):
        known.get("lizard")


def test_a_module_may_import_the_one_that_adds_a_name(known: Registry[int]) -> None:
    assert known.get("plugin_outer:crab") == known.get("plugin_outer:crab") == 1
    assert known.get("plugin_own:crab") == 1


def test_what_imports_the_package_does_not_own_what_it_registers(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("import dva.tasks\n")
    code = (
        "import first\nfrom dva import tasks\n"
        "assert tasks.get('dva.tasks.ant:ant') == tasks.get('ant')\n"
        "try: tasks.get('first:ant')\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert "The module 'first' registers no task. Did you mean 'ant'?" in done.stdout, done.stderr


def test_a_variant_of_a_built_in_task_belongs_to_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dva import tasks
    from dva.tasks import registry

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry._TASKS, "entries", dict(registry._TASKS.entries))
    (tmp_path / "plugin_variant.py").write_text(
        "import dataclasses\nfrom dva.tasks import get, register\n"
        "register(dataclasses.replace(get('ant'), name='ant-twin'))\n"
    )
    assert tasks.get("plugin_variant:ant-twin") == tasks.get("plugin_variant:ant-twin")
    del sys.modules["plugin_variant"]
    assert tasks.get("plugin_variant:ant-twin").name == "ant-twin"  # imported anew
    with pytest.raises(ValueError, match="Did you mean 'ant'"):
        tasks.get("plugin_variant:ant")
    del sys.modules["plugin_variant"]


def test_a_module_is_found_in_the_working_folder_after_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [x for x in sys.path if x])
    before = list(sys.path)
    (tmp_path / "plugin_here.py").write_text("import sys\nplaces = list(sys.path)\n")
    (tmp_path / "plugin_fails.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match="registers no task"):
        find("plugin_here:ant")
    assert vars(sys.modules["plugin_here"])["places"] == [*before, str(tmp_path)]
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        find("plugin_fails:ant")
    assert sys.path == before
    del sys.modules["plugin_here"]


def test_the_file_of_a_module_is_found_without_running_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "plugin_package"
    package.mkdir()
    for name in ("__init__", "inner"):
        (package / f"{name}.py").write_text("raise AssertionError\n")
    (tmp_path / "json.py").write_text("raise AssertionError\n")
    assert module_file("plugin_package") == package / "__init__.py"
    assert module_file("plugin_package.inner") == package / "inner.py"
    assert module_file("plugin_package.none") == package / "__init__.py"
    assert module_file("no_such_module_at_all") is None
    found = module_file("json")  # of the standard library, which comes first
    assert found is not None and found.parent.name == "json"


def test_a_name_has_a_module_and_a_rest() -> None:
    assert module_of("a.b:c-d") == "a.b"
    for other in ("ant", "a:", ":b", "a b:c", "a/b:c", "a:b:c", "1:2", "", 3, None):
        assert module_of(other) is None
