"""Configurations survive YAML, and wrong values are named with what is allowed."""

import copy
import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dva import learning
from dva.compute.device import resolve_device
from dva.envs import EnvConfig
from dva.learning import DvaConfig, ShacConfig, registry
from dva.runs import RunConfig, UsageError, default_config
from dva.runs.config import config_from_dict, config_to_dict


def stored(**changes: Any) -> dict[str, Any]:
    """What YAML gives back of a configuration."""
    config = default_config("hopper", preset="cpu", **changes)
    return yaml.safe_load(yaml.safe_dump(config_to_dict(config)))


def test_yaml_round_trip():
    config = default_config(
        "hopper", preset="cpu", actor_hidden=(8, 4), minutes=1.5, run_dir=Path("x"), seed=3
    )
    text = yaml.safe_dump(config_to_dict(config))
    assert config_from_dict(yaml.safe_load(text)) == config


@pytest.mark.parametrize("algo", ["dva", "shac"])
@pytest.mark.parametrize("task", ["cartpole", "ant"])
@pytest.mark.parametrize("observe", [None, "state", ("pixels", "joint_angles")])
def test_every_default_comes_back_from_yaml(algo, task, observe):
    config = default_config(task, algo, **({"observe": observe} if observe else {}))
    text = yaml.safe_dump(config_to_dict(config))
    found = config_from_dict(yaml.safe_load(text))
    assert found == config
    assert type(found.algorithm) is {"dva": DvaConfig, "shac": ShacConfig}[algo]


def test_whole_numbers_may_stand_for_numbers():
    values = stored()
    values["algorithm"]["discount"] = 1
    assert config_from_dict(values).algorithm.discount == 1.0
    assert type(config_from_dict(values).algorithm.discount) is float


PARTS = {"": (), "env": ("env",), "algorithm": ("algorithm",), "run": ("run",)}


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_field_is_an_error_that_names_it(part):
    """A default of this version might not be what the run had."""
    names = list(stored()[part] if part else stored())
    assert len(names) >= 5
    for name in names:
        values = stored()
        del (values[part] if part else values)[name]
        with pytest.raises(UsageError, match=rf"{part or 'configuration'} lacks {name}\. "):
            config_from_dict(values)


@pytest.mark.parametrize("part", PARTS)
def test_an_unknown_field_is_an_error_that_names_it(part):
    values = stored()
    (values[part] if part else values)["horizn"] = 3
    with pytest.raises(UsageError, match="has horizn, which this version does not know"):
        config_from_dict(values)


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("env", "num_envs", "64", "env.num_envs is '64'; it must be int"),
        ("env", "num_envs", 64.0, "env.num_envs is 64.0; it must be int"),
        ("env", "num_envs", True, "env.num_envs is True; it must be int"),
        ("env", "num_envs", None, "env.num_envs is None; it must be int"),
        ("env", "task", 3, "env.task is 3; it must be str"),
        ("env", "observe", "pixels", "env.observe is 'pixels'"),
        ("env", "observe", [3], "env.observe is 3; it must be str"),
        ("env", "camera", "soft", "env.camera is 'soft'"),
        ("algorithm", "horizon", "5", "algorithm.horizon is '5'; it must be int"),
        ("algorithm", "horizon", 0, "horizon is 0; it must be between"),
        ("algorithm", "discount", False, "algorithm.discount is False; it must be float"),
        ("algorithm", "adam_betas", [0.7], r"algorithm.adam_betas is \[0.7\]"),
        ("algorithm", "precision", "half", "algorithm.precision is 'half'"),
        ("run", "cuda_graphs", 1, "run.cuda_graphs is 1; it must be bool"),
        ("run", "minutes", "ten", "run.minutes is 'ten'; it must be float"),
        ("run", "run_dir", 3, "run.run_dir is 3; it must be Path"),
    ],
)
def test_a_value_of_another_type_is_an_error_that_names_the_field(part, name, value, message):
    values = stored()
    values[part][name] = value
    with pytest.raises(UsageError, match=message):
        config_from_dict(values)


@pytest.mark.parametrize("part", ["env", "algorithm", "run"])
@pytest.mark.parametrize("value", [None, 3, [], "pixels"])
def test_a_part_that_is_no_mapping_is_an_error_that_names_it(part, value):
    with pytest.raises(UsageError, match=f"{part} is "):
        config_from_dict({**stored(), part: value})


