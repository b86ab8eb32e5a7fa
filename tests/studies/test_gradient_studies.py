"""The studies of the gradient, small, and what they claim."""

import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dva import tasks
from dva.cli import main
from dva.sensors import Camera
from dva.sim import load_model
from dva.studies import (
    STUDIES,
    backward_time,
    decomposition,
    find_study,
    gradient_alignment,
    gradient_norm,
    peak_memory,
    theorem1,
)
from dva.studies.building import build_first_order, first_order_config
from dva.studies.gradients import (
    Start,
    control_regularization,
    cosine,
    decoupled_gradient,
    flat,
    full_gradient,
)
from dva.studies.report import silent
from dva.studies.routes import ROUTES, Route, open_route


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = find_study(name)
    assert study.__doc__ and "Source: D.Va" in study.__doc__
    with pytest.raises(SystemExit) as exit_:
        main(["study", name, "--help"])
    assert exit_.value.code == 0 and "--full" in capsys.readouterr().out
    page = Path(__file__).parents[2] / "docs" / "studies" / f"{name}.md"
    assert f"dva study {name}" in page.read_text()


def test_an_unknown_study_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "theorem2"]) == 2
    assert "theorem2" in capsys.readouterr().err


def test_theorem_1_holds_to_round_off() -> None:
    result = theorem1.measure(
        theorem1.Config(tasks=("cartpole",), iterations=1, comparisons=1, device="cpu")
    )
    for row in result["rows"]:
        assert row["norm"] > 1e-3
        assert row["one_graph_error"] < 1e-5
        assert row["cloning_error"]["1"] < 1e-4 and row["cloning_error"]["10"] < 1e-4
    assert theorem1.summary(result) and theorem1.draw(result)


def test_the_parts_add_up_to_the_full_gradient() -> None:
    result = decomposition.measure(
        decomposition.Config(tasks=("cartpole",), iterations=1, comparisons=1, device="cpu")
    )
    assert {row["observe"] for row in result["rows"]} == {"pixels", "state"}
    for row in result["rows"]:
        assert row["regularization_norm"] > 0.0
        # float32 rounds the full gradient, however small a part of it the regularisation is
        assert row["error"] * row["regularization_norm"] < 2e-6 * row["full_norm"]
        assert row["error"] < 0.01
    state = next(row for row in result["rows"] if row["observe"] == "state")
    assert state["regularization_norm"] > 0.01 * state["full_norm"]
    assert decomposition.summary(result) and decomposition.draw(result)


def test_a_wrong_regularization_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: Any) -> list[torch.Tensor]:
        return [1.1 * part for part in control_regularization(*arguments)]

    monkeypatch.setattr(decomposition, "control_regularization", wrong)
    config = decomposition.Config(tasks=("cartpole",), iterations=1, comparisons=1, device="cpu")
    rows = decomposition.measure(config)["rows"]
    # from pixels it is a small part of the full gradient, and noticed as well
    assert min(row["regularization_norm"] / row["full_norm"] for row in rows) < 0.1
    assert [row["error"] for row in rows] == pytest.approx(2 * [0.1 / 1.1], rel=0.05)


@pytest.mark.parametrize(
    ("task", "iterations"), [("cartpole", 800), ("hopper", 2_000), ("ant", 2_000)]
)
def test_both_methods_plan_as_much_with_the_differentiable_camera(
    task: str, iterations: int
) -> None:
    for algo in ("dva", "shac"):
        for changes in ({}, {"num_envs": 8, "horizon": 4}):
            config = first_order_config(
                task, algo, "pixels", camera="differentiable", device="cpu", **changes
            )
            each = config.env.num_envs * config.algorithm.horizon
            assert config.run.env_steps == iterations * each
    assert first_order_config("cartpole", "dva", "pixels").run.env_steps == 4_000 * 64 * 32
    given = first_order_config(task, "dva", "pixels", camera="differentiable", env_steps=123)
    assert given.run.env_steps == 123


