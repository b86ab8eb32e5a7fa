"""The script that draws trained robots beside what they see, on a run of a few steps."""

from pathlib import Path

import pytest
from PIL import Image

import picture
from dva import runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("picture") / "run"
    config = runs.default_config(
        "cartpole", preset="cpu", device="cpu", num_envs=2, horizon=4, image_size=24, env_steps=8,
        threads=1, run_dir=folder, video_interval=0, evaluation_episodes=0,
    )  # fmt: skip
    runs.train(config)
    return folder


def test_each_run_is_shown_beside_what_it_sees(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "robots.webp"
    small = "--size 48 --seconds 0.2 --skip 2 --columns 2 --output".split()
    assert picture.main([str(run), str(run), str(run), *small, str(file)]) == 0
    with Image.open(file) as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]
        cell = 2 * 48 + picture.GAP
        assert image.size == (2 * cell + 2 * picture.GAP, 2 * 48 + 2 * picture.GAP)
        shown = image.convert("RGB")
        robot, seen = (shown.crop((x, 0, x + 48, 48)) for x in (0, 48 + picture.GAP))
        assert robot.getextrema() != ((255, 255),) * 3
        assert seen.getextrema() != ((255, 255),) * 3


def test_a_run_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert picture.main([str(tmp_path / "no"), "--output", str(tmp_path / "x.webp")]) == 2
    assert "There is no run in" in capsys.readouterr().err