def test_the_last_step_is_planned_or_where_to_stop():
    run = default_config("cartpole", preset="cpu", env_steps=33).run
    assert run.env_steps == run.last_step == 33
    assert dataclasses.replace(run, stop_at=1).last_step == 1
    assert dataclasses.replace(run, stop_at=50).last_step == 33


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "cartpol"}, "Did you mean 'cartpole'"),
        ({"task": "cartpole", "algo": "dvaa"}, "Unknown algorithm 'dvaa'. Did you mean 'dva'"),
        ({"task": "cartpole", "preset": "gpu"}, "preset 'gpu'.*Allowed: cpu, fast, paper"),
        ({"task": "cartpole", "horizen": 3}, "Did you mean 'horizon'"),
        ({"task": "cartpole", "horizon": 0}, "horizon is 0"),
    ],
)
def test_wrong_names_and_values(arguments, message):
    with pytest.raises(UsageError, match=message):
        default_config(**arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"minutes": 0.0}, {"stop_at": -1}, {"checkpoint_interval": 0}, {"seed": -1},
        {"env_steps": 0}, {"minutes": float("nan")}, {"minutes": float("inf")}, {"threads": 0},
        {"video_interval": -1}, {"evaluation_episodes": -1}, {"seed": 2**63},
    ],
)  # fmt: skip
def test_ranges(changes):
    with pytest.raises(UsageError, match=r"it must be"):
        default_config("cartpole", preset="cpu", **changes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("adam_betas", [2.0, 2.0]), ("adam_betas", [float("nan"), 0.5]),
        ("actor_learning_rate", float("nan")), ("actor_learning_rate", float("inf")),
        ("critic_learning_rate", -1.0), ("log_std_init", float("nan")), ("actor_hidden", [-4]),
        ("critic_hidden", [0]), ("max_grad_norm", float("inf")), ("max_grad_norm", float("nan")),
        ("discount", float("nan")), ("seed", 99999999999999999999), ("num_envs", 10**20),
        ("actor_hidden", [10**20]), ("micro_batch", 2**63), ("env_steps", 10**20),
        ("stop_at", 10**20), ("checkpoint_interval", 2**63),
    ],
)  # fmt: skip
def test_a_hyperparameter_that_makes_no_sense_is_refused_by_its_name(name, value):
    flag = name.replace("_", "[-_]")
    with pytest.raises(UsageError, match=rf"{flag} is .*; (it must be|give a whole)"):
        default_config("cartpole", preset="cpu", **{name: value}).validate()


@pytest.mark.parametrize("algo", learning.names())
def test_no_number_of_an_algorithm_may_be_nan(algo):
    kind = learning.get(algo).config
    for field in dataclasses.fields(kind):
        value = getattr(kind(), field.name)
        if isinstance(value, float):
            config = default_config("cartpole", algo)
            with pytest.raises(ValueError, match=f"{field.name} is nan"):
                # Set past the configuration's own checks, as another program may.
                setattr(config.algorithm, field.name, float("nan"))
                config.validate()


def test_a_configuration_shares_nothing_with_what_it_was_read_from():
    values = stored()
    before = copy.deepcopy(values)
    config = config_from_dict(values)
    config.algorithm.horizon = 1
    assert values == before


@pytest.mark.parametrize("available", [True, False])
def test_devices(available, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cpu") == torch.device("cpu")
    auto = torch.device("cuda", 0) if available else torch.device("cpu")
    assert resolve_device("auto") == auto
    if available:
        assert resolve_device("cuda:1") == torch.device("cuda", 1)
        with pytest.raises(ValueError, match=r"'cuda:2', but PyTorch finds 2 CUDA"):
            resolve_device("cuda:2")
    else:
        with pytest.raises(ValueError, match=r"'cuda', but PyTorch finds 0 CUDA"):
            resolve_device("cuda")
    for device in ("gpu", "cpu:1", "meta", ""):
        with pytest.raises(ValueError, match="give 'auto', 'cpu', 'cuda' or 'cuda:INDEX'"):
            resolve_device(device)
        with pytest.raises(UsageError, match="give 'auto', 'cpu', 'cuda' or 'cuda:INDEX'"):
            default_config("cartpole", preset="cpu", device=device).validate()


NOT_STORABLE = [
    ("env_steps", 1e6, "run.env_steps is 1000000.0; it must be int, such as 1000000"),
    ("seed", 1.5, "run.seed is 1.5; it must be int."),
    ("seed", np.int64(3), "run.seed is .*3.*; it must be int, such as 3"),
    ("threads", 2.0, "run.threads is 2.0; it must be int or None"),
    ("nan_guard", 1, "run.nan_guard is 1; it must be bool, such as True"),
    ("device", torch.device("cpu"), "run.device is .*; it must be str"),
    ("horizon", 16.0, "algorithm.horizon is 16.0; it must be int, such as 16"),
    ("discount", np.float64(0.5), "algorithm.discount is .*; it must be float, such as 0.5"),
    ("actor_learning_rate", "1e-3", "algorithm.actor_learning_rate is '1e-3'; it must be float"),
    ("adam_betas", (0.5,), r"adam_betas is \[0.5\]; it must be a tuple of 2: float, float"),
    ("actor_hidden", 8, "actor_hidden is 8; it must be a tuple of int"),
    ("image_size", (48, 64), r"env.image_size is \[48, 64\]; it must be int"),
    ("camera", "soft", "env.camera is 'soft'; it must be 'hard' or 'differentiable'"),
    ("observe", 3, "env.observe is 3; it must be a tuple of str"),
]


@pytest.mark.parametrize(("name", "value", "message"), NOT_STORABLE)
def test_a_value_that_could_not_be_read_again_is_refused_before_training(name, value, message):
    with pytest.raises(UsageError, match=message) as caught:
        default_config("cartpole", preset="cpu", **{name: value})
    assert "\n" not in str(caught.value)
    config = default_config("cartpole", preset="cpu")
    part = next(p for p in (config.env, config.algorithm, config.run) if hasattr(p, name))
    setattr(part, name, value)
    with pytest.raises(UsageError, match=message):
        config.validate()


def test_what_stands_for_a_value_is_taken_for_it():
    config = default_config(
        "cartpole", preset="cpu", actor_hidden=[8], minutes=2, run_dir="x", observe=["state"]
    )
    config.validate()
    assert config.algorithm.actor_hidden == (8,) and config.env.observe == ("state",)
    assert type(config.run.minutes) is float and config.run.run_dir == Path("x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunConfig(seed="1"), "run.seed is '1'; it must be int"),  # type: ignore[arg-type]
        (lambda: RunConfig(minutes="ten"), "it must be float or None"),  # type: ignore[arg-type]
    ],
)
def test_a_part_built_by_itself_names_the_field(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_bare_string_for_what_is_observed_is_refused():
    config = default_config("cartpole", preset="cpu")
    config.env = EnvConfig("cartpole", observe="state")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="env.observe is 'state'; it must be a tuple of str"):
        config.validate()
    config = default_config("cartpole", preset="cpu")
    config.algorithm = ShacConfig()
    with pytest.raises(UsageError, match="algorithm is a ShacConfig; with algorithm dva .*DvaC"):
        config.validate()


