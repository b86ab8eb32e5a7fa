"""A browser for tests of what people look at: the system's chromium, driven by Playwright."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))  # runs made up for tests

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",  # draws scenes without a GPU
]  # fmt: skip
PATIENCE = 120_000
"""Milliseconds; machines that test may be busy."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Starts the browser. Where CI is set it must be there; elsewhere the tests are skipped."""
    path = os.environ.get("DVA_BROWSER") or shutil.which("chromium") or shutil.which("chrome")
    if path is None:
        text = "No chromium: install it (apt-get install chromium), or name one in DVA_BROWSER."
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    sync_api = pytest.importorskip("playwright.sync_api") if not os.environ.get("CI") else None
    if sync_api is None:
        import playwright.sync_api as sync_api  # a missing package fails here
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=PATIENCE)
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens files in the browser; at the end no page may have complained or asked the network."""
    complaints: list[str] = []
    pages = []

    def open_one(path: Path, width: int = 1280, scheme: str = "light") -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(PATIENCE)
        page.on(
            "console",
            lambda message: complaints.append(message.text)
            if message.type in ("error", "warning")
            else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: None
            if request.url.startswith(("file:", "data:"))
            else complaints.append(request.url),
        )
        page.goto(path.absolute().as_uri())
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.close()
    assert not complaints