def test_gradients_are_compared_along_a_run() -> None:
    config = gradient_alignment.Config(task="cartpole", iterations=4, comparisons=2, device="cpu")
    result = gradient_alignment.measure(config)
    assert [row["iteration"] for row in result["rows"]] == [2, 4]
    # By another route: the full gradient as the sum of its two parts.
    described = first_order_config("cartpole", "shac", "state", 4, device="cpu")
    with build_first_order(described) as algorithm:
        for row in result["rows"]:
            algorithm.iterate()
            algorithm.iterate()
            start = Start(algorithm, row["iteration"])
            decoupled = flat(decoupled_gradient(algorithm, start))
            full = decoupled + flat(control_regularization(algorithm, start))
            assert row["decoupled_norm"] == pytest.approx(decoupled.norm().item(), rel=1e-4)
            assert row["full_norm"] == pytest.approx(full.norm().item(), rel=1e-4)
            assert 1.0 - row["cosine"] == pytest.approx(1.0 - cosine(full, decoupled), rel=1e-2)
    assert gradient_alignment.summary(result) and gradient_alignment.draw(result)


NORMS = {"tasks": ("cartpole",), "iterations": 1, "horizons": (2, 6), "device": "cpu"}


def test_norms_are_compared_for_every_horizon_and_softness() -> None:
    config = gradient_norm.Config(**NORMS, comparisons=2, softness=(1.0, 0.1))
    rows = gradient_norm.measure(config)["rows"]
    cases = [(row["softness"], row["iteration"], row["horizon"]) for row in rows]
    assert cases == list(itertools.product((1.0, 0.1), (1, 2), (2, 6)))
    for row in rows:
        assert row["visual_feedback"] > 0.0
        difference = abs(row["full_norm"] - row["decoupled_norm"])
        assert 0.0 < difference <= row["images_norm"] * (1 + 1e-6)
    # the same states and noise through another camera
    for soft, sharp in zip(rows[:4], rows[4:], strict=True):
        assert soft["images_norm"] != sharp["images_norm"]
    assert gradient_norm.draw({"rows": rows})
    assert "does not appear" in gradient_norm.summary({"rows": rows})[-1]
    lost = [{**rows[0], "full_norm": None}, *rows[1:]]
    assert gradient_norm.draw({"rows": lost})
    assert "in 1 of 8 comparisons" in gradient_norm.summary({"rows": lost})[-1]


def test_a_blind_policy_shows_in_the_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    restore = gradient_norm._restore

    def restore_blind(algorithm: Any, moment: Any) -> None:
        moment.state["policy.actor.mean.weight"].zero_()
        restore(algorithm, moment)

    monkeypatch.setattr(gradient_norm, "_restore", restore_blind)
    config = gradient_norm.Config(**NORMS, comparisons=1, softness=(1.0,))
    result = gradient_norm.measure(config)
    for row in result["rows"]:
        assert row["visual_feedback"] < 1e-6 and row["images_norm"] < 1e-6 * row["full_norm"]
    assert "blind in 2 of 2" in gradient_norm.summary(result)[0]


def test_the_gradients_compared_start_where_training_stands() -> None:
    config = gradient_norm.Config(**NORMS, comparisons=1, center_features=False)
    trained = first_order_config(
        "cartpole", "dva", "pixels", 2, camera="differentiable", device="cpu", num_envs=2,
        image_size=24, horizon=4,
    )  # fmt: skip
    (moment,) = gradient_norm._train(trained, config, silent)
    described = first_order_config(
        "cartpole", "shac", "pixels", 2, camera="differentiable", device="cpu", num_envs=2,
        image_size=24,
    )  # fmt: skip
    with build_first_order(described) as algorithm:
        gradient_norm._restore(algorithm, moment)
        found = algorithm.state_dict()
        for name, value in moment.state.items():
            if not name.startswith("env.") or name.startswith("env.physics.joint_q"):
                assert torch.equal(found[name], value), name
        newest = algorithm.env.newest("pixels")
        before = moment.state["env.observed.pixels"][:, -3:]
        assert (newest - before).abs().max() <= 0.51  # rounded to bytes then


