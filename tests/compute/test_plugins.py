"""What users register in modules of their own is found as MODULE:NAME."""

from pathlib import Path

import pytest

from dva.compute.plugins import find_registered

KNOWN = {"hopper": 1, "ant": 2}


def find(name: str) -> int:
    return find_registered("task", name, KNOWN, "Register it.")


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
