"""Runs that are limited by minutes: what they plan, when, and that resuming keeps it."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from own_algorithms import Plain

from dva import runs
from dva.learning import DVA
from dva.learning.optimizer import linear_learning_rate
from dva.runs import Run, UsageError
from dva.runs.metrics import is_timing
from dva.runs.pace import PacedPlan, Planner

STEPS = 4 * 4
"""Environment steps of one iteration."""
FIRST, FINAL = 1e-2, 1e-4
"""Learning rates."""
FITTING = 20 + 38
"""Iterations of a second that are planned for a minute: 20, and what fits into 95 % of 40 s."""


class Clock:
    """Stands still but for iterations, each of which takes `seconds`."""

    def __init__(self) -> None:
        self.now, self.seconds = 0.0, 1.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


@pytest.fixture
def scheduled(own: Any, clock: Clock) -> Callable[..., runs.TrainConfig]:
    """Makes configurations of an algorithm whose learning rate falls, with a minute's time."""

    class Scheduled(Plain):
        def __init__(self, env, config, context) -> None:
            super().__init__(env, config, context)
            self.context = context

        def iterate(self):
            rate = linear_learning_rate(FIRST, FINAL, self.env_steps, self.context.env_steps)
            self.optimizer.param_groups[0]["lr"] = rate
            clock.now += clock.seconds
            return {**super().iterate(), "learning_rate": rate}

    def make(**changes: Any) -> runs.TrainConfig:
        return own(Scheduled, **{"minutes": 1.0, "env_steps": 100 * STEPS, **changes})

    return make


def changed(config: runs.TrainConfig, **changes: Any) -> runs.TrainConfig:
    """The configuration with other fields of its `run`."""
    return dataclasses.replace(config, run=dataclasses.replace(config.run, **changes))


def repeatable(run: Run) -> list[dict[str, Any]]:
    """The metrics without those that depend on the machine's speed or memory."""
    return [{k: v for k, v in row.items() if not is_timing(k)} for row in run.metrics()]


def rates(run: Run) -> Iterator[float]:
    return (row["learning_rate"] for row in run.metrics())


def rate(iteration: int, planned: int, first: float = FIRST, final: float = FINAL) -> float:
    """The learning rate of an iteration (from 1 on) where so many are planned."""
    return linear_learning_rate(first, final, iteration - 1, planned)


class Killed(Exception):
    pass


def kill_at(iteration: int) -> Callable[[runs.Update], None]:
    def report(update: runs.Update) -> None:
        if update.row is not None and update.row["iteration"] >= iteration:
            raise Killed

    return report


def test_learning_rates_reach_their_end_within_the_minutes(scheduled, clock):
    updates: list[runs.Update] = []
    outcome = runs.train(scheduled(evaluation_episodes=1), updates.append)
    assert outcome.reason == "finished" and outcome.evaluation is not None
    assert len(outcome.run.metrics()) == FITTING
    assert 0.9 * 60 < clock.now < 60
    expected = [rate(i, 100 if i <= 20 else FITTING) for i in range(1, FITTING + 1)]
    assert list(rates(outcome.run)) == pytest.approx(expected, rel=1e-12)
    said = [update.message for update in updates if "Planned" in (update.message or "")]
    assert said == [f"Planned {FITTING * STEPS:,} steps to fit 1 min"]
    ends = [update.last_step for update in updates if update.row is not None]
    assert ends == [100 * STEPS] * 19 + [FITTING * STEPS] * (FITTING - 19)
    left = [update.seconds_left for update in updates if update.row is not None]
    assert left[-2:] == pytest.approx([1.0, 0.0])


