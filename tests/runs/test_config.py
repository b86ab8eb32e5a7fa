"""Configurations survive YAML, and wrong values are named with what is allowed."""

from pathlib import Path

import pytest
import yaml

from dva.runs import UsageError, default_config
from dva.runs.config import config_from_dict, config_to_dict, resolve_device


def test_yaml_round_trip():
    config = default_config(
        "hopper", preset="cpu", actor_hidden=(8, 4), minutes=1.5, run_dir=Path("x"), seed=3
    )
    text = yaml.safe_dump(config_to_dict(config))
    assert config_from_dict(yaml.safe_load(text)) == config


def test_environment_steps_become_whole_iterations():
    config = default_config("cartpole", preset="cpu", num_envs=4, horizon=8)
    config.set_env_steps(33)
    assert config.planned_iterations == 2
    assert config.last_iteration == 2
    config.stop_at = 1
    assert config.last_iteration == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "cartpol"}, "Did you mean 'cartpole'"),
        ({"task": "cartpole", "algo": "dvaa"}, "Unknown algorithm 'dvaa'. Did you mean 'dva'"),
        ({"task": "cartpole", "preset": "gpu"}, "Allowed: cpu, fast, paper"),
        ({"task": "cartpole", "horizen": 3}, "Did you mean 'horizon'"),
        ({"task": "cartpole", "horizon": 0}, "horizon is 0"),
    ],
)
def test_wrong_names_and_values(arguments, message):
    with pytest.raises(UsageError, match=message):
        default_config(**arguments)


@pytest.mark.parametrize(
    "changes", [{"minutes": 0.0}, {"stop_at": -1}, {"checkpoint_interval": 0}, {"seed": -1}]
)
def test_ranges(changes):
    with pytest.raises(UsageError, match=r"it must be"):
        default_config("cartpole", preset="cpu", **changes).validate()


def test_devices():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda")
    with pytest.raises(UsageError, match="Allowed: auto, cpu, cuda"):
        resolve_device("gpu")
    with pytest.raises(UsageError, match="Allowed"):
        resolve_device("cpu:1")
