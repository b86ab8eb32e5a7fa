"""The report of runs: what stands in the page, and what a browser makes of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from made_runs import make_run

from dva.cli import main
from dva.runs import UsageError
from dva.runs.video import VideoWriter
from dva.studies.comparison import compare
from dva.viewer import write_report

ROWS = [
    {"actor_grad_norm": 10.0**k, "visual_feedback": 0.1 * k, "seconds_rollout": 0.5}
    for k in range(4)
]

PLAY = """async video => {
    await video.play();
    while (video.currentTime < 0.1) await new Promise(done => setTimeout(done, 50));
}"""


def drawn(page: Path) -> dict[str, Any]:
    """Returns the JSON that a page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found is not None
    return json.loads(found.group(1))


def film(folder: Path, name: str = "step-000000000100") -> None:
    with VideoWriter(folder / "videos" / f"{name}.mp4", fps=30) as writer:
        for step in range(20):
            frame = torch.zeros(3, 64, 64, dtype=torch.uint8)
            frame[0, :, 3 * step : 3 * step + 4] = 255
            writer.add(frame)


def three_seeds(folder: Path) -> list[Path]:
    for seed, last in enumerate((10.0, 20.0, 60.0)):
        make_run(folder / f"run-{seed}", [None, 4.0, 8.0, last], rows=ROWS, seed=seed)
    return [folder / f"run-{seed}" for seed in range(3)]


def test_a_page_holds_curves_bands_settings_and_the_command(tmp_path):
    paths = three_seeds(tmp_path)
    write_report(paths, tmp_path / "report.html")
    data = drawn(tmp_path / "report.html")
    assert [run["metrics"]["return"] for run in data["runs"]][2] == [None, 4.0, 8.0, 60.0]
    assert data["runs"][0]["x"]["env_steps"] == [100, 200, 300, 400]
    assert data["runs"][0]["x"]["minutes"] == pytest.approx([3 / 60, 5 / 60, 7 / 60, 9 / 60], 1e-4)
    bands = data["groups"][0]["bands"]
    assert bands["return"]["env_steps"]["mean"][-1] == pytest.approx(30.0)  # of 10, 20 and 60
    feedback = bands["visual_feedback"]["minutes"]
    assert feedback["low"] == feedback["high"] == feedback["mean"]  # the same for every seed
    text = (tmp_path / "report.html").read_text()
    assert "algorithm.<wbr>horizon" in text and "seconds for a million" in text.lower()
    for link in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert link.startswith(("#", "data:")), link


def test_two_seeds_have_a_band_from_the_lowest_to_the_highest(tmp_path):
    make_run(tmp_path / "a", [2.0, 4.0], seed=0)
    make_run(tmp_path / "b", [6.0, 12.0], seed=1)
    write_report([tmp_path], tmp_path / "report.html")
    band = drawn(tmp_path / "report.html")["groups"][0]["bands"]["return"]["env_steps"]
    assert (band["low"][-1], band["mean"][-1], band["high"][-1]) == (4.0, 8.0, 12.0)


def test_runs_that_differ_are_groups_labelled_by_what_differs(tmp_path):
    make_run(tmp_path / "short", [1.0], horizon=8)
    make_run(tmp_path / "long", [2.0], horizon=16)
    make_run(tmp_path / "again", [3.0], horizon=16)
    labels = sorted(compare([tmp_path], split=True).labels)
    assert labels[0].startswith("dva (pixels), horizon 16")
    assert "dva (pixels), horizon 8" in labels and len(labels) == 3
    with pytest.raises(UsageError, match="horizon"):
        compare([tmp_path / "short", tmp_path / "long"])


def test_what_a_run_says_cannot_end_the_pages_script(tmp_path):
    make_run(tmp_path / "<script>", [1.0])
    write_report([tmp_path / "<script>"], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.count("</script>") == 2 and "&lt;script&gt;" in text
    assert drawn(tmp_path / "report.html")["runs"][0]["name"] == "<script>"


def test_the_command_takes_videos_along_and_names_what_is_wrong(tmp_path, capsys):
    run = make_run(tmp_path / "run", [1.0, 2.0])
    for number in range(5):
        film(run.path, f"step-{number:012d}")
    output = tmp_path / "page.html"
    assert main(["report", str(run.path), "-o", str(output), "--videos", "2"]) == 0
    text = output.read_text()
    assert text.count("data:video/mp4") == text.count('poster="data:image/jpeg') == 2
    assert re.search(r">0 steps<.*>4 steps<", text, re.S)  # first and last
    assert str(output) in capsys.readouterr().out
    assert main(["report", str(run.path), "-o", str(tmp_path / "page.txt")]) == 2
    assert "must end in .html" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "dva report RUN..." in capsys.readouterr().err


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_draws_the_page(tmp_path, open_page, width, scheme):
    paths = three_seeds(tmp_path)
    film(paths[0])
    write_report(paths, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html", width, scheme)
    figure = page.locator('figure[data-metric="return"]')
    lines = figure.locator("polyline")
    assert lines.count() == 4 and figure.locator("polygon").count() == 1  # seeds, mean and band
    points = lines.nth(2).get_attribute("points")
    assert len(points.split()) == 3  # the first return is not known
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(20, 23, 27)") == (scheme == "dark")

    page.get_by_role("button", name="Steps").click()
    assert "environment steps" in figure.locator("svg").text_content()
    page.locator("[data-group]").click()
    assert figure.locator("polyline").count() == 0
    page.locator("[data-group]").click()
    figure.locator(".plot").hover()
    assert "seed 1" in figure.locator(".tip").text_content()

    video = page.locator("video")
    video.evaluate(PLAY)
    assert video.evaluate("video => [video.videoWidth, video.error]") == [64, None]
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
