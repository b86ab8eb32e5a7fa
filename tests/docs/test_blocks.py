"""Every block of code in README and docs: Python is run, commands are read by their own parsers.

A block that is not run says why in the line before it: `<!-- not run: REASON -->`.
"""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dva.cli import COMMANDS, flags, train_command

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SMALLER = {
    "num_envs=64": "num_envs=4",
    "(64, ": "(4, ",
    "range(100)": "range(1)",
    "env_steps=100_000": "env_steps=32, num_envs=2, horizon=4, image_size=16, video_interval=0",
    "episodes=64": "episodes=1",
    'checkpoint="best"': 'checkpoint="latest"',  # so short that no episode ends
    "episodes=8": "episodes=1",
}
"""What makes the blocks quick; the pages show useful sizes."""
NOT_RUN = re.compile(r"<!-- not run: (.*\S) -->\n\Z")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SHELL = ("make", "pip", "pipx", "uvx", "python", "pytest", "source", "torchrun", "ray", "cp")
"""Other programs than dva that the pages call."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python_blocks(page: Path) -> list[tuple[str, str | None]]:
    """Returns the Python blocks of a page, each with the reason why it is not run, if any."""
    text = page.read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        reason = NOT_RUN.search(text[: match.start()])
        if match[1] == "python":
            found.append((match[2], reason[1] if reason else None))
    return found


def commands(page: Path) -> Iterator[list[str]]:
    """Yields the command lines of a page, as words: of blocks of code, and whole ones in a line."""
    for command in re.findall(r"`(dva [a-z]+ [a-z][^`]*)`", page.read_text("utf-8")):
        words = shlex.split(command)
        if not any(re.fullmatch("[A-Z:.]+", word) for word in words):  # TASK, S and the like
            yield words
    text = FENCE.sub(lambda x: x[2] if x[1] in ("", "sh", "bash") else "", page.read_text("utf-8"))
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip().removeprefix("$ ")
        if line.startswith("    ") and stripped.split(" ")[0] in ("dva", *SHELL):
            yield shlex.split(stripped, comments=True)


WITH_PYTHON = [page for page in PAGES if python_blocks(page)]
WITH_COMMANDS = [page for page in PAGES if list(commands(page))]


class Understood(Exception):
    """The flags of a command were read."""


@pytest.fixture
def only_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets commands read their flags and go no further."""

    def read(*arguments: Any, **options: Any) -> NoReturn:
        flags.parse(*arguments, **options)
        raise Understood

    for command in COMMANDS:
        module = importlib.import_module(f"dva.cli.{command}_command")
        if hasattr(module, "parse"):
            monkeypatch.setattr(module, "parse", read)


def understand(words: list[str]) -> None:
    """Reads a `dva` command as the program does, checks values, and needs no run that exists.

    Raises:
        AssertionError: the command ends before its flags are read.
        UsageError: a word is wrong.
    """
    command, rest = words[0], words[1:]
    assert command in COMMANDS, command
    module = importlib.import_module(f"dva.cli.{command}_command")
    try:
        if command == "train" and "--resume" in rest:
            train_command.new_config(["cartpole", *rest])
        else:
            module.run(rest)
    except Understood:
        return
    except SystemExit as exit_:
        assert exit_.code == 0 and {"-h", "--help"} & set(rest)
        return
    assert command == "study" and not rest


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}  # blocks of a page follow one another
    for block, reason in python_blocks(page):
        if reason is not None:
            compile(block, name_of(page), "exec")
            continue
        for large, small in SMALLER.items():
            block = block.replace(large, small)
        exec(compile(block, name_of(page), "exec"), namespace)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_commands_are_understood(
    page: Path, monkeypatch: pytest.MonkeyPatch, only_read: None, forget: None
) -> None:
    monkeypatch.chdir(EXAMPLES)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for words in commands(page):
        if words[0] == "make":
            targets = [word for word in words[1 : 2 if "&&" in words else None] if "=" not in word]
            assert all(f"\n{target}:" in makefile for target in targets), words
        elif words[0] == "python" and words[1] != "-m":
            assert (ROOT / words[1]).is_file(), words
        elif words[0] == "torchrun":
            understand(words[words.index("dva") + 1 :])
        elif words[0] == "dva":
            understand(words[1:])


def test_pages_show_no_python_and_no_commands_elsewhere() -> None:
    for page in PAGES:
        for language, _ in FENCE.findall(page.read_text("utf-8")):
            assert language in ("", "python", "xml", "sh", "bash"), f"{name_of(page)}: {language}"
    assert len(WITH_PYTHON) > 5 and len(WITH_COMMANDS) > 15


def test_figures_of_the_readme_are_those_of_the_results() -> None:
    table = [x for x in (ROOT / "README.md").read_text("utf-8").splitlines() if x.startswith("| ")]
    results = (ROOT / "docs/results.md").read_text("utf-8")
    figures = re.findall(r"\d+(?:[.,]\d+)+", "\n".join(table))
    assert len(figures) > 20
    assert [figure for figure in figures if figure not in results] == []