def test_dva_anneals_too(tiny, clock, monkeypatch):
    iterate = DVA.iterate

    def timed(self):
        clock.now += 1.0
        return iterate(self)

    monkeypatch.setattr(DVA, "iterate", timed)
    config = tiny(minutes=0.5, env_steps=1000 * STEPS)
    outcome = runs.train(config)
    planned = 15 + 14  # half of the time is over before 20 iterations
    assert outcome.reason == "finished" and len(outcome.run.metrics()) == planned
    first, final = config.algorithm.actor_learning_rate, config.algorithm.final_learning_rate
    found = list(rates(outcome.run))
    assert found[14] == pytest.approx(rate(15, 1000, first, final))
    assert found[-1] == pytest.approx(rate(planned, planned, first, final))


def test_the_plan_is_stored(scheduled):
    run = Run.open(runs.train(scheduled()).run.path)
    assert run.config.run.env_steps == FITTING * STEPS
    assert run.paced == (PacedPlan(FITTING * STEPS, 20 * STEPS, 100 * STEPS, 1.0),)
    stored = yaml.safe_load((run.path / "config.yaml").read_text())
    plan = {
        "env_steps": FITTING * STEPS, "since": 20 * STEPS, "before": 100 * STEPS, "minutes": 1.0,
    }  # fmt: skip
    assert stored["paced"] == [plan]
    stored["paced"] = plan  # as the first versions wrote it
    (run.path / "config.yaml").write_text(yaml.safe_dump(stored))
    assert Run.open(run.path).paced == run.paced
    with pytest.raises(UsageError, match=f"finished 928 of 928 planned .*--env-steps {2 * 928}"):
        runs.train(resume=run)


@pytest.mark.parametrize("saved", [1, 6, 18, 1000])
@pytest.mark.parametrize("killed", [20, 21, 40])
def test_a_killed_run_repeats_its_plan(scheduled, tmp_path, saved, killed):
    whole = runs.train(scheduled(run_dir=tmp_path / "whole")).run
    config = scheduled(checkpoint_interval=saved * STEPS)
    with pytest.raises(Killed):
        runs.train(config, kill_at(killed))
    with pytest.raises(Killed):
        runs.train(None, kill_at(20), resume=Run.open(config.run.run_dir))
    outcome = runs.train(resume=Run.open(config.run.run_dir))
    assert outcome.reason == "finished"
    assert repeatable(outcome.run) == repeatable(whole)


def test_a_run_killed_before_its_plan_has_none(scheduled):
    config = scheduled(checkpoint_interval=6 * STEPS)
    with pytest.raises(Killed):
        runs.train(config, kill_at(15))
    run = Run.open(config.run.run_dir)
    assert run.paced == ()
    runs.train(changed(run.config, minutes=0.5), resume=run)  # sets it by its own pace
    assert run.paced == (PacedPlan((12 + 29) * STEPS, (12 + 15) * STEPS, 100 * STEPS, 0.5),)
    assert Run.open(run.path).paced == run.paced


@pytest.mark.parametrize("iterations", [80, 100])
def test_given_steps_replace_the_plan(scheduled, iterations):
    """Also those that were planned before the pace was known."""
    run = runs.train(scheduled()).run
    given = changed(run.config, minutes=None, env_steps=iterations * STEPS)
    with pytest.raises(Killed):
        runs.train(given, kill_at(FITTING + 1), resume=run)  # before a checkpoint
    run = Run.open(run.path)
    assert (run.config.run.env_steps, run.paced) == (iterations * STEPS, ())
    assert runs.train(resume=run).reason == "finished"
    expected = [rate(i, iterations) for i in range(FITTING + 1, iterations + 1)]
    assert list(rates(run))[FITTING:] == pytest.approx(expected, rel=1e-12)


def test_given_steps_with_minutes_are_a_new_plan(scheduled):
    run = runs.train(scheduled()).run
    outcome = runs.train(changed(run.config, env_steps=1000 * STEPS), resume=run)
    assert outcome.reason == "finished"
    assert len(outcome.run.metrics()) == 2 * FITTING
    plan = PacedPlan(2 * FITTING * STEPS, (FITTING + 20) * STEPS, 1000 * STEPS, 1.0)
    assert run.paced == (plan,)


