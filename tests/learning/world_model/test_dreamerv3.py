"""The algorithm: what an iteration does, that it learns, and that it is saved and recorded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from point_mass import PointMass
from pretend_cuda import pretended_cuda
from small import without_times
from small_dreamer import VALUES, small_dreamer
from tape import Broken, Tape, record_with

import dva
from dva import cli
from dva.learning import DreamerV3, DreamerV3Config, Metrics, get
from dva.learning.world_model.config import SIZES
from dva.learning.world_model.policy import DreamerPolicy
from dva.runs import Run
from dva.runs.checkpoint import load_checkpoint
from dva.runs.metrics import is_timing


def train(algorithm: DreamerV3, count: int) -> list[Metrics]:
    return [without_times(algorithm.iterate()) for _ in range(count)]


def saved_and_loaded(algorithm: DreamerV3, folder: Path, **changes: Any) -> DreamerV3:
    marker = algorithm.large_state.save(folder, [])
    other = small_dreamer(seed=7, **changes)
    other.load_state_dict(algorithm.state_dict())
    other.large_state.load(folder, marker)
    return other


# ---------------------------------------------------------------------- an iteration


def test_metrics_have_the_same_names_from_the_first_iteration_on() -> None:
    algorithm = small_dreamer()
    rows = [algorithm.iterate() for _ in range(2)]
    assert rows[0].keys() == rows[1].keys()
    assert {"return", "episode_length", "updates", "skipped_updates", "seconds_updates"} <= {
        *rows[0]
    }
    assert rows[1]["skipped_updates"] == rows[1]["nonfinite_count"] == 0
    empty = [name for name, value in rows[1].items() if value is None]
    assert empty == []


@pytest.mark.parametrize(("ratio", "each"), [(3.0, 1), (9.0, 3), (1.7, None)])
def test_updates_follow_the_train_ratio(ratio: float, each: int | None) -> None:
    algorithm = small_dreamer(train_ratio=ratio)  # 6 environments, 18 steps in a batch
    counts = [algorithm.iterate()["updates"] for _ in range(8)]
    filled = max(6, -(-40 // 6))  # steps before the first update
    steps = algorithm.replay.added
    assert sum(int(x or 0) for x in counts) == int(6 * steps * ratio / 18) - int(
        6 * filled * ratio / 18
    )
    assert each is None or set(counts) == {each}
    assert all(x and x >= 1 for x in counts)
    assert algorithm.env_steps == 2 * 6 * steps  # each action is repeated


def test_memory_is_reset_where_an_episode_ended() -> None:
    algorithm = small_dreamer(PointMass(6, episode_length=3))
    ended = 0
    for _ in range(4):
        taken = algorithm._step()
        ended += int(taken.ended.sum())
        empty = [not bool(x.any()) for x in algorithm.memory["stoch"]]
        assert empty == taken.ended.tolist()
    assert 0 < ended < 24


def test_images_are_centred_on_those_of_the_random_actions() -> None:
    env, seen = PointMass(6), []
    algorithm = small_dreamer(env, center_images=True)
    step = env.step

    def watched(action: torch.Tensor) -> Any:
        result = step(action)
        seen.append(env.newest("pixels").float().mean(0))
        return result

    env.step = watched  # type: ignore[method-assign]
    algorithm._act_randomly()
    expected = torch.stack(seen[1::2]).mean(0) / 255.0  # after each action, which is repeated
    torch.testing.assert_close(algorithm.policy.encoder.images["pixels"].center, expected)
    assert not torch.allclose(expected, torch.tensor(0.5), atol=0.1)


def test_imagination_starts_from_the_latent_states_of_the_batch() -> None:
    algorithm = small_dreamer()
    algorithm.iterate()
    batch = algorithm.replay.sequences(3, 6, algorithm.generators["replay"])
    latent, _ = algorithm._learn_model(batch)
    assert latent.deter.shape == (18, 16) and not latent.deter.requires_grad
    imagined = algorithm._imagine(latent)
    assert imagined.features.shape == (4, 18, 32) and imagined.actions.shape == (3, 18, 2)
    assert torch.equal(imagined.features[0], latent.features)


def test_terminated_states_teach_nothing() -> None:
    algorithm = small_dreamer()
    algorithm.iterate()
    batch = algorithm.replay.sequences(3, 6, algorithm.generators["replay"])
    batch.terminated.fill_(True)
    latent, _ = algorithm._learn_model(batch)
    metrics = algorithm._learn_behaviour(latent, batch)
    assert metrics["actor_loss"] == metrics["critic_loss"] == 0.0
    assert metrics["skipped_updates"] == 1.0  # its gradient was 0


def test_losses_that_are_not_finite_are_skipped() -> None:
    algorithm = small_dreamer()
    algorithm.iterate()
    before = {name: x.clone() for name, x in algorithm.policy.state_dict().items()}
    held = algorithm.replay._held["reward"]
    held.fill_(float("nan"))
    algorithm.replay.add = lambda *arguments: None  # type: ignore[method-assign]
    metrics = algorithm._update_once()
    assert metrics["nonfinite_count"] >= 1
    for name, value in algorithm.policy.encoder.state_dict().items():
        assert torch.equal(value, before[f"encoder.{name}"])


# ---------------------------------------------------------------------- learning


def test_a_short_run_improves_the_return() -> None:
    algorithm = small_dreamer(
        PointMass(16, episode_length=20, observe=("state",)), size="learning", batch_size=32,
        batch_length=6, train_ratio=12.0, seed_steps=256, replay_steps=20_000, action_repeat=1,
        imagination_horizon=6, discount=0.9, model_learning_rate=5e-3, critic_learning_rate=5e-3,
        actor_learning_rate=3e-3,
    )  # fmt: skip
    rows = [algorithm.iterate() for _ in range(340)]
    first, last = rows[0]["return"], rows[-1]["return"]
    assert first is not None and last is not None
    assert first < -5.0 and last > 0.0


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_learning_rates_fall_to_a_share_of_what_they_were(share: float) -> None:
    algorithm = small_dreamer(final_rate_share=share, actor_learning_rate=4e-3)
    planned = algorithm.context.env_steps
    names = ("model", "actor", "critic")
    optimizers = [getattr(algorithm, f"{name}_optimizer") for name in names]
    for done, left in ((0, 1.0), (planned // 2, (1.0 + share) / 2), (2 * planned, share)):
        algorithm.env_steps = done
        assert algorithm.set_learning_rates() == pytest.approx(left * 4e-3)
        rates = [float(optimizer._rate) for optimizer in optimizers]
        assert rates == pytest.approx([left * 1e-3, left * 4e-3, left * 1e-3])
    with pytest.raises(ValueError, match="final_rate_share is 1.5; it must be between 0 and 1"):
        small_dreamer(final_rate_share=1.5)


# ---------------------------------------------------------------------- saving


def test_six_iterations_equal_three_saved_loaded_and_three_more(tmp_path: Path) -> None:
    plain, stopped = small_dreamer(), small_dreamer()
    expected = train(plain, 6)
    assert train(stopped, 3) == expected[:3]
    resumed = saved_and_loaded(stopped, tmp_path)
    assert train(resumed, 3) == expected[3:]
    for name, value in plain.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_seed_gives_the_same_training_and_another_one_another() -> None:
    assert train(small_dreamer(), 2) == train(small_dreamer(), 2) != train(small_dreamer(seed=1), 2)


# ---------------------------------------------------------------------- recording


@pytest.mark.parametrize(
    "changes", [{"train_ratio": 6.0, "replay_memory": "host"}, {"decoder": "none"}]
)
def test_recorded_iterations_are_plain_iterations(changes: dict[str, Any]) -> None:
    plain, recorded = small_dreamer(**changes), small_dreamer(**changes)
    record_with(recorded, Tape())  # type: ignore[arg-type]
    assert train(recorded, 5) == train(plain, 5)
    assert recorded._recorded
    for name, value in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[name], value), name


def test_training_goes_on_where_recording_fails() -> None:
    plain, recorded = small_dreamer(), small_dreamer()
    record_with(recorded, Broken(3))  # type: ignore[arg-type]
    expected = train(plain, 5)
    with pytest.warns(UserWarning, match="out of luck"):
        found = train(recorded, 5)
    assert found == expected


# ---------------------------------------------------------------------- the policy


def policy_of(algorithm: DreamerV3) -> DreamerPolicy:
    found = DreamerPolicy.rebuild(algorithm.policy.description(), torch.device("cpu"))
    found.load_state_dict(algorithm.policy.state_dict())
    return found


def test_a_rebuilt_policy_acts_alike_and_repeats_its_actions() -> None:
    algorithm = small_dreamer(PointMass(4))
    algorithm.iterate()
    env, policy = PointMass(4), policy_of(algorithm)
    observation, memory = env.reset(), policy.initial_state(4)
    own = algorithm.policy.initial_state(4)
    actions = []
    for _ in range(5):
        action, memory = policy.act(observation, memory)
        other, own = algorithm.policy.act(observation, own)
        assert torch.equal(action, other) and action.abs().max() <= 1.0
        actions.append(action)
        observation = env.step(action)[0]
    assert torch.equal(actions[0], actions[1]) and torch.equal(actions[2], actions[3])
    assert not torch.equal(actions[1], actions[2]) and not torch.equal(actions[3], actions[4])


def test_robots_whose_episode_ended_choose_at_once() -> None:
    algorithm = small_dreamer(PointMass(4))
    algorithm.iterate()
    policy, observation = algorithm.policy, PointMass(4).reset()
    first, memory = policy.act(observation, policy.initial_state(4))
    memory = policy.reset(memory, torch.tensor([False, True, False, True]))
    assert not memory["deter"][1].any() and memory["deter"][0].any()
    again, memory = policy.act(observation, memory)
    assert torch.equal(again, first)  # as before: repeated, or newly begun
    assert memory["repeats"].tolist() == [0, 1, 0, 1]
    third, memory = policy.act(observation, memory)
    changed = (third != again).any(1).tolist()
    assert changed == [True, False, True, False]


def test_the_newest_reading_of_a_stack_is_seen() -> None:
    algorithm = small_dreamer(PointMass(4))
    algorithm.iterate()
    policy = algorithm.policy
    observation = PointMass(4).reset()
    assert observation["pixels"].shape[1] == 9
    other = {"pixels": observation["pixels"].clone()}
    other["pixels"][:, :6] = 0
    found = [policy.act(x, policy.initial_state(4))[0] for x in (observation, other)]
    assert torch.equal(*found)


# ---------------------------------------------------------------------- presets


def test_the_paper_s_preset_holds_its_table() -> None:
    make = get("dreamerv3").preset
    assert make is not None
    values = make("hopper", "paper", None)
    c: DreamerV3Config = values.algorithm
    assert (c.batch_size, c.batch_length, c.train_ratio, c.action_repeat) == (16, 64, 512.0, 2)
    assert (c.replay_steps, c.discount, c.td_lambda) == (1_000_000, 0.997, 0.95)
    rates = (c.actor_learning_rate, c.critic_learning_rate, c.model_learning_rate)
    assert rates == (3e-5, 3e-5, 1e-4)
    scales = (c.dynamics_scale, c.representation_scale, c.free_nats, c.entropy_scale)
    assert scales == (0.5, 0.1, 1.0, 3e-4)
    assert (c.critic_decay, c.return_decay, c.imagination_horizon) == (0.98, 0.99, 15)
    assert values.env == {
        "num_envs": 4, "image_size": 64, "frame_stack": 1, "observe": ("pixels",),
    }  # fmt: skip
    algorithm = small_dreamer(**{**VALUES, "precision": "float32"})
    eps = [getattr(algorithm, f"{name}_optimizer").eps for name in ("model", "actor", "critic")]
    assert eps == [1e-8, 1e-5, 1e-5]


@pytest.mark.parametrize("width", [256, 384, 512, 768, 1024])
def test_sizes_follow_the_width(width: int) -> None:
    (size,) = [x for name, x in SIZES.items() if x.units == width]
    assert (size.deter, size.classes, size.channels) == (8 * width, width // 16, width // 16)
    assert (size.categoricals, size.blocks) == (32, 8)


# ---------------------------------------------------------------------- on a GPU, and as a run


def on_cartpole(device: str, **changes: Any) -> DreamerV3:
    env = dva.make(
        "cartpole", 3, device=device, image_size=16, frame_stack=1, final_observations=True,
        threads=1,
    )  # fmt: skip
    return small_dreamer(env, threads=None if device == "cuda" else 1, **changes)


def test_updates_stay_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = on_cartpole("cpu").iterate()
    with pretended_cuda(monkeypatch) as cuda:
        algorithm = on_cartpole("cuda")
        found = algorithm.iterate()
        cuda.transfers.clear()
        algorithm._update_once()
        assert not cuda.transfers
        for _ in range(4):
            algorithm.iterate()
        assert algorithm._recorded
    for name, value in without_times(expected).items():
        close = value if value is None else pytest.approx(value, rel=1e-4)
        assert found[name] == close, name


def test_a_run_is_resumed_evaluated_and_filmed(tmp_path: Path) -> None:
    flags = (
        "--num-envs 3 --image-size 16 --device cpu --threads 1 --size smallest --batch-size 3 "
        "--batch-length 6 --imagination-horizon 3 --seed-steps 60 --train-ratio 3 "
        "--replay-steps 600 --evaluation-episodes 0 --video-interval 0"
    )

    def train_until(steps: int, *arguments: str) -> None:
        assert cli.main([*arguments, "--env-steps", "240", "--stop-at", str(steps)]) == 0

    new = ["train", "cartpole", "--algo", "dreamerv3", *flags.split(), "--run-dir"]
    one, two = tmp_path / "one", tmp_path / "two"
    train_until(240, *new, str(one))
    train_until(120, *new, str(two))
    train_until(240, "train", "--resume", str(two))
    rows = [
        [
            {name: x for name, x in row.items() if not is_timing(name)}
            for row in Run.open(path).metrics()
        ]
        for path in (one, two)
    ]
    assert rows[0] == rows[1] and len(rows[0]) > 3
    tensors = [load_checkpoint(Run.open(path).checkpoints, "latest").tensors for path in (one, two)]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())
    film = tmp_path / "film.mp4"
    assert cli.main(["eval", str(two), "--episodes", "2", "--video", str(film)]) == 0
    assert film.stat().st_size > 1_000
