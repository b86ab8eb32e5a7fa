import dataclasses
from typing import Any

import pytest

from dva import learning
from dva.envs import EnvConfig
from dva.learning import DvaConfig, Preset, ShacConfig

PAPER = {
    # trunk, policy, critic, critic learning rate, alpha, iterations, N
    "cartpole": (64, (64, 64), (64, 64), 2e-4, 0.2, 4_000, 64),
    "hopper": (128, (128, 64, 32), (64, 64), 2e-4, 0.2, 30_000, 64),
    "cheetah": (128, (128, 64, 32), (64, 64), 2e-3, 0.2, 30_000, 64),
    "ant": (128, (128, 64, 32), (64, 64), 2e-3, 0.2, 30_000, 64),
    "humanoid": (256, (256, 128), (128, 128), 5e-4, 0.995, 60_000, 64),
    "anymal": (128, (128, 64, 32), (64, 64), 2e-3, 0.2, 2_000, 32),
}


def preset(algo: str, task: str, name: str = "paper", observe: Any = None) -> Preset:
    make = learning.get(algo).preset
    assert make is not None
    return make(task, name, observe)


def env_of(values: Preset, task: str) -> EnvConfig:
    return EnvConfig(task, **values.env)


def iterations_of(values: Preset, task: str) -> float:
    """Planned iterations: environment steps over those of one."""
    return values.env_steps / (robots(values, task) * values.algorithm.horizon)


def robots(values: Preset, task: str) -> int:
    """Number of environments, the guide's included."""
    blind = learning.get("dva").blind_envs
    assert blind is not None
    guided = isinstance(values.algorithm, DvaConfig)
    return env_of(values, task).num_envs + (blind(values.algorithm) if guided else 0)


@pytest.mark.parametrize("task", PAPER)
def test_paper_presets_hold_the_tables(task: str) -> None:
    values = preset("dva", task, "paper")
    c, env = values.algorithm, env_of(values, task)
    assert PAPER[task] == (
        c.trunk_size, c.actor_hidden, c.critic_hidden, c.critic_learning_rate, c.target_alpha,
        iterations_of(values, task), env.num_envs,
    )  # fmt: skip
    shared = (c.horizon, c.discount, c.td_lambda, c.adam_betas, c.critic_iterations)
    assert shared == (32, 0.99, 0.95, (0.7, 0.95), 16)
    shared = (c.critic_minibatches, c.max_grad_norm, c.log_std_init, c.actor_learning_rate)
    assert shared == (4, 1.0, -1.0, 2e-3)
    assert (c.final_learning_rate, env.frame_stack, env.image_size) == (1e-5, 3, 84)
    assert env.observe == ("pixels",) and env.camera == "hard"


@pytest.mark.parametrize("task", PAPER)
def test_cpu_presets_keep_the_networks(task: str) -> None:
    cpu, paper = preset("dva", task, "cpu"), preset("dva", task, "paper")
    env = env_of(cpu, task)
    assert (env.image_size, robots(cpu, task)) == (48, 64 if cpu.algorithm.guide else 16)
    assert 1_000 <= iterations_of(cpu, task) <= 14_000
    assert cpu.algorithm.actor_hidden == paper.algorithm.actor_hidden


@pytest.mark.parametrize("task", PAPER)
def test_fast_presets_have_more_environments_and_the_paper_s_networks(task: str) -> None:
    fast, paper = preset("dva", task, "fast"), preset("dva", task, "paper")
    assert robots(fast, task) >= 4 * robots(paper, task)
    assert fast.algorithm.actor_hidden == paper.algorithm.actor_hidden
    assert env_of(fast, task).image_size == env_of(paper, task).image_size
    assert fast.algorithm.horizon <= paper.algorithm.horizon
    assert 1e6 < fast.env_steps < 1e8
    shac = preset("shac", task, "fast")
    assert env_of(shac, task).num_envs == 256


@pytest.mark.parametrize("task", PAPER)
def test_only_the_paper_s_preset_leaves_out_what_lets_policies_see(task: str) -> None:
    for name in ("paper", "cpu", "fast"):
        ours = name != "paper" and task != "cartpole"
        c = preset("dva", task, name).algorithm
        assert c.guide == (ours and (task != "hopper" or name == "fast"))
        assert c.center_features == ours
        assert c.action_gradient_cap == (2.0 if ours else None)
        from_state = preset("dva", task, name, observe=("state",)).algorithm
        assert not (from_state.guide or from_state.center_features)


def test_a_preset_is_a_copy() -> None:
    preset("dva", "ant").algorithm.horizon = 1
    assert preset("dva", "ant").algorithm.horizon == 32


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(ValueError, match="algorithm 'dav'.*dva"):
        learning.get("dav")


def test_a_task_of_ones_own_starts_from_the_values_of_cheetah_and_ant() -> None:
    assert preset("dva", "fish") == preset("dva", "ant") == preset("dva", "cheetah")
    assert preset("dva", "fish", "cpu").env["image_size"] == 48
    assert preset("dva", "fish", "cpu").algorithm.guide
    assert not preset("dva", "fish", "cpu", observe=("state",)).algorithm.guide
    assert preset("shac", "fish") == preset("shac", "ant")