def test_later_minutes_only_stop(scheduled):
    run = runs.train(scheduled(stop_at=25 * STEPS)).run
    paced = run.paced
    config = changed(run.config, minutes=0.45, stop_at=None)
    outcome = runs.train(config, resume=Run.open(run.path))
    assert outcome.reason == "minutes"
    assert len(run.metrics()) == 25 + 27
    assert outcome.run.paced == paced == Run.open(run.path).paced
    assert outcome.run.config.run.env_steps == FITTING * STEPS
    assert runs.train(resume=outcome.run).reason == "finished"
    assert list(rates(run))[-1] == pytest.approx(rate(FITTING, FITTING))


@pytest.mark.parametrize("stop", [20, 30])
def test_a_stop_leaves_the_plan(scheduled, tmp_path, stop):
    whole = runs.train(scheduled(run_dir=tmp_path / "whole")).run
    outcome = runs.train(scheduled(stop_at=stop * STEPS))
    assert outcome.reason == "stop_at"
    assert outcome.run.paced == whole.paced
    runs.train(resume=Run.open(outcome.run.path))
    assert repeatable(outcome.run) == repeatable(whole)


def test_a_stop_beyond_the_plan_is_none(scheduled):
    outcome = runs.train(scheduled(stop_at=90 * STEPS))
    assert outcome.reason == "finished"
    assert len(outcome.run.metrics()) == FITTING


@pytest.mark.parametrize("iterations", [10, 20, FITTING])
def test_never_more_than_the_configured_steps(scheduled, iterations):
    messages: list[str | None] = []
    config = scheduled(env_steps=iterations * STEPS)
    outcome = runs.train(config, lambda update: messages.append(update.message))
    assert outcome.reason == "finished"
    run = Run.open(outcome.run.path)
    assert (run.config.run.env_steps, run.paced) == (iterations * STEPS, ())
    assert list(rates(run)) == [rate(i, iterations) for i in range(1, iterations + 1)]
    assert not any("Planned" in message for message in messages if message)


def change_pace(clock: Clock, iteration: int, seconds: float) -> Callable[[runs.Update], None]:
    def report(update: runs.Update) -> None:
        if update.row is not None and update.row["iteration"] == iteration:
            clock.seconds = seconds

    return report