def test_every_route_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    lengths = {route: itertools.cycle(range(1, 5)) for route in ROUTES}
    steps = {"rollout": Route.rollout, "backward": Route.backward}

    def slow_rollout(route: Route) -> Any:
        clock.now += next(lengths[route.name])
        return steps["rollout"](route)

    def slow_backward(route: Route, rollout: Any) -> None:
        clock.now += 10 * (1 + ROUTES.index(route.name))
        steps["backward"](route, rollout)

    monkeypatch.setattr(Route, "rollout", slow_rollout)
    monkeypatch.setattr(Route, "backward", slow_backward)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    config = backward_time.Config(
        tasks=("cartpole",), repeats=3, num_envs=2, horizon=3, image_size=24, device="cpu"
    )
    result = backward_time.measure(config)
    assert [row["route"] for row in result["rows"]] == list(ROUTES)
    assert [row["backward_s"] for row in result["rows"]] == [10.0, 20.0, 30.0, 40.0]
    # rollouts of 1 to 4 seconds, of which the first is not counted
    assert [row["rollout_s"] for row in result["rows"]] == [3.0] * 4
    assert backward_time.summary(result) and backward_time.draw(result)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_route_gives_its_gradient(seed: int) -> None:
    size = {"num_envs": 2, "horizon": 8, "image_size": 24, "precision": "float32"}
    independent = {"one-graph": decoupled_gradient, "visual-shac": full_gradient}
    found, expected = {}, {}
    for name in ROUTES:
        with open_route(name, "cartpole", seed, "cpu", 2, **size) as route:
            algorithm = route.algorithm
            start = Start(algorithm, seed=0)
            drawn = algorithm.generators["noise"].get_state()
            start.noise = torch.stack([algorithm.draw_noise() for _ in range(8)])
            algorithm.generators["noise"].set_state(drawn)
            if name in independent:
                expected[name] = flat(independent[name](algorithm, start))
            route.backward(route.rollout())
            found[name] = flat([p.grad for p in algorithm.actor.parameters()])  # type: ignore[misc]

    def difference(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one - other).norm() / one.norm())

    for name in independent:
        assert difference(found[name], expected[name]) < 1e-5
    # Cutting the graph of the images does change the gradient.
    assert difference(found["one-graph"], found["visual-shac"]) > 1e-3
    assert difference(found["dva"], found["dva-lean"]) < 1e-5
    # D.Va sees the images of the same rollout rounded to whole numbers.
    assert cosine(found["dva"], found["one-graph"]) > 0.998


def test_the_graph_of_images_shows_in_memory() -> None:
    size = {"num_envs": 4, "horizon": 16, "image_size": 48}
    peaks = {}
    for route in ("dva", "visual-shac"):
        row = peak_memory.measure_apart(
            route=route, task="cartpole", seed=0, device="cpu", state_storage="recompute", **size
        )
        peaks[route] = row["peak_mb"]
    # the activations of 64 images: 4 layers of 32 channels, 23^2 to 17^2 pixels, 4 bytes or 2
    assert peaks["visual-shac"] > peaks["dva"] > 0.0


def test_decoration_is_seen_and_not_felt(tmp_path: Path) -> None:
    plain = tasks.get("hopper")
    name = peak_memory._decorated(plain, 20, tmp_path)
    models = [load_model(task.mjcf, inertia=task.inertia) for task in (plain, tasks.get(name))]
    for field in ("link_mass", "link_com", "link_inertia", "contact_point"):
        np.testing.assert_array_equal(getattr(models[0], field), getattr(models[1], field))
    images = [
        Camera(model, plain.view, plain.scene, 1, 48).render(
            torch.tensor(model.initial_q, dtype=torch.float32)[None]
        )["rgb"]
        for model in models
    ]
    assert (images[0] != images[1]).any(1).sum() > 5
