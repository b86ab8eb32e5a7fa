"""The page in a browser: the scene draws, controls work, plots have points."""

import re
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dva.runs import Run
from dva.runs.checkpoint import load_checkpoint, save_checkpoint
from dva.viewer import view

PATIENCE = 120_000
QUIET = ("THREE.Clock", "GPU stall due to ReadPixels")
"""Warnings of libraries about themselves."""


@pytest.fixture
def open_viewer(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page of a viewer; at the end no page may have complained or asked the network."""
    complaints: list[str] = []
    pages = []

    def open_one(url: str, width: int = 1100, height: int = 640) -> Any:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE)

        def hear(message: Any) -> None:
            if message.type in ("error", "warning") and not any(x in message.text for x in QUIET):
                complaints.append(message.text)

        def look(request: Any) -> None:
            if not request.url.startswith((url, url.replace("http", "ws"), "data:", "blob:")):
                complaints.append(request.url)

        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", look)
        page.goto(url)
        page.get_by_text("Driven by").wait_for()
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.close()
    assert not complaints


def step_of(page: Any) -> int:
    found = re.search(r"Step (\d+) of", page.locator("body").inner_text())
    return -1 if found is None else int(found.group(1))


def wait_for(page: Any, condition: str, *values: Any) -> None:
    """Waits until a condition holds for the number of the episode's step, `step`."""
    script = (
        "([condition, ...values]) => {"
        " const found = document.body.innerText.match(/Step (\\d+) of/);"
        " const step = found ? Number(found[1]) : -1;"
        " return new Function('step', 'values', 'return ' + condition)(step, values); }"
    )
    page.wait_for_function(script, arg=[condition, *values])


def pixels(page: Any) -> np.ndarray:
    """Returns what the scene shows, (H, W, 3)."""
    boxes = [canvas.bounding_box() for canvas in page.locator("canvas").all()]
    box = max((x for x in boxes if x), key=lambda x: x["width"] * x["height"])
    return np.asarray(Image.open(BytesIO(page.screenshot(clip=box))).convert("RGB")).astype(int)


def ink(page: Any) -> list[int]:
    """Counts the coloured pixels of every plot."""
    shots = [plot.screenshot() for plot in page.locator(".uplot").all()]
    plots = [np.asarray(Image.open(BytesIO(x)).convert("RGB")).astype(int) for x in shots]
    return [int((plot.max(-1) - plot.min(-1) > 60).sum()) for plot in plots]


@pytest.fixture
def shown(tiny_run: Any, tmp_path: Path, with_viser: None) -> Iterator[Any]:
    """A viewer of a run with two checkpoints, of iterations 2 and 9."""
    run = Run.open(shutil.copytree(tiny_run().path, tmp_path / "run"))
    found = load_checkpoint(run.checkpoints)
    info = {**found.info, "env_steps": 64, "iteration": 9}
    save_checkpoint(run.checkpoints, found.tensors, info, ("best",))
    with view(run, num_envs=2, port=0, device="cpu") as viewer:
        yield viewer


def test_a_browser_shows_a_run_and_its_controls_work(shown, open_viewer):
    page = open_viewer(shown.url)
    wait_for(page, "step >= 3")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("paused").wait_for()
    before = step_of(page)
    page.get_by_role("button", name="Step").click()
    wait_for(page, "step === values[0] + 1", before)

    # Carts and poles stand on the floor: there are the floor's greys and the robots' colours.
    scene = pixels(page)
    assert scene.reshape(-1, 3).std(0).min() > 10
    spread = scene.max(-1) - scene.min(-1)
    assert (spread > 80).sum() > 100, "no robot is drawn"
    drawn = page.locator('img[alt="what the policy sees"]')
    assert drawn.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [66, 32]
    assert all(count > 20 for count in ink(page)) and len(ink(page)) == 2

    second = open_viewer(shown.url)  # another viewer sees the same
    wait_for(second, "step === values[0] + 1", before)
    second.get_by_role("button", name="Reset").click()
    wait_for(page, "step === 0")
    page.keyboard.press("s")
    wait_for(second, "step === 1")
    second.close()

    velocity = shown.session.env.state.joint_qd.clone()
    page.keyboard.press("p")
    page.wait_for_timeout(500)
    assert (shown.session.env.state.joint_qd - velocity)[0, 0] > 0  # forward, the shown robot
    assert not (shown.session.env.state.joint_qd - velocity)[1].any()

    page.get_by_label("Driven by").first.click()
    page.get_by_role("option", name="zero").click()
    page.wait_for_function("document.querySelector('input[value=zero]')")
    page.get_by_text("Iteration 2,").wait_for()
    page.get_by_label("Checkpoint").first.click()
    page.get_by_role("option", name="best").click()
    page.get_by_text("Iteration 9,").wait_for()
    wait_for(page, "step === 0")
    page.wait_for_function("document.querySelector('input[value=policy]')")
    assert shown.session.driver == "policy" and shown.session.loaded.checkpoint == "best"


def test_a_phone_shows_the_robot_above_the_controls(shown, open_viewer):
    page = open_viewer(shown.url, width=390, height=760)
    wait_for(page, "step >= 1")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("paused").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    panel = page.get_by_role("button", name="Pause").bounding_box()
    assert panel["y"] > 380  # the upper half is the robot's
    image = page.locator('img[alt="what the policy sees"]').bounding_box()
    assert image["width"] > 300 and image["x"] >= 0
