"""A run's folder: made once, opened again, never shared."""

import errno
import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from dva import runs
from dva.runs import Run, UsageError, machine
from dva.runs.machine import describe_machine, git_commit, versions


def test_default_folders_never_collide(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny(run_dir=None)
    paths = {Run.create(config).path for _ in range(3)}
    assert len(paths) == 3
    for path in paths:
        assert path.parent.name == "runs"
        assert path.name.startswith("cartpole-dva-s0-")


def test_configuration_comes_back(tiny):
    run = Run.create(tiny(actor_hidden=(8,), seed=4))
    run.write_config(describe_machine("cpu"))
    opened = Run.open(run.path)
    assert opened.config == run.config
    stored = yaml.safe_load((run.path / "config.yaml").read_text())
    session = stored["sessions"][0]
    assert session["device"] == "cpu"
    assert session["versions"]["torch"] == versions()["torch"] != "not installed"
    assert session["command"]
    assert session["commit"] is None or len(session["commit"]) >= 40


def test_a_taken_folder_is_refused_and_left_alone(tiny):
    config = tiny()
    run = Run.create(config)
    before = (run.path / "config.yaml").read_bytes()
    with pytest.raises(UsageError, match=f"--resume {run.path}"):
        runs.train(config)
    assert (run.path / "config.yaml").read_bytes() == before
    (run.path.parent / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        runs.train(tiny("file"))
    with pytest.raises(UsageError, match="is not empty"):
        runs.train(tiny("."))


def test_two_processes_cannot_train_in_one_run(tiny):
    run = Run.create(tiny())
    with run.locked():
        with pytest.raises(UsageError, match="Another process"):
            with run.locked():
                pass
    with run.locked():
        pass


def test_a_folder_whose_checkpoints_could_not_be_read_is_refused(tiny, tmp_path):
    config = tiny()
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    Run.create(config).path.rename(path)
    config.run.run_dir = path / "below"
    for refused in (lambda: Run.open(path), lambda: runs.train(config)):
        with pytest.raises(UsageError, match="is not UTF-8.*Rename"):
            refused()
    assert sorted(entry.name for entry in path.iterdir()) == [".lock", "config.yaml"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_is_one_line(tiny, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    run = Run.create(tiny())
    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(UsageError, match=f"{run.path}/.lock cannot be locked: ") as caught:
        with run.locked():
            pass
    assert "\n" not in str(caught.value)


def test_missing_runs_are_explained(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="none in runs/ either"):
        Run.open("runs/nothing")
    Run.create(tiny(run_dir=Path("runs/elsewhere")))
    with pytest.raises(UsageError, match="There are runs/elsewhere"):
        Run.open("nothing")
    Run.create(tiny("cartpole-dva-s0"))
    with pytest.raises(UsageError, match="Did you mean .*cartpole-dva-s0"):
        Run.open(tmp_path / "cartpole-dva-s1")
    with pytest.raises(UsageError, match="There are .*cartpole-dva-s0, runs/elsewhere"):
        Run.open(tmp_path / "zzz")


def test_a_broken_configuration_is_explained(tiny):
    run = Run.create(tiny())
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(text.replace("horizon:", "horizn:"))
    with pytest.raises(UsageError, match="config.yaml: algorithm lacks horizon and has horizn"):
        Run.open(run.path)
    (run.path / "config.yaml").write_text("config: [")
    with pytest.raises(UsageError, match="cannot be read"):
        Run.open(run.path)
    (run.path / "config.yaml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(UsageError, match="cannot be read"):
        Run.open(run.path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "17",
        lambda text: "[]",
        lambda text: "{config: [], sessions: []}",
        lambda text: "{config: 3, sessions: []}",
        lambda text: text.replace("sessions: []", "sessions: none"),
        lambda text: text.replace("sessions: []", ""),
        lambda text: text.replace("task: cartpole", "task: [1]"),
        lambda text: text.replace("horizon: 4", "horizon: 0"),
        lambda text: text.replace("  task: cartpole\n", ""),
        lambda text: "[" * 10_000,
        lambda text: text[: len(text) // 2],
        lambda text: "\x00\x01" + text,
    ],
)
def test_a_damaged_configuration_is_one_line(tiny, damage):
    run = Run.create(tiny())
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(damage(text))
    assert damage(text) != text
    with pytest.raises(UsageError) as caught:
        Run.open(run.path)
    assert "\n" not in str(caught.value)


def test_a_bomb_of_aliases_is_one_line(tiny):
    run = Run.create(tiny())
    text = (run.path / "config.yaml").read_text()
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    for bomb in (
        text + "\n".join(lines),
        text.replace("sessions: []", "sessions:\n- &a\n  again: *a"),
        text.replace("task: cartpole", f"task: {lines[0][4:]}\n    more: *a0"),
    ):
        assert bomb != text
        (run.path / "config.yaml").write_text(bomb)
        with pytest.raises(UsageError, match="has an alias") as caught:
            Run.open(run.path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_value_that_comes_twice_is_written_twice(tiny):
    run = Run.create(tiny())
    session = {"command": ["dva"]}
    for _ in range(2):
        run.write_config(session)
    assert Run.open(run.path).sessions == [session, session]


def test_a_configuration_that_is_no_text_is_one_line(tiny):
    run = Run.create(tiny())
    (run.path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        Run.open(run.path)


def test_commit_is_a_hash_or_nothing(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        run = ["git", *who, *arguments]
        return subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
    (tmp_path / "machine.py").write_text("")
    git("init")
    git("add", ".")
    git("commit", "--message", "first")
    git("tag", "v1")
    commit = git("rev-parse", "HEAD").strip()
    assert git_commit() == commit
    (tmp_path / "machine.py").write_text("changed")
    assert git_commit() == f"{commit}-dirty"


@pytest.mark.parametrize("lacking", ["mean", "std", "episodes"])
def test_an_evaluation_without_its_numbers_counts_as_none(tiny, lacking):
    run = Run.create(tiny(evaluation_episodes=2))
    numbers = {"env_steps": 16, "mean": 1.0, "std": 0.0, "episodes": 2}
    run.evaluation_path.write_text(json.dumps(numbers))
    assert not run.lacks_evaluation(16)
    for wrong in ({}, {lacking: None}, {lacking: "1"}, {lacking: True}):
        left = {name: value for name, value in numbers.items() if name != lacking}
        run.evaluation_path.write_text(json.dumps({**left, **wrong}))
        assert run.lacks_evaluation(16)
