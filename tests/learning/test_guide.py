"""D.Va with a guide: the state learns the action gradients, images imitate it."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small import parameter_gradient, small_dva, without_times
from tape import Broken, Tape, record_with

from dva.learning import DVA
from dva.learning.rollout import Rollout
from dva.policies import normalize
from dva.sim import State

VALUES: dict[str, Any] = {
    "guide": True, "imitation_steps": 2, "imitation_batch": 12, "replay_images": 90,
}  # fmt: skip


def guided(env: PointMass | None = None, **changes: Any) -> DVA:
    """D.Va with a guide, by default in 3 environments of its own beside 3 of the policy."""
    return small_dva(env or PointMass(3, blind_envs=3), **{**VALUES, **changes})


def test_the_guide_gets_the_gradient_of_dva_from_states() -> None:
    pupil = guided(PointMass(6), max_grad_norm=1e9)  # an update clips the gradients in place
    assert pupil.guide is not None
    from_states = small_dva(PointMass(6, observe=("state",)))
    from_states.actor.load_state_dict(pupil.guide.actor.state_dict())
    rollout = pupil.rollout()
    gradient, _, _ = pupil._finite_action_gradient(rollout)
    from_states.horizon_normalizers = pupil.horizon_normalizers
    seen = dataclasses.replace(rollout, vectors={"state": rollout.states})
    from_states.policy_gradient(seen, gradient)
    expected = parameter_gradient(from_states)
    pupil.guide.learn(rollout, gradient, pupil.taught, pupil.horizon_normalizers)
    gradients = [p.grad.flatten() for p in pupil.guide.actor.parameters() if p.grad is not None]
    found = torch.cat(gradients)
    torch.testing.assert_close(found, expected)
    assert torch.equal(pupil.actor.log_std, pupil.guide.actor.log_std)  # its noise is the guide's


def gradient_of_the_guide(algorithm: DVA, rollout: Rollout) -> dict[str, torch.Tensor]:
    """Lets the guide learn; returns what the three blocks gave each of its parameters."""
    assert algorithm.guide is not None
    gradient, _, _ = algorithm._finite_action_gradient(rollout)
    algorithm.guide.learn(rollout, gradient, algorithm.taught, algorithm.horizon_normalizers)
    named = algorithm.guide.actor.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def test_in_a_closed_loop_the_guide_gets_the_gradient_of_shac() -> None:
    algorithm = guided(guide_closed_loop=True, max_grad_norm=1e9)
    assert algorithm.guide is not None
    rollout = algorithm.rollout()
    loss = algorithm.actor_loss(rollout)[algorithm.taught].sum()
    named = dict(algorithm.guide.actor.named_parameters())
    del named["log_std"]  # whose graph the noise of a rollout does not have
    expected = torch.autograd.grad(loss, list(named.values()), retain_graph=True)
    found = gradient_of_the_guide(algorithm, rollout)
    for name, value in zip(named, expected, strict=True):
        assert value.any()
        torch.testing.assert_close(found[name], value, msg=name)


def test_an_open_loop_holds_later_actions_fixed() -> None:
    def first_weight(closed: bool) -> torch.Tensor:
        algorithm = guided(guide_closed_loop=closed, max_grad_norm=1e9)
        rollout = algorithm.rollout()
        assert rollout.actions[0].is_leaf != closed
        return gradient_of_the_guide(algorithm, rollout)["mean.weight"]

    assert not torch.allclose(first_weight(True), first_weight(False), rtol=1e-2)


def test_imitation_descends_on_the_squared_error_of_the_actions() -> None:
    algorithm = guided(imitation_batch=64, max_grad_norm=1e9)
    assert algorithm.guide is not None
    algorithm.iterate()
    generator = algorithm.generators["replay"]
    before = generator.get_state()
    seen, states = algorithm.guide.replay.sample(64, generator, newest=True)
    generator.set_state(before)
    inputs = normalize({"state": states}, algorithm.horizon_normalizers)
    target = torch.tanh(algorithm.guide.average(inputs)[0])
    error = (torch.tanh(algorithm.actor(seen)[0]) - target).square().mean()
    names = [name for name, _ in algorithm.actor.named_parameters() if name != "log_std"]
    parameters = [p for name, p in algorithm.actor.named_parameters() if name in names]
    expected = torch.autograd.grad(error, parameters)
    found, skipped = algorithm.guide.teach(1, 64, generator, algorithm.horizon_normalizers, 10, 1)
    for name, parameter, gradient in zip(names, parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, msg=name, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found, error.detach() / target.var(0, correction=0).mean())
    assert skipped == 0


def test_its_metrics_are_there() -> None:
    metrics = guided().iterate()
    assert metrics["skipped_updates"] == 0 and metrics["nonfinite_count"] == 0
    assert isinstance(metrics["imitation_error"], float) and metrics["imitation_error"] > 0
    assert "seconds_imitation" in metrics


def test_skipped_updates_of_the_imitation_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = guided(imitation_steps=3)
    assert algorithm.guide is not None
    sample = algorithm.guide.replay.sample

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        seen, states = sample(*args, **kwargs)
        return seen, states * factors.pop()

    monkeypatch.setattr(algorithm.guide.replay, "sample", spoiled)
    found, factors = [], []
    for count in (2, 3):
        factors += [1.0] * (3 - count) + [torch.nan] * count
        metrics = algorithm.iterate()
        found.append((metrics["skipped_updates"], metrics["nonfinite_count"]))
    assert found == [(0, 2), (1, 3)]


def test_both_learning_rates_end_with_the_plan() -> None:
    algorithm = guided(iterations=2, imitation_learning_rate=3e-3)
    assert algorithm.guide is not None
    rates = []
    for _ in range(3):
        algorithm.iterate()
        optimizers = algorithm.guide.optimizer, algorithm.actor_optimizer
        rates.append([float(optimizer._rate) for optimizer in optimizers])
    first, final = algorithm.config.actor_learning_rate, algorithm.config.final_learning_rate
    assert rates[0] == pytest.approx([first, 3e-3]) and rates[2] == pytest.approx([final, final])


def test_threads_do_not_change_it() -> None:
    # The policy acts in 20 environments: more than pass its network together.
    one, two = (
        guided(PointMass(20, blind_envs=3), threads=threads, micro_batch=5) for threads in (1, 2)
    )
    rows = [[without_times(x.iterate()) for _ in range(3)] for x in (one, two)]
    assert rows[0] == rows[1]


def saved_and_loaded(algorithm: DVA, folder: Path) -> DVA:
    assert algorithm.guide is not None
    marker = algorithm.guide.replay.save(folder, [])
    other = guided(seed=7)
    other.load_state_dict(algorithm.state_dict())
    assert other.large_state is not None
    other.large_state.load(folder, marker)
    return other


def test_ten_iterations_equal_five_saved_loaded_and_five_more(tmp_path: Path) -> None:
    plain, stopped = guided(), guided()
    expected = [without_times(plain.iterate()) for _ in range(10)]
    for _ in range(5):
        stopped.iterate()
    resumed = saved_and_loaded(stopped, tmp_path)
    assert [without_times(resumed.iterate()) for _ in range(5)] == expected[5:]
    for name, value in plain.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_recorded_iterations_are_plain_iterations() -> None:
    parts = {"center_features": True, "action_gradient_cap": 1.5}
    plain, recorded = guided(**parts), guided(**parts)
    record_with(recorded, Tape())
    expected = [without_times(plain.iterate()) for _ in range(12)]
    assert [without_times(recorded.iterate()) for _ in range(12)] == expected
    assert recorded._fixed is not None
    for name, value in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[name], value), name
    assert plain.guide is not None and recorded.guide is not None
    replays = plain.guide.replay, recorded.guide.replay
    draws = [replay.sample(200, torch.Generator().manual_seed(0)) for replay in replays]
    assert torch.equal(draws[0][0]["pixels"], draws[1][0]["pixels"])
    assert torch.equal(draws[0][1], draws[1][1])


def test_training_goes_on_where_recording_fails() -> None:
    plain, recorded = guided(), guided()
    record_with(recorded, Broken(4))  # the guide has learned, and the replay has the rollout
    expected = [without_times(plain.iterate()) for _ in range(6)]
    with pytest.warns(UserWarning, match="out of luck"):
        assert [without_times(recorded.iterate()) for _ in range(6)] == expected


def test_images_beside_vectors_are_taught() -> None:
    algorithm = guided(PointMass(4, observe=("pixels", "state"), blind_envs=2))
    rows = [algorithm.iterate() for _ in range(3)]
    assert all(row["nonfinite_count"] == 0 for row in rows)


def test_the_guide_acts_and_is_taught_in_its_own_environments() -> None:
    algorithm = guided(PointMass(4, blind_envs=2))
    assert algorithm.guide is not None
    seen = algorithm.env.observation
    rollout = algorithm.rollout()
    std = algorithm.actor.log_std.exp()
    means = rollout.actions[0].detach() - std * rollout.noise[0]
    states = algorithm.horizon_normalizers["state"](seen["state"])
    guide, own = algorithm.guide.actor({"state": states})[0], algorithm.actor(seen)[0]
    torch.testing.assert_close(means[:2], guide[:2])
    torch.testing.assert_close(means[2:], own)
    gradient, loss, dropped = algorithm._finite_action_gradient(rollout)
    assert gradient.shape == (5, 2, 2) and len(loss) == 6 and len(dropped) == 2
    assert len(seen["pixels"]) == 4 and rollout.frames["pixels"].observation(0).shape[0] == 4
    torch.testing.assert_close(rollout.frames["pixels"].observation(0), seen["pixels"])
    measured = algorithm.measure(rollout)
    assert measured["reward"] == rollout.rewards[:, 2:].mean()
    assert measured["guide_reward"] == rollout.rewards[:, :2].mean()
    start = copy.deepcopy(algorithm.guide.actor.state_dict())
    # what happens in the others does not change it
    found, states = [], rollout.states.clone()
    for value in (0.0, 1e3):
        rollout.states = torch.cat([states[:, :2], torch.full_like(states[:, 2:], value)], dim=1)
        algorithm.guide.actor.load_state_dict(start)
        algorithm.guide.learn(rollout, gradient, algorithm.taught, algorithm.horizon_normalizers)
        gradients = [p.grad for p in algorithm.guide.actor.parameters()]
        found.append(torch.cat([x.flatten() for x in gradients if x is not None]))
    assert torch.equal(*found) and found[0].any()


def test_pictures_in_the_replay_are_of_the_states_beside_them() -> None:
    algorithm = guided(PointMass(3, blind_envs=4))
    assert algorithm.guide is not None
    for _ in range(2):
        algorithm.iterate()
    seen, states = algorithm.guide.replay.sample(50, torch.Generator().manual_seed(0))
    own = PointMass(50)
    own.state = State(states[:, :2], states[:, 2:])
    assert torch.equal(own._paint(), seen["pixels"][:, -3:])


def test_only_a_guide_acts_where_nothing_is_seen() -> None:
    with pytest.raises(ValueError, match="has 2 environments without sensors, in which only a gui"):
        small_dva(PointMass(3, blind_envs=2))


def test_returns_are_of_episodes_in_which_the_policy_acted() -> None:
    env = PointMass(3, episode_length=12, blind_envs=3)
    algorithm = guided(env, horizon=6)
    expected = []
    for _ in range(4):
        algorithm.iterate()
    step = env.step

    def watched(action: torch.Tensor) -> Any:
        result = step(action)
        done = result[2] | result[3]
        expected.extend(result[4]["episode_return"][3:][done[3:]].tolist())
        return result

    algorithm.episodes = type(algorithm.episodes)()
    env.step = watched  # type: ignore[method-assign]
    for _ in range(3):
        mean = algorithm.iterate()["return"]
    assert len(expected) > 2 and mean == pytest.approx(sum(expected) / len(expected))


def test_a_policy_of_states_needs_no_guide() -> None:
    with pytest.raises(ValueError, match="sees nothing but the state. Set guide=False"):
        guided(PointMass(6, observe=("state",)))


def test_a_short_run_improves_the_return() -> None:
    algorithm = guided(
        PointMass(16, episode_length=40, blind_envs=16), iterations=60, horizon=16, trunk_size=32,
        actor_hidden=(32,), critic_hidden=(32,), critic_iterations=4, actor_learning_rate=5e-3,
        critic_learning_rate=2e-3, imitation_steps=4, imitation_batch=64, replay_images=10_000,
    )  # fmt: skip
    rows = [algorithm.iterate() for _ in range(60)]
    assert isinstance(rows[0]["return"], float) and isinstance(rows[-1]["return"], float)
    assert rows[0]["return"] < 0.0 and rows[-1]["return"] > 25.0


def test_a_part_of_the_guide_s_robots_begins_where_the_policy_is() -> None:
    algorithm = guided(PointMass(2, blind_envs=5), guide_envs=5, guide_restarts=3)
    algorithm.iterate()
    before = algorithm.env.state.joint_q
    rollout = algorithm.rollout()
    began = rollout.physics[0].joint_q
    assert torch.equal(began[:3], before[[6, 5, 6]])  # three later than in the first rollout
    assert torch.equal(began[3:], before[3:])
    assert rollout.episode_lengths[0, :3].tolist() == [1, 1, 1]
    with pytest.raises(
        ValueError, match="guide_restarts is 6; it must be between 0 and guide_envs"
    ):
        guided(guide_envs=5, guide_restarts=6)


def test_in_quiet_environments_the_policy_acts_as_it_does_in_the_end() -> None:
    algorithm = guided(PointMass(4, blind_envs=3), quiet_share=0.5)
    rollout = algorithm.rollout()
    assert rollout.noise[:, :5].abs().min() > 0.0 and not rollout.noise[:, 5:].any()
    env = PointMass(4, blind_envs=3)
    action, _ = algorithm.policy.act(env.reset())
    torch.testing.assert_close(torch.tanh(rollout.actions[0])[5:], action[2:])
    with pytest.raises(ValueError, match="quiet_share is 0.5; it must be 0 where the guide has no"):
        guided(guide_envs=0, quiet_share=0.5)
