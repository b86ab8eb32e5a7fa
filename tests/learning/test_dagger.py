"""DAgger: the expert's actions where the student goes, until the loss is small enough."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from point_mass import PointMass
from small import small_dagger, without_times
from tape import Broken, Tape, record_with
from torch import Tensor

import dva
from dva.learning import DAgger, DaggerConfig, TrainingContext
from dva.learning.imitation import dagger
from dva.learning.muon import Muon
from dva.learning.optimizer import ClippedAdam
from dva.policies import NO_MEMORY, ActorPolicy, normalize
from dva.spec import STATE, ActionSpec, Entry, ObservationSpec

STATE_SPEC = ObservationSpec((Entry(STATE, "vector", (4,)),))


class Scripted:
    """Brings the point mass to rest at the origin; the policy of a run might."""

    def __init__(
        self, observation_spec: ObservationSpec = STATE_SPEC, names: tuple[str, ...] = ("x", "y")
    ) -> None:
        self.observation_spec, self.action_spec = observation_spec, ActionSpec(names, 0.3)

    def initial_state(self, n: int) -> dict[str, Tensor]:
        return {}

    def act(self, observation: Mapping[str, Tensor], state: Any) -> tuple[Tensor, Any]:
        position, velocity = observation[STATE].split(2, dim=-1)
        return torch.tanh(-1.5 * position - 2.0 * velocity), state

    def reset(self, state: Any, done: Tensor) -> Any:
        return state

    def description(self) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        pass

    @classmethod
    def rebuild(cls, description: Any, device: Any, threads: Any = None) -> "Scripted":
        return cls()


scripted = functools.partial(small_dagger, expert=Scripted())


# ---------------------------------------------------------------------- imitation


def test_targets_are_the_expert_s_actions_where_the_student_went(monkeypatch: Any) -> None:
    algorithm = scripted()
    visited = algorithm.collect_without_graph().states.flatten(0, 1)
    taught: list[tuple[Mapping[str, Tensor], Tensor]] = []

    def watched(actor: Any, inputs: Any, target: Tensor, *rest: Any) -> Tensor:
        taught.append((inputs, target))
        return gradient(actor, inputs, target, *rest)

    gradient = dagger.set_imitation_gradient
    monkeypatch.setattr(dagger, "set_imitation_gradient", watched)
    algorithm = scripted()  # the same rollout again
    algorithm.iterate()
    kept = algorithm.replay._tensors
    stacks = kept["pixels.frames"][0][kept["pixels.index"][0]].flatten(1, 2)
    assert len(taught) == 20
    for inputs, target in taught:
        which = [int((stacks == seen).flatten(1).all(1).nonzero()[0]) for seen in inputs["pixels"]]
        expected, _ = Scripted().act({STATE: visited[which]}, NO_MEMORY)
        torch.testing.assert_close(target, expected)


def test_the_gradient_is_that_of_the_squared_error() -> None:
    algorithm = scripted(PointMass(6, observe=("pixels", "state")), batch=30, max_grad_norm=1e9)
    algorithm.remember(algorithm.collect_without_graph())
    before = algorithm.generators["replay"].get_state()
    seen, states = algorithm.replay.sample(30, algorithm.generators["replay"])
    algorithm.generators["replay"].set_state(before)
    inputs = normalize(seen, algorithm.policy.normalizers)
    target = Scripted().act({STATE: states}, NO_MEMORY)[0]
    error = (torch.tanh(algorithm.actor(inputs)[0]) - target).square().mean()
    names = [name for name, _ in algorithm.actor.named_parameters() if name != "log_std"]
    parameters = dict(algorithm.actor.named_parameters())
    expected = torch.autograd.grad(error, [parameters[name] for name in names])
    algorithm.micro_batch = 7
    loss, norm, skipped = algorithm.improve_policy(1)
    torch.testing.assert_close(loss, error.detach())
    for name, gradient in zip(names, expected, strict=True):
        found = parameters[name].grad
        torch.testing.assert_close(found, gradient, msg=name, rtol=1e-3, atol=1e-6)
    flat = torch.cat([x.flatten() for x in expected])
    assert norm.item() == pytest.approx(flat.norm().item(), rel=1e-4) and skipped == 0


@pytest.mark.parametrize(
    ("stop_loss", "updates"), [(0.25, 20), (0.125, 30), (0.04, 50), (0.0, 50), (1.0, 10)]
)
def test_it_stops_when_the_loss_is_small(stop_loss: float, updates: int) -> None:
    algorithm = scripted(stop_loss=stop_loss, max_updates=55)
    losses = [0.5, 0.25, 0.125, 0.1875, 0.0625]
    left = iter(losses)

    def improve_policy(group: int) -> Tensor:
        assert group == 10
        return torch.tensor([next(left), 1.0, 0.0])

    algorithm.improve_policy = improve_policy  # type: ignore[method-assign]
    metrics = algorithm.iterate()
    assert metrics["updates"] == updates and metrics["skipped_updates"] == 0
    assert metrics["imitation_loss"] == losses[updates // 10 - 1]


def test_few_updates_are_made_together() -> None:
    algorithm = scripted(max_updates=3)
    assert algorithm.iterate()["updates"] == 3
    assert isinstance(algorithm.actor_optimizer, ClippedAdam)
    assert float(algorithm.actor_optimizer._state["step"][0]) == 3


def test_muon_may_make_the_updates() -> None:
    algorithm = scripted(optimizer="muon", learning_rate=0.02)
    assert isinstance(algorithm.actor_optimizer, Muon)
    rows = [algorithm.iterate() for _ in range(3)]
    assert all(row["skipped_updates"] == 0 for row in rows)
    assert algorithm.state_dict()["actor_optimizer.momentum.0"].any()
    with pytest.raises(ValueError, match="optimizer 'sgd'.*adam"):
        scripted(optimizer="sgd")


def test_it_learns_once_there_are_samples_enough() -> None:
    algorithm = scripted(learning_starts=61)  # an iteration has 30
    before = algorithm.actor.mean.weight.clone()
    rows = [algorithm.iterate() for _ in range(3)]
    assert [row["updates"] for row in rows] == [0, 0, 20]
    assert [row["imitation_loss"] is None for row in rows] == [True, True, False]
    assert rows[0].keys() == rows[2].keys()
    assert not torch.equal(before, algorithm.actor.mean.weight)
    early = scripted(learning_starts=61)
    for _ in range(2):
        early.iterate()
    assert torch.equal(before, early.actor.mean.weight)


def test_the_noise_stays_as_it_is() -> None:
    algorithm = scripted(log_std_init=-1.5)
    rows = [algorithm.iterate() for _ in range(3)]
    assert torch.equal(algorithm.actor.log_std, torch.full((2,), -1.5))
    assert rows[-1]["action_std"] == pytest.approx(0.2231, abs=1e-4)


def test_updates_with_a_gradient_that_is_not_finite_are_counted() -> None:
    class Broken(Scripted):
        def act(self, observation: Any, state: Any) -> Any:
            return super().act(observation, state)[0] * torch.nan, state

    algorithm = small_dagger(expert=Broken())
    metrics = algorithm.iterate()
    assert metrics["skipped_updates"] == metrics["updates"] == 20
    assert metrics["imitation_loss"] is None
    assert all(x.isfinite().all() for x in algorithm.actor.parameters())


def test_threads_do_not_change_it() -> None:
    one, two = (scripted(threads=threads, micro_batch=5) for threads in (1, 2))
    rows = [[without_times(x.iterate()) for _ in range(3)] for x in (one, two)]
    assert rows[0] == rows[1]


def test_a_student_approaches_its_expert() -> None:
    algorithm = scripted(
        PointMass(32, episode_length=40), iterations=40, horizon=10, trunk_size=32,
        actor_hidden=(32,), batch=64, max_updates=20, replay_samples=5_000, log_std_init=-2.0,
    )  # fmt: skip
    rows = [algorithm.iterate() for _ in range(40)]
    assert isinstance(rows[3]["return"], float) and isinstance(rows[-1]["return"], float)
    # the expert itself earns 35 or so
    assert rows[3]["return"] < 20.0 and rows[-1]["return"] > 30.0
    assert isinstance(rows[0]["imitation_loss"], float)
    assert isinstance(rows[-1]["imitation_loss"], float)
    assert rows[-1]["imitation_loss"] < 0.1 * rows[0]["imitation_loss"]


# ---------------------------------------------------------------------- the expert


class Remembering(Scripted):
    def initial_state(self, n: int) -> dict[str, Tensor]:
        return {"last": torch.zeros(n, 2)}


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        (Scripted(PointMass().policy_spec), "sees pixels; an expert must see the state and"),
        (Scripted(PointMass().observation_spec), "sees pixels, state; .* --observe state"),
        (
            Scripted(ObservationSpec((Entry(STATE, "vector", (5,)),))),
            "reads states of 5 numbers, and those of this task have 4. Give an expert of the same",
        ),
        (Scripted(names=("x", "z")), "actions are .*'z'.*, and this task's are .*'y'"),
        (Remembering(), "has a memory, and cannot say what to do in states"),
    ],
)
def test_an_expert_of_something_else_is_refused(expert: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_dagger(expert=expert)


def test_an_expert_that_was_not_loaded_is_refused() -> None:
    config = DaggerConfig(expert=Path("runs/x"), trunk_size=8)
    with pytest.raises(ValueError, match="expert of runs/x was not loaded. Build .*runs.build"):
        DAgger(PointMass(6), config, TrainingContext(10))


def test_nothing_is_trained_without_steps_for_the_student() -> None:
    with pytest.raises(ValueError, match="expert_steps is 600, and all planned steps are 600"):
        small_dagger(expert_steps=600)


def test_an_expert_cannot_be_trained_without_gradients() -> None:
    env = PointMass()
    env.simulator = SimpleNamespace(differentiable=False)
    with pytest.raises(ValueError, match="SHAC, which needs a differentiable simulator; .* --exp"):
        small_dagger(env)
    assert small_dagger(env, Scripted()).iterate()["updates"] == 20


def test_the_expert_is_trained_first_and_its_steps_are_counted() -> None:
    env = PointMass(6)
    algorithm = small_dagger(env)
    trainer = algorithm.trainer
    assert trainer is not None and isinstance(trainer, dva.learning.SHAC)
    assert isinstance(algorithm.expert, ActorPolicy)
    assert list(algorithm.expert.observation_spec) == [STATE]
    start, student = env.state_dict(), algorithm.actor.mean.weight.clone()
    rows, steps, experts = [], [], []
    for _ in range(5):
        rows.append(algorithm.iterate())
        steps.append(algorithm.env_steps)
        experts.append(trainer.actor.mean.weight.clone())
        if len(rows) == 3:  # the student's environments have not moved
            assert all(torch.equal(x, start[name]) for name, x in env.state_dict().items())
            assert torch.equal(student, algorithm.actor.mean.weight)
    assert steps == [30, 60, 90, 120, 150] and algorithm.own_steps == 60
    assert not torch.equal(experts[0], experts[2]) and torch.equal(experts[2], experts[4])
    assert len({tuple(sorted(row)) for row in rows}) == 1
    assert [row["updates"] for row in rows] == [0, 0, 0, 20, 20]
    assert [row["reward"] is None for row in rows] == [True] * 3 + [False] * 2
    assert [row["seconds_expert"] is None for row in rows] == [False] * 3 + [True] * 2
    assert rows[2]["return"] is None and isinstance(rows[2]["expert_return"], float)


def test_the_expert_may_have_environments_of_its_own() -> None:
    algorithm = small_dagger(expert_envs=9, expert_steps=2 * 5 * 9)
    assert algorithm.trainer is not None and algorithm.trainer.env.num_envs == 9
    steps = []
    for _ in range(4):
        algorithm.iterate()
        steps.append(algorithm.env_steps)
    assert steps == [45, 90, 120, 150]
    with pytest.raises(ValueError, match="expert_envs is 0"):
        small_dagger(expert_envs=0)


def test_the_student_s_rate_falls_over_its_own_steps() -> None:
    algorithm = small_dagger(iterations=5, learning_rate=1e-2, final_learning_rate=2e-3)
    rates = [algorithm.iterate()["learning_rate"] for _ in range(6)]
    assert rates == [None] * 3 + [pytest.approx(x) for x in (1e-2, 6e-3, 2e-3)]


def test_its_expert_is_shac() -> None:
    algorithm = small_dagger(seed=4)
    for _ in range(3):
        algorithm.iterate()
    assert algorithm.trainer is not None
    config, told = algorithm.trainer.config, algorithm.trainer.context
    alone = dva.learning.SHAC(
        PointMass(6, observe=("state",), seed=dagger.stream_seed(told.seed, "starts")), config,
        TrainingContext(90, told.seed),
    )  # fmt: skip
    for _ in range(3):
        alone.iterate()
    for name, value in alone.policy.state_dict().items():
        assert torch.equal(algorithm.expert.state_dict()[name], value), name


# ---------------------------------------------------------------------- saving, recording


@pytest.mark.parametrize("after", [2, 6])  # the expert is trained in three
def test_resuming_equals_going_on(after: int, tmp_path: Path) -> None:
    plain, stopped, resumed = small_dagger(seed=1), small_dagger(seed=1), small_dagger(seed=8)
    expected = [without_times(plain.iterate()) for _ in range(9)]
    for _ in range(after):
        stopped.iterate()
    marker = stopped.large_state.save(tmp_path, [])
    resumed.load_state_dict(stopped.state_dict())
    resumed.large_state.load(tmp_path, marker)
    assert [without_times(resumed.iterate()) for _ in range(9 - after)] == expected[after:]
    for name, value in plain.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


KINDS: list[Callable[..., DAgger]] = [
    scripted, functools.partial(scripted, learning_starts=70), small_dagger,
    lambda: scripted(PointMass(6, observe=("pixels", "state"))),
]  # fmt: skip


@pytest.mark.parametrize("make", KINDS)
def test_recorded_iterations_are_plain_iterations(make: Callable[..., DAgger]) -> None:
    plain, recorded = make(), make()
    record_with(recorded, Tape())
    expected = [without_times(plain.iterate()) for _ in range(8)]
    assert [without_times(recorded.iterate()) for _ in range(8)] == expected
    assert recorded._fixed is not None
    for name, value in plain.state_dict().items():
        assert torch.equal(recorded.state_dict()[name], value), name


def test_training_goes_on_where_recording_fails() -> None:
    plain, recorded = scripted(), scripted()
    record_with(recorded, Broken(4))  # the replay has the rollout, and the student has learned
    expected = [without_times(plain.iterate()) for _ in range(6)]
    with pytest.warns(UserWarning, match="out of luck"):
        assert [without_times(recorded.iterate()) for _ in range(6)] == expected


# ---------------------------------------------------------------------- the configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch is 0; it must be between 1 and"),
        ({"max_updates": 0}, "max_updates is 0"),
        ({"stop_loss": -0.1}, "stop_loss is -0.1; it must be 0 or more"),
        ({"learning_starts": -1}, "learning_starts is -1; it must be 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0 and at most 1"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_config_names_the_wrong_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DaggerConfig(**changes)


def test_the_defaults_are_those_of_the_paper_s_table() -> None:
    c = DaggerConfig()
    assert (c.horizon, c.learning_rate, c.adam_betas, c.batch) == (32, 2e-3, (0.7, 0.95), 128)
    assert (c.stop_loss, c.replay_samples) == (0.1, 100_000)
    assert (c.learning_starts, c.max_updates) == (32_000, 2_000)
