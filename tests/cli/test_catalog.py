"""The list that is read from the source says what importing it would say."""

import subprocess
import sys

from dva import learning, tasks
from dva.cli import catalog
from dva.learning.algorithm import PRESETS


def test_tasks_are_those_that_are_registered() -> None:
    found = catalog.tasks()
    assert found and set(found) <= set(tasks.names())
    packaged = {n for n in tasks.names() if type(tasks.get(n)).__module__.startswith("dva.")}
    derived = {n for n in packaged if type(tasks.get(n))().name != n}  # variants made by tests
    assert set(found) == packaged - derived
    assert all(tasks.get(name).description == text for name, text in found.items())


def test_algorithms_are_those_that_are_registered() -> None:
    found = catalog.algorithms()
    assert {"dva", "shac"} <= set(found) <= set(learning.names())
    assert all(learning.get(name).description == text for name, text in found.items())


def test_presets_are_those_of_the_algorithms() -> None:
    assert catalog.presets() == PRESETS
    assert learning.get("dva").presets == tuple(PRESETS)


def test_listing_imports_neither_torch_nor_warp() -> None:
    code = (
        "import sys; from dva.cli import main; status = main(['list']); "
        "heavy = {'torch', 'warp', 'mujoco', 'gymnasium'} & set(sys.modules); "
        "print(sorted(heavy), file=sys.stderr); sys.exit(status or len(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cartpole" in done.stdout
