"""Parts of D.Va switched off: what each variant changes, and how rewards are compared."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dva import runs
from dva.learning import DvaConfig
from dva.runs.config import config_to_dict
from dva.studies import ablation
from dva.studies.report import silent


def test_every_variant_changes_its_part_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[runs.TrainConfig] = []
    monkeypatch.setattr(ablation, "train_run", lambda report, config: asked.append(config))
    config = ablation.Config(seeds=2, run_dir=tmp_path, device="cpu")
    trained = ablation._train(config, "anymal", silent)
    assert all(len(members) == 2 for members in trained.values())
    assert [one.run.seed for one in asked] == 11 * [0] + 11 * [1]
    assert len({one.run.run_dir for one in asked}) == 22
    assert {one.run.env_steps for one in asked} == {204_800}
    values = [config_to_dict(one)["algorithm"] for one in asked[:11]]
    changed = [{name for name in values[0] if one[name] != values[0][name]} for one in values]
    parts = [{"center_features"}, {"action_gradient_cap"}, {"guide"}]
    blind = {"guide_envs", "guide_restarts", "quiet_share"}
    one_more = [{"guide_closed_loop"}, {"guide_average"}, blind]
    last = [{"guide_restarts"}, {"quiet_share"}, {"stagger"}, set.union(*parts)]
    assert changed == [set(), *parts, *one_more, *last]
    published = DvaConfig()
    assert all(values[-1][name] == getattr(published, name) for name in changed[-1])
    assert all(config.configure(task).algorithm.guide for task in ("cartpole", "anymal"))
    asked.clear()
    ablation._train(ablation.Config(full=True, device="cpu"), "anymal", silent)
    assert len(asked) == 33
    assert {one.run.env_steps for one in asked} == {1_000 * 64 * 32}


def fake_run(seed: int, rewards: list[float | None]) -> Any:
    rows = [{"env_steps": 10 * (i + 1), "reward": reward} for i, reward in enumerate(rewards)]
    config = SimpleNamespace(run=SimpleNamespace(seed=seed))
    return SimpleNamespace(path=f"run-{seed}", config=config, metrics=lambda: rows)


def test_rewards_are_smoothed_over_the_window_that_is_named() -> None:
    ramps = [fake_run(seed, [float(i + 10 * seed) for i in range(40)]) for seed in (0, 1)]
    curve = ablation._curve(ramps)
    assert curve["window"] == 2 and curve["seeds"] == [0, 1]
    assert (curve["positions"][0], curve["positions"][-1]) == (20.0, 400.0)
    assert (curve["mean"][0], curve["lowest"][0], curve["highest"][0]) == (5.5, 0.5, 10.5)
    assert (curve["mean"][-1], curve["lowest"][-1], curve["highest"][-1]) == (43.5, 38.5, 48.5)


def test_rewards_that_are_not_finite_are_left_out() -> None:
    assert ablation._rewards(fake_run(0, [1.0, None, 3.0])) == ([10, 30], [1.0, 3.0])
    with pytest.raises(runs.UsageError, match="run-0 has no finite reward"):
        ablation._rewards(fake_run(0, [None]))


def test_a_study_trains_compares_and_keeps_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = {name: ablation.VARIANTS[name] for name in ("all", "none")}
    monkeypatch.setattr(ablation, "VARIANTS", variants)
    config = ablation.Config(
        tasks=("cartpole",), env_steps=32, num_envs=4, horizon=4, image_size=16,
        evaluation_episodes=1, run_dir=tmp_path, device="cpu",
    )  # fmt: skip
    result = ablation.measure(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cartpole-all-0", "cartpole-none-0",
    ]  # fmt: skip
    for row, variant in zip(result["rows"], variants, strict=True):
        run = runs.Run.open(tmp_path / f"cartpole-{variant}-0")
        assert row["reward"] == row["reward_lowest"] == run.metrics()[-1]["reward"]
        assert row["evaluation"] is not None
    said: list[str] = []
    # as if a signal had come before one evaluation
    (tmp_path / "cartpole-all-0" / "evaluation.json").unlink()
    assert ablation.measure(config, said.append) == result
    assert not any("Training" in line for line in said)
    assert ablation.draw(result)
    table = ablation.summary(result)
    assert len(table) == 3 and "none" in table[2]
    bare = [{**row, "evaluation": None} for row in result["rows"]]
    assert table[1] != ablation.summary({**result, "rows": bare})[1]
