"""What `import dva` alone gives."""

import pytest

import dva


def test_rooms_are_found_as_the_documentation_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("tasks", "sim", "learning", "runs", "envs", "sensors"):
        monkeypatch.delattr(dva, room, raising=False)
    assert "cartpole" in dva.tasks.names()
    assert callable(dva.sim.register_simulator) and callable(dva.learning.register)
    assert dva.runs.Run and dva.envs.GymnasiumVectorEnv and dva.sensors.Sensor
    assert {"make", "tasks", "runs"} <= set(dir(dva))
    with pytest.raises(AttributeError, match="no attribute 'task'"):
        _ = dva.task  # type: ignore[attr-defined]
