"""Names and descriptions of tasks and algorithms, read from their files without importing them.

Importing them loads torch, Warp and MuJoCo, which takes seconds that a list does not need.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["algorithms", "presets", "tasks"]

PACKAGE = Path(__file__).parent.parent


def tasks() -> dict[str, str]:
    """Returns the description of every task of the package by its name."""
    found = {}
    for tree in _trees("tasks"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                fields = _fields(node)
                if fields.get("name") and "description" in fields:
                    found[fields["name"]] = fields["description"]
    return dict(sorted(found.items()))


def algorithms() -> dict[str, str]:
    """Returns the description of every algorithm of the package by its name."""
    found = {}
    for tree in _trees("learning"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "AlgorithmEntry":
                name, description = (ast.literal_eval(value) for value in node.args[:2])
                found[name] = description
    return dict(sorted(found.items()))


def presets() -> dict[str, str]:
    """Returns what each preset is for, by its name."""
    tree = ast.parse((PACKAGE / "learning" / "algorithm.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PRESETS":
            return ast.literal_eval(node.value)
    raise RuntimeError("learning/algorithm.py assigns no PRESETS.")


def _trees(room: str) -> Iterator[ast.Module]:
    for path in sorted((PACKAGE / room).rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"))


def _fields(node: ast.ClassDef) -> dict[str, str]:
    """Returns the fields of a class whose defaults are texts."""
    return {
        statement.target.id: statement.value.value
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    }