@pytest.mark.parametrize(
    "seconds, expected",
    [
        (2.0, [(FITTING, 20), (33 + 11, 33)]),  # at 36 s: 11 more fit into 22.8 s
        (0.7, [(FITTING, 20), (39 + 32, 39)]),  # at 36.3 s: 32 into 22.5 s
    ],
)
def test_a_plan_is_corrected_where_the_pace_changes(scheduled, clock, seconds, expected):
    outcome = runs.train(scheduled(), change_pace(clock, 30, seconds))
    run = outcome.run
    plans = [(plan.env_steps // STEPS, plan.since // STEPS) for plan in run.paced]
    assert (outcome.reason, plans) == ("finished", expected)
    assert 0.9 * 60 < clock.now < 60
    assert [plan.before for plan in run.paced] == [100 * STEPS, FITTING * STEPS]
    (_, first), (planned, corrected) = expected
    expected_rates = [rate(i, 100) for i in range(1, first + 1)]
    expected_rates += [rate(i, FITTING) for i in range(first + 1, corrected + 1)]
    expected_rates += [rate(i, planned) for i in range(corrected + 1, planned + 1)]
    assert list(rates(run)) == pytest.approx(expected_rates, rel=1e-12)


def test_a_killed_run_repeats_its_corrections(scheduled, clock, tmp_path):
    whole = runs.train(scheduled(run_dir=tmp_path / "whole"), change_pace(clock, 30, 2.0)).run
    clock.seconds = 1.0
    config = scheduled(checkpoint_interval=7 * STEPS)
    slower, kill = change_pace(clock, 30, 2.0), kill_at(34)

    def report(update: runs.Update) -> None:
        slower(update)
        kill(update)

    with pytest.raises(Killed):
        runs.train(config, report)
    run = Run.open(config.run.run_dir)
    assert len(run.paced) == 2
    outcome = runs.train(resume=run)  # from iteration 28, before the correction
    assert outcome.reason == "finished"
    assert repeatable(outcome.run) == repeatable(whole)


def test_a_run_that_becomes_slower_at_its_end_stops_by_time(scheduled, clock):
    outcome = runs.train(scheduled(), change_pace(clock, 55, 3.0))
    assert outcome.reason == "minutes"
    assert len(outcome.run.metrics()) == 55 + 2
    assert outcome.run.config.run.env_steps == FITTING * STEPS


# ---------------------------------------------------------------------- the planner alone


MOST = 10_000 * STEPS


def measured(planner: Planner, *seconds: float) -> Planner:
    for value in seconds:
        planner.measure(STEPS, value)
    return planner


def test_slow_first_iterations_do_not_count():
    planner = measured(Planner(100.0, MOST), *[4.0] * 5, *[1.0] * 14)
    assert planner.plan(1000, elapsed=40.0) is None
    assert measured(planner, 1.0).plan(1000, elapsed=40.0) == 1000 + 57 * STEPS


def test_a_long_run_is_measured_for_longer():
    planner = measured(Planner(1000.0, MOST), *[1.0] * 40)
    assert planner.plan(0, elapsed=49.0) is None
    assert planner.plan(0, elapsed=50.0) == 902 * STEPS


def test_slow_iterations_are_planned_at_half_the_time():
    planner = measured(Planner(100.0, MOST), 30.0)
    assert planner.plan(0, elapsed=60.0) is None  # it may have compiled
    assert measured(planner, 10.0).plan(0, elapsed=70.0) == 2 * STEPS
    late = measured(Planner(100.0, MOST), 40.0, 40.0)
    assert late.plan(0, elapsed=100.0) is None  # the time is over
    assert late.plan(0, elapsed=99.0) == STEPS  # one always fits otherwise


def test_iterations_that_only_collect_are_not_measured(scheduled, clock, monkeypatch):
    """An algorithm that fills its memory first is faster then."""
    iterate = Plain.iterate

    def collecting(self):
        metrics = iterate(self)
        collects = self.env_steps <= 15 * STEPS
        clock.seconds = 0.1 if self.env_steps < 15 * STEPS else 1.0
        return {**metrics, "updates": 0} if collects else metrics

    monkeypatch.setattr(Plain, "iterate", collecting)
    clock.seconds = 0.1
    run = runs.train(scheduled()).run
    assert run.paced[0].since == 35 * STEPS
    assert run.paced[0].env_steps == (35 + 36) * STEPS  # 95 % of 38.5 s


def test_a_correction_counts_what_iterations_do_not():
    """Checkpoints and videos take time, too."""
    planner = measured(Planner(100.0, MOST), *[1.0] * 20)
    assert planner.plan(20 * STEPS, elapsed=20.0) == (20 + 76) * STEPS
    assert measured(planner, 1.0).plan(21 * STEPS, elapsed=24.9) is None
    measured(planner, *[1.0] * 9)
    assert planner.plan(30 * STEPS, elapsed=40.0) == (30 + 28) * STEPS  # two seconds each
    measured(planner, *[1.0] * 10)
    assert planner.plan(40 * STEPS, elapsed=61.0) is None  # 57 now: as good as 58
    measured(planner, *[1.0] * 20)
    assert planner.plan(60 * STEPS, elapsed=80.0) == (60 + 20) * STEPS


def test_no_correction_plans_more_than_was_asked_for():
    planner = measured(Planner(100.0, 80 * STEPS), *[1.0] * 20)
    assert planner.plan(20 * STEPS, elapsed=20.0) is None  # 96 would fit
    measured(planner, *[1.0] * 10)
    assert planner.plan(30 * STEPS, elapsed=40.0) == 58 * STEPS
    measured(planner, *[0.2] * 50)
    assert planner.plan(79 * STEPS, elapsed=50.0) == 80 * STEPS
