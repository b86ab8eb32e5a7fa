"""Runs the programs of examples/ in a quick size, and the notebook from top to bottom."""

import inspect
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def in_examples(forget: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works in examples/."""
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


def test_gradient_descent_through_the_simulator_swings_the_pole_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import trajectory_optimisation as example

    video = tmp_path / "film.mp4"
    forces = example.main(["--quick", "--video", str(video)])
    assert video.stat().st_size > 0
    degrees = float(capsys.readouterr().out.partition("it ends ")[2].split()[0])
    assert degrees < 45  # it hung down at 180
    assert forces.shape == (90, 1)


def test_the_mass_of_a_cart_is_found_in_a_video() -> None:
    import mass_from_video as example

    assert example.main(["--quick"]) == pytest.approx(example.TRUE_MASS, rel=0.05)


def test_the_gradient_of_the_mass_is_that_of_the_pictures() -> None:
    import mass_from_video as example

    model = example.load_model(example.TASK.mjcf, inertia=example.TASK.inertia)
    forces = torch.full((8, 1), 0.5)
    camera = example.make_camera(model, 1, 32)
    video = camera.render(example.simulate(model, forces)[-1:])["rgb"]
    point = math.log(30.0)
    _, slope = example.mass_gradient(video, forces, camera, point)
    sides = [example.mass_gradient(video, forces, camera, point + d)[0] for d in (0.02, -0.02)]
    assert slope == pytest.approx((sides[0] - sides[1]) / 0.04, rel=0.05)


def test_thirty_lines_of_dva_train() -> None:
    import dva_in_30_lines as example

    def three() -> list[float]:
        torch.manual_seed(0)
        return list(itertools.islice(example.train(n=4, horizon=4, size=24), 3))

    history = three()
    assert all(math.isfinite(x) for x in history)
    assert history == three()
    body = inspect.getsource(example.train).partition('step."""\n')[2].splitlines()
    code = [line for line in body if line.strip() and not line.strip().startswith("#")]
    assert len(code) == 30


def test_stable_baselines3_learns_from_the_states() -> None:
    pytest.importorskip("stable_baselines3")
    import stable_baselines3_ppo as example

    returns = example.main(["--quick"])
    assert len(returns) >= 8 and all(math.isfinite(x) for x in returns)


def test_the_notebook_runs_from_top_to_bottom() -> None:
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text("utf-8"))
    assert notebook["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    matplotlib.use("agg")
    namespace: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("iterations = 60", "iterations = 2")
            exec(compile(source, "tour.ipynb", "exec"), namespace)
    assert len(namespace["rewards"]) == 2
    assert bool(namespace["gradient"].any())
