"""Pages in a browser, and runs made up for tests."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))  # runs made up for tests

PATIENCE = 120_000
"""Milliseconds; machines that test may be busy."""


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