MODULE = """
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass
class Net:
    widths: tuple[int, ...] = (8, 4)
    kind: Literal["gru", "mlp"] = "mlp"


@dataclass
class Config:
    net: Net = field(default_factory=Net)
    nets: list[Net] = field(default_factory=lambda: [Net((1,)), Net((2, 3), "gru")])
    by_name: dict[str, float] = field(default_factory=lambda: {"a": 0.5})
    either: int | float | str | None = 0.5
    pairs: tuple[tuple[str, Path], ...] = (("a", Path("b")),)
    optional: Net | None = None
    free: Any = None
    double: int = field(init=False)

    def __post_init__(self) -> None:
        self.double = 2
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module with an algorithm whose configuration has every kind of field, as texts."""
    (tmp_path / "own_config.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry._ALGORITHMS, "entries", dict(registry._ALGORITHMS.entries))
    module = importlib.import_module("own_config")
    dva_entry = learning.get("dva")
    learning.register(dataclasses.replace(dva_entry, name="own", config=module.Config, preset=None))
    yield module
    del sys.modules["own_config"]


def test_every_kind_of_field_comes_back_from_yaml(own):
    for changes in (
        {},
        {"either": 3, "optional": own.Net((5,)), "free": {"x": [1, None, "a"]}},
        {"either": "text", "by_name": {}, "nets": []},
        {"either": None},
    ):
        config = default_config("cartpole", "own", **changes)
        config.validate()
        text = yaml.safe_dump(config_to_dict(config))
        found = config_from_dict(yaml.safe_load(text))
        assert found == config and repr(found) == repr(config)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("net", 3, "algorithm.net is 3; it must hold widths, kind"),
        ("nets", ((),), "must hold widths"),
        ("by_name", {"a": "b"}, r"algorithm.by_name\['a'\] is 'b'; it must be float"),
        ("by_name", {3: 1.0}, "by_name is 3; it must be str"),
        ("either", [1], r"either is \[1\]; it must be int or float or str or None"),
        ("optional", 3, "optional is 3; it must be Net or None"),
        ("free", {1, 2}, "free is .*; it must be made of bool"),
        ("pairs", (("a",),), r"pairs is \['a'\]; it must be a tuple of 2: str, Path"),
    ],
)
def test_a_field_of_any_kind_is_named_with_what_is_allowed(own, name, value, message):
    with pytest.raises(UsageError, match=message):
        default_config("cartpole", "own", **{name: value})
    config = default_config("cartpole", "own")
    setattr(config.algorithm, name, value)
    with pytest.raises(UsageError, match=message):
        config.validate()


def test_a_wrong_choice_within_a_part_of_a_part_is_named(own):
    config = default_config("cartpole", "own")
    config.algorithm.net.kind = "rnn"
    with pytest.raises(UsageError, match="algorithm.net.kind is 'rnn'; it must be 'gru' or 'mlp'"):
        config.validate()
    config.algorithm = own.Config(free=(1, 2))
    with pytest.raises(UsageError, match=r"algorithm.free is \(1, 2\); .* such as \[1, 2\]"):
        config.validate()
