"""What users register in modules of their own is found as MODULE:NAME."""

from pathlib import Path

import pytest

from dva.compute.plugins import Registry


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


def test_a_module_with_a_mistake_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="broken_plugin.*cannot be imported"):
        find("broken_plugin:ant")
