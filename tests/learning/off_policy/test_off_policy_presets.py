"""Presets of off-policy methods against the tables of D.Va's paper."""

from typing import Any

import pytest

from dva import learning
from dva.compute.errors import UsageError
from dva.envs import EnvConfig
from dva.learning import CurlConfig, DrqV2Config, Preset

TASKS = ["cartpole", "hopper", "cheetah", "ant", "humanoid", "anymal"]
DRQV2 = {
    # N, updates, learning rate, trunk, steps of the noise
    "cartpole": (16, 8, 1e-4, 50, 500_000),
    "hopper": (32, 16, 1e-4, 50, 500_000),
    "ant": (32, 16, 1e-4, 50, 500_000),
    "humanoid": (32, 16, 8e-5, 100, 2_000_000),
}


def preset(algo: str, task: str, name: str = "paper", observe: Any = None) -> Preset:
    make = learning.get(algo).preset
    assert make is not None
    return make(task, name, observe)


@pytest.mark.parametrize("task", DRQV2)
def test_drqv2_has_the_values_of_tables_2_to_4(task: str) -> None:
    values = preset("drqv2", task)
    c, env = values.algorithm, EnvConfig(task, **values.env)
    assert isinstance(c, DrqV2Config)
    assert DRQV2[task] == (
        env.num_envs, c.updates, c.learning_rate, c.trunk_size, c.noise_steps
    )  # fmt: skip
    shared = (c.replay_steps, c.action_repeat, c.batch_size, c.n_step, c.discount, c.target_rate)
    assert shared == (1_000_000, 2, 256, 3, 0.99, 0.01)
    assert (c.noise_first, c.noise_final, c.noise_clip, c.shift) == (1.0, 0.1, 0.3, 4.0)
    assert (c.hidden, env.image_size, env.frame_stack) == ((1024, 1024), 84, 3)
    assert c.reward_scale == 1.0 and env.observe == ("pixels",)


def test_curl_has_the_values_of_table_5() -> None:
    values = preset("curl", "ant")
    c, env = values.algorithm, EnvConfig("ant", **values.env)
    assert isinstance(c, CurlConfig)
    assert (env.num_envs, c.updates, c.replay_steps, c.action_repeat) == (16, 8, 100_000, 2)
    assert (c.batch_size, c.discount, c.learning_rate, c.adam_betas) == (
        32,
        0.99,
        1e-3,
        (0.9, 0.99),
    )
    assert (c.target_rate, c.encoder_target_rate, c.actor_interval) == (0.01, 0.05, 2)
    shared = (c.temperature_init, c.temperature_learning_rate, c.temperature_betas)
    assert shared == (0.1, 1e-4, (0.5, 0.99))
    assert (env.image_size, c.crop_size, c.trunk_size) == (100, 84, 128)
    assert c.reward_scale == 1.0


@pytest.mark.parametrize("algo", ["drqv2", "curl"])
@pytest.mark.parametrize("task", TASKS)
def test_other_presets_are_whole(algo: str, task: str) -> None:
    for name in ("cpu", "fast"):
        values = preset(algo, task, name, ("state",))
        assert EnvConfig(task, **values.env).observe == ("state",)
        assert 4e4 <= values.env_steps <= 1e8
    cpu = EnvConfig(task, **preset(algo, task, "cpu").env)
    crop = getattr(preset(algo, task, "cpu").algorithm, "crop_size", cpu.image_size)
    assert crop == 48


@pytest.mark.parametrize("algo", ["drqv2", "curl"])
def test_an_unknown_preset_is_refused(algo: str) -> None:
    with pytest.raises(UsageError, match="Unknown preset 'papr'. Did you mean 'paper'"):
        preset(algo, "cartpole", "papr")