def test_every_algorithm_has_presets() -> None:
    for name in learning.names():
        entry = learning.get(name)
        for of_entry in entry.presets:
            assert type(preset(name, "hopper", of_entry).algorithm) is entry.config


def test_config_names_the_wrong_value() -> None:
    with pytest.raises(ValueError, match="horizon is 0; it must be between 1 and 1,000,000"):
        DvaConfig(horizon=0)
    with pytest.raises(ValueError, match="discount is 1.5; it must be between 0 and 1"):
        DvaConfig(discount=1.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"num_envs": 10**9}, "num_envs is 1000000000; give .* 1 and 1,000,000"),
        ({"frame_stack": 0}, "frame_stack is 0"),
        ({"image_size": 5000}, "image_size is 5000; give a side .* from 1 to 4096"),
        ({"observe": ()}, "observe is .*one name or more"),
        ({"camera": "soft"}, "camera is 'soft'; it must be hard or differentiable"),
        ({"state_storage": "disk"}, "state_storage is 'disk'; it must be full or recompute"),
    ],
)
def test_environment_config_names_the_wrong_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvConfig("cartpole", **changes)


def test_algorithms_are_listed_under_their_names() -> None:
    assert learning.names() == sorted(learning.names())
    assert all(learning.get(name).name == name for name in learning.names())
    assert learning.get("dva").config is DvaConfig


def test_an_algorithm_s_name_is_taken_once() -> None:
    entry = learning.get("dva")
    with pytest.raises(ValueError, match="'dva' exists already.*replace=True"):
        learning.register(dataclasses.replace(entry, description="another"))
    assert learning.register(entry, replace=True) is learning.get("dva")


def test_states_have_values_of_their_own() -> None:
    shac, dva = preset("shac", "cartpole"), preset("dva", "cartpole", observe=("state",))
    assert isinstance(shac.algorithm, ShacConfig) and isinstance(dva.algorithm, DvaConfig)
    for values in (shac, dva):
        config, env = values.algorithm, env_of(values, "cartpole")
        assert (config.actor_learning_rate, config.critic_learning_rate) == (1e-2, 1e-3)
        assert iterations_of(values, "cartpole") == 500
        assert (env.observe, env.num_envs) == (("state",), 64)
    for name in ("cpu", "paper"):
        assert iterations_of(preset("shac", "ant", name), "ant") == 2_000


def test_shac_of_pixels_looks_through_the_differentiable_camera() -> None:
    values = preset("shac", "ant", observe=("pixels",))
    env = env_of(values, "ant")
    assert (env.camera, env.observe, env.num_envs) == ("differentiable", ("pixels",), 32)
    assert values.algorithm.horizon == 8 and iterations_of(values, "ant") == 2_000


@pytest.mark.parametrize("algo", learning.names())
def test_an_unknown_preset_is_refused(algo: str) -> None:
    known = learning.get(algo).presets[0]
    with pytest.raises(ValueError, match=f"Unknown preset '{known}r'. Did you mean '{known}'"):
        preset(algo, "cartpole", f"{known}r")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_initial_deviation_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match=f"log_std_init is {value}; it must be a finite number"):
        DvaConfig(log_std_init=value)


@pytest.mark.parametrize("task", PAPER)
def test_all_have_the_networks_of_dva(task: str) -> None:
    sizes = PAPER[task][:3]
    for name in ("cpu", "fast"):
        c = preset("ppo", task, name).algorithm
        assert (c.trunk_size, c.actor_hidden, c.critic_hidden) == sizes
        c = preset("dagger", task, name).algorithm
        assert (c.trunk_size, c.actor_hidden, c.expert_training.critic_hidden) == sizes


def test_ppo_centres_features_of_images_and_has_no_preset_of_the_paper() -> None:
    assert learning.get("ppo").presets == ("fast", "cpu")
    for name in ("cpu", "fast"):
        images, state = (preset("ppo", "hopper", name, x) for x in (("pixels",), ("state",)))
        assert images.algorithm.center_features and not state.algorithm.center_features
        assert images.algorithm.learning_rate < state.algorithm.learning_rate
    assert env_of(preset("ppo", "hopper", "cpu"), "hopper").image_size == 48


@pytest.mark.parametrize("task", PAPER)
def test_dagger_plans_the_steps_of_its_expert_too(task: str) -> None:
    for name in ("paper", "cpu", "fast"):
        found, shac = preset("dagger", task, name), preset("shac", task, name)
        config = found.algorithm
        assert config.expert_steps == shac.env_steps
        assert config.expert_envs == env_of(shac, task).num_envs
        assert config.expert_training == shac.algorithm
        student = found.env_steps - config.expert_steps
        assert student >= 2 * config.learning_starts
        assert config.center_features == (name != "paper" and task != "cartpole")


def test_dagger_of_the_paper_has_its_table() -> None:
    found = preset("dagger", "ant")
    c, env = found.algorithm, env_of(found, "ant")
    assert (c.horizon, env.num_envs, c.learning_rate, c.adam_betas) == (32, 64, 2e-3, (0.7, 0.95))
    assert (c.batch, c.stop_loss, c.replay_samples) == (128, 0.1, 100_000)
    assert (c.learning_starts, c.max_updates, env.image_size) == (32_000, 2_000, 84)
    assert c.expert_training == preset("shac", "ant").algorithm
