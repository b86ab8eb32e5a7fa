import pytest

from dva.learning import ALGORITHMS, DvaConfig, ShacConfig, preset

PAPER = {
    # trunk, policy, critic, critic learning rate, alpha, iterations, N
    "cartpole": (64, (64, 64), (64, 64), 2e-4, 0.2, 4_000, 64),
    "hopper": (128, (128, 64, 32), (64, 64), 2e-4, 0.2, 30_000, 64),
    "cheetah": (128, (128, 64, 32), (64, 64), 2e-3, 0.2, 30_000, 64),
    "ant": (128, (128, 64, 32), (64, 64), 2e-3, 0.2, 30_000, 64),
    "humanoid": (256, (256, 128), (128, 128), 5e-4, 0.995, 60_000, 64),
    "anymal": (128, (128, 64, 32), (64, 64), 2e-3, 0.2, 2_000, 32),
}


@pytest.mark.parametrize("task", PAPER)
def test_paper_presets_hold_the_tables(task: str) -> None:
    c = preset("dva", task, "paper")
    assert PAPER[task] == (
        c.trunk_size, c.actor_hidden, c.critic_hidden, c.critic_learning_rate, c.target_alpha,
        c.iterations, c.num_envs,
    )  # fmt: skip
    shared = (c.horizon, c.discount, c.td_lambda, c.adam_betas, c.critic_iterations, c.image_size)
    assert shared == (32, 0.99, 0.95, (0.7, 0.95), 16, 84)
    shared = (c.critic_minibatches, c.max_grad_norm, c.log_std_init, c.actor_learning_rate)
    assert shared == (4, 1.0, -1.0, 2e-3)
    assert (c.final_learning_rate, c.frame_stack) == (1e-5, 3)


@pytest.mark.parametrize("task", PAPER)
def test_cpu_presets_keep_the_networks(task: str) -> None:
    cpu, paper = preset("dva", task, "cpu"), preset("dva", task, "paper")
    assert (cpu.image_size, cpu.num_envs) == (48, 16) and cpu.actor_hidden == paper.actor_hidden


@pytest.mark.parametrize("task", PAPER)
def test_fast_presets_have_more_environments_and_the_paper_s_networks(task: str) -> None:
    fast, paper = preset("dva", task, "fast"), preset("dva", task, "paper")
    assert fast.num_envs >= 4 * paper.num_envs and fast.actor_hidden == paper.actor_hidden
    assert fast.image_size == paper.image_size and fast.horizon <= paper.horizon
    images = fast.iterations * fast.num_envs * fast.horizon
    assert 1e6 < images < 1e8
    assert preset("shac", task, "fast").num_envs == fast.num_envs


def test_a_preset_is_a_copy() -> None:
    preset("dva", "ant").horizon = 1
    assert preset("dva", "ant").horizon == 32


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(ValueError, match="algorithm 'ppo'.*dva"):
        preset("ppo", "ant")
    with pytest.raises(ValueError, match="preset 'gpu'.*paper, cpu, fast"):
        preset("dva", "ant", "gpu")  # type: ignore[arg-type]


def test_a_task_of_ones_own_starts_from_the_values_of_cheetah_and_ant() -> None:
    assert preset("dva", "fish") == preset("dva", "ant") == preset("dva", "cheetah")
    assert preset("dva", "fish", "cpu").image_size == 48
    assert preset("shac", "fish") == preset("shac", "ant")


def test_every_algorithm_has_presets() -> None:
    for name, entry in ALGORITHMS.items():
        assert type(preset(name, "hopper")) is entry.config_class


def test_config_names_the_wrong_value() -> None:
    with pytest.raises(ValueError, match="horizon is 0; it must be 1 or more"):
        DvaConfig(horizon=0)
    with pytest.raises(ValueError, match="discount is 1.5; it must be between 0 and 1"):
        DvaConfig(discount=1.5)


def test_algorithms_are_listed_under_their_names() -> None:
    assert all(name == entry.name for name, entry in ALGORITHMS.items())
    assert ALGORITHMS["dva"].config_class is DvaConfig


def test_states_have_values_of_their_own() -> None:
    shac, dva = preset("shac", "cartpole"), preset("dva", "cartpole", observe="state")
    assert isinstance(shac, ShacConfig) and isinstance(dva, DvaConfig)
    for config in (shac, dva):
        assert (config.actor_learning_rate, config.critic_learning_rate) == (1e-2, 1e-3)
        assert (config.iterations, config.observe, config.num_envs) == (500, "state", 64)
    assert preset("shac", "ant", "cpu").iterations == preset("shac", "ant").iterations == 2_000
