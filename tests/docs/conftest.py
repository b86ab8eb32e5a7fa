"""What tests of pages and examples share."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from dva.compute import plugins
from dva.learning import registry as algorithms
from dva.learning.first_order import action_gradient
from dva.sim import registry as simulators
from dva.tasks import registry

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forgets afterwards what pages and the files of examples/ registered."""
    lists: list[dict[str, Any]] = [
        registry._TASKS.entries,  # type: ignore[list-item]
        algorithms._ALGORITHMS.entries,  # type: ignore[list-item]
        simulators._SIMULATORS.entries,  # type: ignore[list-item]
        action_gradient._ESTIMATORS.entries,  # type: ignore[list-item]
        gymnasium.registry,  # type: ignore[list-item]
    ]
    monkeypatch.setattr(plugins, "_TRUSTED", set(plugins._TRUSTED))
    before, modules = [dict(known) for known in lists], set(sys.modules)
    yield
    for known, entries in zip(lists, before, strict=True):
        known.clear()
        known.update(entries)
    for path in EXAMPLES.glob("*.py"):
        if path.stem in sys.modules and path.stem not in modules:
            del sys.modules[path.stem]
