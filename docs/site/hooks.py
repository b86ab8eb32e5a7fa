"""Brings into the site what lies beside docs/: the project's own pages and the files of examples/.

On the hosting platform the pages of docs/ link to files of the repository (`../examples/...`). In
the site these links lead to pages made here.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PROJECT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def site_path(target: str) -> str:
    """Returns where a file of the repository is found in the site, as a path below docs/."""
    if target == "README.md":
        return "index.md"
    if target in PROJECT:
        return f"project/{target}"
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target.startswith("examples/") and posixpath.splitext(target)[1]:
        return f"{target}.md"
    if target.rstrip("/") == "examples":
        return "examples/index.md"
    raise ValueError(f"The site has no page for {target!r}: link to a page, or add it to hooks.py.")


def show_code(text: str, language: str) -> str:
    """Returns code as a block of a page; four quotes, since code may hold three."""
    return f"````{'python' if language == 'py' else language}\n{text}\n````\n"


def show_notebook(text: str) -> str:
    """Returns the cells of a notebook, without outputs, as a page."""
    cells = json.loads(text)["cells"]
    parts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join(x if kind == "markdown" else show_code(x, "py") for kind, x in parts)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the project's pages and one page for each example."""
    for name in PROJECT:
        content = (ROOT / name).read_text("utf-8")
        files.append(File.generated(config, f"project/{name}", content=content))
    lines = ["# Examples\n", "Whole files that the tests run.\n"]
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix not in (".py", ".xml", ".ipynb"):
            continue
        text = path.read_text("utf-8")
        if path.suffix == ".ipynb":
            page = show_notebook(text)
        else:
            page = f"# {path.name}\n\n{show_code(text, path.suffix.strip('.'))}"
        files.append(File.generated(config, f"examples/{path.name}.md", content=page))
        lines.append(f"- [{path.name}]({path.name}.md)")
    files.append(File.generated(config, "examples/index.md", content="\n".join(lines) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files of the repository into links between pages of the site."""
    place = page.file.src_uri
    # Where the page lies in the repository, whose links it has.
    source = place.removeprefix("project/") if place.startswith("project/") else f"docs/{place}"

    def turn(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if target.startswith("docs/") and source.startswith("docs/"):
            return match[0]
        found = posixpath.relpath(site_path(target), posixpath.dirname(place) or ".")
        return f"]({found}{match[2] or ''})"

    return LINK.sub(turn, markdown)
