"""The documentation site: built strictly, and looked at in a browser."""

import ast
import functools
import http.server
import os
import re
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "", "concepts/", "own-task/", "algorithms/dva/", "results/", "comparison/", "troubleshooting/",
    "reference/sim/", "examples/slide_task.py/", "examples/tour.ipynb/",
    "project/CONTRIBUTING/",
)  # fmt: skip
WIDTHS = {"desktop": 1280, "phone": 390}
TYPES = (type, types.FunctionType)
"""What the reference describes; constants stand where they are used."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the site; a warning is an error."""
    if not os.environ.get("CI"):
        pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Serves the site on a free port of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
def test_pages_load_without_complaints(browser: Any, address: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(120_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(f"{page.url}: {message.text}")
        if message.type in ("error", "warning")
        else None,
    )
    page.on(
        "request",
        lambda request: None
        if request.url.startswith((address, "data:", "blob:"))
        else complaints.append(f"asks the network: {request.url}"),
    )
    for path in PAGES:
        answer = page.goto(address + path)
        assert answer.status == 200, path
        assert page.locator("article h1").count() == 1, path
        broken = page.evaluate(
            "() => Promise.all([...document.images].map("
            "x => x.decode().then(() => '', () => x.src))).then(all => all.filter(x => x))"
        )
        assert broken == [], path
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert over <= 0, f"{path} is {over} pixels wider than a screen of {width}"
    page.close()
    assert complaints == []


def test_search_finds_a_page(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    page.goto(address)
    page.click("input.md-search__input")
    page.keyboard.type("decoupled policy gradient")
    page.wait_for_selector(".md-search-result__link")
    assert "decoupled" in page.locator(".md-search-result__list").inner_text().lower()
    page.close()


def test_every_package_of_the_reference_shows_what_it_offers(site: Path) -> None:
    import dva

    for path in (ROOT / "docs/reference").glob("*.md"):
        if path.stem == "index":
            continue
        html = (site / "reference" / path.stem / "index.html").read_text("utf-8")
        package = getattr(dva, path.stem)
        offered = [x for x in package.__all__ if isinstance(getattr(package, x), TYPES)]
        assert offered
        for name in offered:
            # A function with the name of its module stands under the module's.
            places = [f'id="dva.{path.stem}.{x}"' for x in (name, f"{name}.{name}")]
            assert any(place in html for place in places), f"{name} of dva.{path.stem}"


def source_text() -> str:
    """Returns all texts of the package's code, values in f-strings left out."""
    texts = []
    for path in (ROOT / "src/dva").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [x.value if isinstance(x, ast.Constant) else "…" for x in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_messages_of_the_troubleshooting_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    headings = re.findall(r"^### (.*)$", page, re.M)
    messages = [x for line in headings for x in re.findall("`(.*?)`", line)]
    assert len(messages) > 30
    others = {
        "No matching distribution found for dva-rl",
        "Trying to backward through the graph a second time",
    }  # of pip and PyTorch
    source = source_text()
    for message in set(messages) - others:
        for piece in re.split("…", message):
            assert piece.strip(" .:") in source, f"{piece!r} of {message!r}"
